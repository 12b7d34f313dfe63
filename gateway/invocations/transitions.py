"""Moves an invocation along the table: each move is one guarded UPDATE that says whether it happened.

Nobody else writes `state`. A move to a final state other than done leaves the room a sentence; a move out of a live
state finds who may go next and nudges on commit.
"""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from gateway import nudges, pipeline, sql
from gateway.invocations import wording
from gateway.invocations.notices import take_back, tell
from gateway.invocations.queue import next_claimable
from gateway.invocations.table import AT_BRIDGE, BEFORE_OFFER, EDGES, FINAL, LIVE, TIME_FIELD, State
from gateway.models import Agent, Bridge, Invocation, NoticeKind, Purpose


def composed(
    *, invocation_id: int, fence: int, store: str = "SELECT id FROM moved", values: Sequence[Any] = ()
) -> bool:
    """Composing → composed. `store` is a statement over `moved`, which holds the row's id: both happen or neither.

    False: somebody else owns the row now, drop the work.
    """
    return bool(sql.execute(f"{_COMPOSED} {store}", [invocation_id, fence, *values]))


# Nothing leaves the host before the offer, whose commit waits for the disk and brings this one's with it. After a crash of
# Postgres in between, the row is composed once more.
_COMPOSED: Final = (
    "WITH moved AS (UPDATE invocations SET state = 'composed', composed_at = statement_timestamp(), lease_until = NULL"
    " WHERE id = %s AND state = 'composing' AND fence = %s RETURNING id, set_config('synchronous_commit', 'off', true))"
)


def compose_failed(*, invocation_id: int, fence: int, reason: str, detail: str) -> bool:
    return _move(invocation_id, (State.COMPOSING,), State.FAILED, fence=fence, reason=reason, detail=detail)


def compose_crashed(*, invocation_id: int, fence: int, crashes: int) -> bool:
    """The lease ran out: back into the queue, at its old place."""
    return _move(invocation_id, (State.COMPOSING,), State.QUEUED, fence=fence, crashes=crashes)


def park(*, invocation_id: int) -> bool:
    """No bridge is live: the row waits, and the room hears until when."""
    moved = _move(invocation_id, (State.QUEUED, State.COMPOSED), State.WAITING)
    if moved:
        row = Invocation.objects.select_related("agent").get(pk=invocation_id)
        take_back(invocation_id=invocation_id, kinds=(NoticeKind.QUEUED,))
        text = wording.waiting(agent=row.agent.slug, until=row.wait_until)
        tell(invocation=row, kind=NoticeKind.WAITING, text=text)
    return moved


def unpark(*, invocation_id: int) -> bool:
    """A bridge is there again; the note that it waits goes away."""
    moved = _move(invocation_id, (State.WAITING,), State.QUEUED)
    if moved:
        take_back(invocation_id=invocation_id, kinds=(NoticeKind.WAITING,))
    return moved


def offer(*, invocation_id: int) -> bool:
    """Composed → offered to the live session of the agent's bridge; parks the row when there is none."""
    if _offer(invocation_id=invocation_id):
        return True
    with transaction.atomic():
        # `hello` locks the bridge's row as well: a row is parked wholly before or wholly after a new session.
        sql.rows(_LOCK_BRIDGE, [invocation_id])
        if _offer(invocation_id=invocation_id):
            return True
        _park_or_fail(invocation_id=invocation_id)
        return False


def _offer(*, invocation_id: int) -> bool:
    offered = sql.rows(_OFFER, [invocation_id])
    if not offered:
        return False
    ((bridge_id,),) = offered
    nudges.hub(bridge_id=bridge_id, is_offer=True)
    return True


_OF_BRIDGE: Final = (
    " FROM invocations i JOIN agents a ON a.id = i.agent_id JOIN bridges b ON b.id = a.bridge_id WHERE i.id = %s"
)
_LOCK_BRIDGE: Final = f"SELECT b.id{_OF_BRIDGE} FOR NO KEY UPDATE OF b"
_OFFER: Final = (
    f"WITH here AS (SELECT i.id, b.id AS bridge_id, b.session, b.journal{_OF_BRIDGE}"  # noqa: S608 - constants only
    " AND a.is_enabled AND b.revoked_at IS NULL AND b.lease_until > statement_timestamp() FOR NO KEY UPDATE OF b)"
    " UPDATE invocations i SET state = 'offered', offered_at = statement_timestamp(), bridge_session = here.session,"
    " journal = here.journal FROM here WHERE i.id = here.id AND i.state = 'composed' RETURNING here.bridge_id"
)


def _park_or_fail(*, invocation_id: int) -> None:
    """Waiting makes sense for a bridge that may come back only."""
    agent = Agent.objects.select_related("bridge").get(invocations=invocation_id)
    if not agent.is_enabled:
        fail_unsent(invocation_id=invocation_id, reason="agent_disabled")
    elif agent.bridge is not None and agent.bridge.revoked_at is not None:
        fail_unsent(invocation_id=invocation_id, reason="bridge_revoked")
    elif Invocation.objects.filter(pk=invocation_id, purpose=Purpose.SUMMARY).exists():
        fail_unsent(invocation_id=invocation_id, reason="offline")
    else:
        park(invocation_id=invocation_id)


def accepted(*, invocation_id: int, fence: int, session: str) -> bool:
    return _move(invocation_id, (State.OFFERED,), State.RUNNING, fence=fence, session=session)


def refused(*, invocation_id: int, fence: int, session: str, reason: str, detail: str) -> bool:
    return _move(
        invocation_id,
        (State.OFFERED,),
        State.REFUSED,
        fence=fence,
        session=session,
        reason=reason or "refused",
        detail=detail,
    )


def not_taken(*, invocation_id: int, fence: int) -> bool:
    """A hello of the same journal does not know the offer: queued again, composed afresh."""
    return _move(invocation_id, (State.OFFERED,), State.QUEUED, fence=fence)


def ended(
    *,
    invocation_id: int,
    fence: int,
    session: str,
    outcome: str,
    reason: str,
    detail: str,
    exit_code: int | None,
    sha256: str,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cached_tokens: int = 0,
    cost_usd: float | None = None,
) -> bool:
    """The bridge's `end`. A cancel that was asked for decides the state unless the run had finished its work."""
    to = State(outcome)
    if to != State.DONE:
        rows = Invocation.objects.filter(pk=invocation_id, fence=fence, cancel_requested_at__isnull=False)
        if (row := rows.first()) is not None:
            # Who stopped it and why is known here; the bridge says only that it did.
            to, reason, detail = State(row.cancel_to), row.cancel_reason, row.detail or detail
    return _move(
        invocation_id,
        (State.RUNNING,),
        to,
        fence=fence,
        session=session,
        reason="" if to == State.DONE else (reason or outcome),
        detail=detail,
        exit_code=exit_code,
        output_sha256=sha256,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        cost_usd=None if cost_usd is None else Decimal(str(cost_usd)).quantize(Decimal("0.000001")),
    )


def interrupt(*, invocation_id: int, fence: int, reason: str, detail: str = "") -> bool:
    return _move(invocation_id, AT_BRIDGE, State.INTERRUPTED, fence=fence, reason=reason, detail=detail)


def expire(*, invocation_id: int) -> bool:
    return _move(invocation_id, (*BEFORE_OFFER, State.OFFERED), State.EXPIRED, reason="offline")


def fail_unsent(*, invocation_id: int, reason: str, detail: str = "") -> bool:
    """For rows that no bridge has seen yet: agent disabled, bridge revoked, right withdrawn."""
    sources = (State.QUEUED, State.WAITING, State.COMPOSED)
    return _move(invocation_id, sources, State.FAILED, reason=reason, detail=detail)


def request_cancel(*, invocation_id: int, reason: str, detail: str = "", to: State = State.CANCELLED) -> bool:
    """Stop a row: at once while no bridge has it, else by asking the bridge. Asking again changes nothing."""
    # The row may be taken back from a bridge between the two looks, but not twice.
    for _ in range(2):
        if _move(invocation_id, BEFORE_OFFER, State.CANCELLED, reason=reason, detail=detail):
            return True
        rows = Invocation.objects.filter(pk=invocation_id, state__in=AT_BRIDGE, cancel_requested_at=None)
        if rows.update(cancel_requested_at=Now(), cancel_to=to, cancel_reason=reason, detail=detail):
            break
    else:
        return False
    bridge_id = Invocation.objects.values_list("agent__bridge_id", flat=True).get(pk=invocation_id)
    if bridge_id is not None:
        nudges.hub(bridge_id=bridge_id)
    return True


def cancel_without_bridge(*, invocation_id: int) -> bool:
    """The state that a cancel asked for: the bridge did not end the run in time, or says that it never had it."""
    row = Invocation.objects.filter(pk=invocation_id, state__in=AT_BRIDGE, cancel_requested_at__isnull=False).first()
    if row is None:
        return False
    to = State(row.cancel_to)
    return _move(invocation_id, AT_BRIDGE, to, fence=row.fence, reason=row.cancel_reason, detail=row.detail)


def give_up_room(*, invocation_id: int) -> bool:
    """The bridge is gone: the row keeps its lane but no longer holds its serial room."""
    rows = Invocation.objects.filter(pk=invocation_id, state__in=AT_BRIDGE, serial_room__isnull=False)
    room_id = rows.values_list("room_id", flat=True).first()
    if room_id is None or not rows.update(serial_room=None):
        return False
    wake(serial_room_id=room_id)
    return True


def wake(*, agent_id: int | None = None, serial_room_id: int | None = None) -> None:
    """Start the chains of the next claimable rows of an agent and of a serial room."""
    pipeline.start(invocation_ids=next_claimable(agent_id=agent_id, serial_room_id=serial_room_id))


def _move(
    invocation_id: int,
    sources: Sequence[State],
    to: State,
    *,
    fence: int | None = None,
    session: str | None = None,
    **values: object,
) -> bool:
    """One guarded UPDATE; None guards nothing. `values` are columns to set beside the state."""
    for source in sources:
        if (source, to) not in EDGES:
            raise AssertionError(f"no edge {source} -> {to}")
    columns: dict[str, object] = {"state": to, **values}
    assigned = [f"{column} = %s" for column in columns]
    if (field := TIME_FIELD.get(to)) is not None:
        assigned.append(f"{field} = statement_timestamp()")
    if to not in LIVE:
        assigned.append("lane = NULL, serial_room_id = NULL, lease_until = NULL")
    rows = sql.rows(
        _MOVE.format(", ".join(assigned)),
        [invocation_id, [str(source) for source in sources], fence, fence, session, session, *columns.values()],
    )
    if not rows:
        return False
    _after(_Moved(invocation_id, *rows[0]), to=to)
    return True


_MOVE: Final = (
    "WITH held AS (SELECT id, serial_room_id FROM invocations WHERE id = %s AND state = ANY(%s::varchar[])"
    " AND (%s::bigint IS NULL OR fence = %s) AND (%s::varchar IS NULL OR bridge_session = %s) FOR NO KEY UPDATE)"
    " UPDATE invocations i SET {} FROM held WHERE i.id = held.id RETURNING i.agent_id, i.room_id, held.serial_room_id"
)


class _Moved(NamedTuple):
    """A row that has just moved, and the serial room it held until then."""

    id: int
    agent_id: int
    room_id: int
    held_room_id: int | None


def _after(moved: _Moved, *, to: State) -> None:
    if to in LIVE and to != State.RUNNING:
        return
    if to in FINAL and to != State.DONE:
        row = Invocation.objects.select_related("agent").get(pk=moved.id)
        text = wording.ending(
            state=to, reason=row.reason, detail=row.detail, agent=row.agent.slug, invocation_id=row.pk
        )
        tell(invocation=row, kind=NoticeKind.ENDED, text=text)
        take_back(invocation_id=row.pk, kinds=(NoticeKind.WAITING, NoticeKind.QUEUED))
    if to not in LIVE:
        wake(agent_id=moved.agent_id, serial_room_id=moved.held_room_id)
    nudges.chat(agent_id=moved.agent_id, room_id=moved.room_id, invocation_id=moved.id)


def bridge_gone_since(*, seconds: float) -> Q:
    """Rows whose agent has no bridge with a lease newer than this."""
    fresh = Bridge.objects.filter(agents=OuterRef("agent_id"), lease_until__gt=Now() - timedelta(seconds=seconds))
    return ~Q(Exists(fresh))


def agents_of(*, bridge_id: int) -> list[int]:
    return list(Agent.objects.filter(bridge_id=bridge_id).values_list("pk", flat=True))
