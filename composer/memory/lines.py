"""What is one line of talk, as the composer sees it?"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from django.db.models import QuerySet
from django.db.models.functions import Coalesce, Left

from gateway.models import Message

MAX_LINE_CHARS = 8_000
"""A longer message is cut in every prompt: one message must not be able to push out all others."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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
    def order(self) -> tuple[int, int]:
        return (self.ts, self.id)

    @property
    def at(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.ts)


def micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def spoken(messages: "QuerySet[Message]") -> "QuerySet[Message]":
    """Only what people and agents said: no tombstones, no system messages, nothing empty."""
    return messages.filter(deleted_at__isnull=True, system_type="").exclude(text="")


def read(messages: "QuerySet[Message]") -> list[Line]:
    """The rows of a query as lines, in the query's order."""
    rows = messages.values_list(
        "pk",
        "rc_id",
        "user_id",
        "agent_id",
        Coalesce("user__username", "agent__slug"),
        "ts",
        "rc_updated_at",
        "thread",
        Left("text", MAX_LINE_CHARS),
    )
    return [
        Line(pk, rc_id, user_id or 0, agent_id or 0, name, micros(ts), micros(revision), thread, text)
        for pk, rc_id, user_id, agent_id, name, ts, revision, thread, text in rows
    ]


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


def in_order(lines: Sequence[Line]) -> list[Line]:
    """As they were said; each message once, its newest version."""
    newest: dict[int, Line] = {}
    for line in lines:
        known = newest.get(line.id)
        if known is None or line.revision >= known.revision:
            newest[line.id] = line
    return sorted(newest.values(), key=lambda line: line.order)
