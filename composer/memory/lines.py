"""What is one line of talk, as the composer sees it?"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, LiteralString, NamedTuple

import msgspec

from gateway import sql
from gateway.models import Message

MAX_LINE_CHARS = 8_000
"""A longer message is cut in every prompt: one message must not be able to push out all others."""

SPOKEN: LiteralString = "m.deleted_at IS NULL AND m.system_type = '' AND m.text <> ''"
"""Only what people and agents said: no tombstones, no system messages, nothing empty."""

# Postgres counts the microseconds: hundreds of `datetime`s a prompt would take longer than the query.
SELECTED: LiteralString = (
    "m.id, m.rc_id, coalesce(m.user_id, 0), coalesce(m.agent_id, 0), coalesce(u.username, a.slug),"
    " (extract(epoch FROM m.ts) * 1000000)::bigint, (extract(epoch FROM m.rc_updated_at) * 1000000)::bigint,"
    " m.thread, left(m.text, 8000)"
)
"""The columns of a `Line`, in its order, where `m` is the message and `SENDERS` are joined."""

SENDERS: LiteralString = "LEFT JOIN users u ON u.id = m.user_id LEFT JOIN agents a ON a.id = m.agent_id"
_SELECT: LiteralString = f"SELECT {SELECTED} FROM messages m {SENDERS} WHERE "  # noqa: S608 - constants only
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Moment(NamedTuple):
    """A message's place in its room: microseconds since 1970, then the row's number."""

    ts: int
    id: int

    @property
    def at(self) -> datetime:
        return _EPOCH + self.ts * _MICROSECOND


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message. Times are microseconds since 1970; exactly one of `user_id` and `agent_id` is not 0."""

    id: int
    rc_id: str
    user_id: int
    agent_id: int
    name: str
    ts: int
    revision: int
    thread: str
    text: str

    @property
    def order(self) -> Moment:
        return Moment(self.ts, self.id)

    @property
    def at(self) -> datetime:
        return _EPOCH + self.ts * _MICROSECOND


def micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(message: Message) -> Moment:
    return Moment(micros(message.ts), message.pk)


def select(where: LiteralString, parameters: Sequence[Any]) -> list[Line]:
    """Lines of the messages `m` that `where` (with its ORDER BY and LIMIT) picks, in the query's order."""
    return [Line(*row) for row in sql.rows(_SELECT + where, parameters)]


def line_of(*, message: Message, name: str) -> Line:
    """A message that is at hand, without a query."""
    return Line(
        message.pk,
        message.rc_id,
        message.user_id or 0,
        message.agent_id or 0,
        name,
        micros(message.ts),
        micros(message.rc_updated_at),
        message.thread,
        message.text[:MAX_LINE_CHARS],
    )


as_said: Final = attrgetter("ts", "id")
"""A line's place, for sorting: `order` makes a Moment, which hundreds of lines take a while for."""


def in_order(lines: Sequence[Line]) -> list[Line]:
    """As they were said; each message once, its newest version."""
    newest: dict[int, Line] = {}
    for line in lines:
        known = newest.get(line.id)
        if known is None or line.revision >= known.revision:
            newest[line.id] = line
    return sorted(newest.values(), key=as_said)
