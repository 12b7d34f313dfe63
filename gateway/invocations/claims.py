"""Claiming a row for composing: which one of an agent's can go now, and may it?"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple, Protocol

from django.conf import settings
from django.db import IntegrityError, transaction

from gateway import sql
from gateway.invocations import notices, places, rights, transitions
from gateway.invocations.queue import CAN_GO, FIRST_COME, IS_LIVE, LANES
from gateway.models import NoticeKind, Purpose

logger = logging.getLogger(__name__)

MAX_REFUSALS = 20
"""Rows that one claim may find without right before it leaves the rest to the next claim."""


class First(Protocol):
    """What whoever claims a row wants to know before all else, read beside the claim."""

    def asks(self, *, invocation_id: int, room_id: int) -> Sequence[sql.Ask[Any]]:
        """Asked in one round trip with the claim's own; once more if another row is taken than was thought."""

    def meanwhile(self, *, room_id: int) -> None:
        """Done while Postgres looks for the row, if its room is known before."""


@dataclass(frozen=True, slots=True)
class Claim:
    """This worker owns the row for composing, as long as nobody raised the fence."""

    invocation_id: int
    fence: int
    room_id: int
    agent_id: int


def claim_next(*, invocation_id: int, room_id: int | None = None, first: First | None = None) -> Claim | None:
    """Take the first row of this row's agent that can go now, whichever row it is. None: nothing to do now.

    Locks the agent's row, so that two workers never pick the same lane. Rows whose agent has no live bridge wait; rows
    whose asker has lost the right fail. Losing a race for the serial room leaves the row queued: whoever frees the room
    wakes it.
    """
    try:
        with transaction.atomic(durable=True):
            claim = _claim(invocation_id=invocation_id, room_id=room_id, first=first)
    except IntegrityError:
        return None
    if claim is None:
        with transaction.atomic(durable=True):
            places.tell_behind(invocation_id=invocation_id)
    return claim


def _claim(*, invocation_id: int, room_id: int | None, first: First | None) -> Claim | None:
    found = _look(invocation_id=invocation_id, room_id=room_id, first=first)
    for _ in range(MAX_REFUSALS):
        if found is None:
            return None
        agent, row = found
        lane = next((lane for lane in range(agent.lanes) if lane not in row.lanes), None)
        if lane is None:
            return None
        if not _is_stopped(agent=agent, row=row):
            is_other = room_id is None or row.pk != invocation_id
            return _take(agent=agent, row=row, lane=lane, first=first if is_other else None)
        found = _look(invocation_id=invocation_id)
    return None


def _look(
    *, invocation_id: int, room_id: int | None = None, first: First | None = None
) -> tuple["_Agent", "_Next"] | None:
    agents, rows = sql.Ask(_LOCK_AGENT, [invocation_id], _as_it_is), sql.Ask(_NEXT_ROW, [invocation_id], _as_it_is)
    if first is None or room_id is None:
        sql.together(agents, rows)
    else:
        # Most likely this very row is taken.
        with sql.under_way(agents, rows, *first.asks(invocation_id=invocation_id, room_id=room_id)):
            first.meanwhile(room_id=room_id)
    if not agents.answer() or not rows.answer():
        return None
    return _Agent(*agents.answer()[0]), _Next(*rows.answer()[0])


def _is_stopped(*, agent: "_Agent", row: "_Next") -> bool:
    if agent.is_revoked:
        return transitions.fail_unsent(invocation_id=row.pk, reason="bridge_revoked")
    if row.purpose == Purpose.SUMMARY:
        return _is_summary_stopped(agent=agent, row=row)
    refusal = rights.decide(
        rights.Standing(
            is_enabled=agent.is_enabled,
            is_foreign_bot=row.is_foreign_bot,
            is_owner=agent.owner_id is not None and agent.owner_id == row.asker_id,
            who_may_ask=agent.who_may_ask,
            writer=row.writer,
            takes_handover=lambda: row.takes_handover,
            is_named=lambda: row.is_named,
            is_member=lambda: row.is_member,
        )
    )
    if refusal is not None:
        reason = "not_allowed" if agent.is_enabled else "agent_disabled"
        return transitions.fail_unsent(invocation_id=row.pk, reason=reason, detail=refusal)
    if not row.is_online:
        return transitions.park(invocation_id=row.pk)
    return False


def _is_summary_stopped(*, agent: "_Agent", row: "_Next") -> bool:
    """Only the host's own agents summarise, and nobody waits for one that is away: there are other summarisers."""
    if not agent.is_enabled:
        return transitions.fail_unsent(invocation_id=row.pk, reason="agent_disabled")
    if agent.owner_id is not None:
        return transitions.fail_unsent(invocation_id=row.pk, reason="not_allowed")
    return not row.is_online and transitions.fail_unsent(invocation_id=row.pk, reason="offline")


def _take(*, agent: "_Agent", row: "_Next", lane: int, first: First | None) -> Claim | None:
    serial_room = row.room_id if row.is_serial and row.purpose == Purpose.ANSWER else None
    lease = timedelta(seconds=settings.NEXUS_COMPOSE_LEASE_S)
    take = sql.Ask(_TAKE, [lane, serial_room, lease, row.pk, row.fence], bool)
    sql.together(take, *(first.asks(invocation_id=row.pk, room_id=row.room_id) if first is not None else ()))
    if not take.answer():
        return None
    if row.is_place_told:
        notices.take_back(invocation_id=row.pk, kinds=(NoticeKind.QUEUED,))
    return Claim(invocation_id=row.pk, fence=row.fence + 1, room_id=row.room_id, agent_id=agent.pk)


# The statements of a claim. Two to look for the row: what the second sees is from after the lock.


def _as_it_is(rows: sql.Rows) -> sql.Rows:
    return rows


class _Agent(NamedTuple):
    pk: int
    lanes: int
    is_enabled: bool
    owner_id: int | None
    who_may_ask: str
    is_revoked: bool


_LOCK_AGENT: Final = (
    f"SELECT a.id, {LANES}, a.is_enabled, a.owner_id, a.who_may_ask, b.revoked_at IS NOT NULL"  # noqa: S608 - constants only
    " FROM invocations i JOIN agents a ON a.id = i.agent_id LEFT JOIN bridges b ON b.id = a.bridge_id"
    " WHERE i.id = %s FOR NO KEY UPDATE OF a"
)


class _Next(NamedTuple):
    """The first queued row whose session and serial room are free, the agent's taken lanes, and the asker's standing."""

    pk: int
    fence: int
    room_id: int
    is_serial: bool
    asker_id: int
    is_foreign_bot: bool
    writer: str | None
    lanes: list[int]
    is_online: bool
    is_member: bool
    is_named: bool
    takes_handover: bool
    is_place_told: bool
    purpose: str


_NEXT_ROW: Final = (
    "SELECT i.id, i.fence, i.room_id, r.is_serial, u.id, u.is_foreign_bot, w.slug,"  # noqa: S608 - constants only
    f" ARRAY(SELECT l.lane FROM invocations l WHERE l.agent_id = i.agent_id AND {IS_LIVE}),"
    " EXISTS (SELECT 1 FROM agents a JOIN bridges b ON b.id = a.bridge_id WHERE a.id = i.agent_id AND a.is_enabled"
    "  AND b.revoked_at IS NULL AND b.lease_until > statement_timestamp()),"
    " EXISTS (SELECT 1 FROM room_members m WHERE m.room_id = i.room_id AND m.user_id = u.id),"
    " EXISTS (SELECT 1 FROM agent_askers n WHERE n.agent_id = i.agent_id AND n.user_id = u.id),"
    " EXISTS (SELECT 1 FROM agent_handovers h WHERE h.from_agent_id = i.agent_id AND h.to_agent_id = i.asker_agent_id),"
    " EXISTS (SELECT 1 FROM notices t WHERE t.invocation_id = i.id AND t.kind = 'queued' AND t.text <> ''), i.purpose"
    " FROM invocations i JOIN rooms r ON r.id = i.room_id JOIN users u ON u.id = i.root_asker_id"
    " JOIN messages q ON q.id = i.message_id LEFT JOIN agents w ON w.id = i.asker_agent_id"
    f" WHERE i.agent_id = (SELECT agent_id FROM invocations WHERE id = %s) AND {CAN_GO} ORDER BY {FIRST_COME} LIMIT 1"
)

# A claim need not outlive a crash of Postgres: without it the row is queued again, and whoever holds it finds that out when
# it hands its prompt over. The offer's commit waits for the disk and brings this one's with it.
_TAKE: Final = (
    "UPDATE invocations SET state = 'composing', composing_at = statement_timestamp(), fence = fence + 1, lane = %s,"
    " serial_room_id = %s, lease_until = statement_timestamp() + %s, bridge_session = '', journal = '', last_seq = 0"
    " WHERE id = %s AND state = 'queued' AND fence = %s RETURNING id, set_config('synchronous_commit', 'off', true)"
)
