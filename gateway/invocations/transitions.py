"""Moves an invocation along the table: each move is one guarded UPDATE that says whether it happened.

Nobody else writes `state`. A move to a final state other than done leaves the room a sentence; a move out of a live
state finds who may go next and nudges on commit.
"""

import hashlib
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from gateway import nudges, pipeline, sql
from gateway.invocations import wording
from gateway.invocations.table import AT_BRIDGE, BEFORE_OFFER, EDGES, FINAL, LIVE, TIME_FIELD, State
from gateway.models import Agent, Bridge, Invocation, Notice, NoticeKind


def composed(*, invocation_id: int, fence: int) -> bool:
    """The prompt is stored. False: somebody else owns the row now, drop the work."""
    return bool(
        sql.execute(
            "UPDATE invocations SET state = 'composed', composed_at = statement_timestamp(), lease_until = NULL"
            " WHERE id = %s AND state = 'composing' AND fence = %s",
            [invocation_id, fence],
        )
    )


def compose_failed(*, invocation_id: int, fence: int, reason: str, detail: str) -> bool:
    return _move(invocation_id, (State.COMPOSING,), State.FAILED, Q(fence=fence), reason=reason, detail=detail)


def compose_crashed(*, invocation_id: int, fence: int, crashes: int) -> bool:
    """The lease ran out: back into the queue, at its old place."""
    return _move(invocation_id, (State.COMPOSING,), State.QUEUED, Q(fence=fence), crashes=crashes)


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
    with transaction.atomic():
        # `hello` locks the bridge's row as well: an offer comes wholly before or wholly after a new session.
        sql.rows(
            "SELECT b.id FROM invocations i JOIN agents a ON a.id = i.agent_id JOIN bridges b ON b.id = a.bridge_id"
            " WHERE i.id = %s FOR NO KEY UPDATE OF b",
            [invocation_id],
        )
        return _offer(invocation_id=invocation_id)


def _offer(*, invocation_id: int) -> bool:
    offered = sql.rows(
        "UPDATE invocations i SET state = 'offered', offered_at = statement_timestamp(), bridge_session = b.session,"
        " journal = b.journal FROM agents a JOIN bridges b ON b.id = a.bridge_id WHERE i.id = %s AND a.id = i.agent_id"
        " AND i.state = 'composed' AND a.is_enabled AND b.revoked_at IS NULL AND b.lease_until > statement_timestamp()"
        " RETURNING b.id",
        [invocation_id],
    )
    if not offered:
        _park_or_fail(invocation_id=invocation_id)
        return False
    ((bridge_id,),) = offered
    nudges.hub(bridge_id=bridge_id)
    return True


def _park_or_fail(*, invocation_id: int) -> None:
    """Waiting makes sense for a bridge that may come back only."""
    agent = Agent.objects.select_related("bridge").get(invocations=invocation_id)
    if not agent.is_enabled:
        fail_unsent(invocation_id=invocation_id, reason="agent_disabled")
    elif agent.bridge is not None and agent.bridge.revoked_at is not None:
        fail_unsent(invocation_id=invocation_id, reason="bridge_revoked")
    else:
        park(invocation_id=invocation_id)


def accepted(*, invocation_id: int, fence: int, session: str) -> bool:
    return _move(invocation_id, (State.OFFERED,), State.RUNNING, Q(fence=fence, bridge_session=session))


def refused(*, invocation_id: int, fence: int, session: str, reason: str, detail: str) -> bool:
    guard = Q(fence=fence, bridge_session=session)
    return _move(invocation_id, (State.OFFERED,), State.REFUSED, guard, reason=reason or "refused", detail=detail)


def not_taken(*, invocation_id: int, fence: int) -> bool:
    """A hello of the same journal does not know the offer: queued again, composed afresh."""
    return _move(invocation_id, (State.OFFERED,), State.QUEUED, Q(fence=fence))


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
    guard = Q(fence=fence, bridge_session=session)
    row = Invocation.objects.filter(guard, pk=invocation_id, state__in=AT_BRIDGE).first()
    if row is None:
        return False
    to = State(outcome)
    if to != State.DONE and row.cancel_requested_at is not None:
        # Who stopped it and why is known here; the bridge says only that it did.
        to, reason, detail = State(row.cancel_to), row.cancel_reason, row.detail or detail
    return _move(
        invocation_id,
        (State.RUNNING,),
        to,
        guard,
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
    return _move(invocation_id, AT_BRIDGE, State.INTERRUPTED, Q(fence=fence), reason=reason, detail=detail)


def expire(*, invocation_id: int) -> bool:
    return _move(invocation_id, (*BEFORE_OFFER, State.OFFERED), State.EXPIRED, reason="offline")


def fail_unsent(*, invocation_id: int, reason: str, detail: str = "") -> bool:
    """For rows that no bridge has seen yet: agent disabled, bridge revoked, right withdrawn."""
    sources = (State.QUEUED, State.WAITING, State.COMPOSED)
    return _move(invocation_id, sources, State.FAILED, reason=reason, detail=detail)


def request_cancel(*, invocation_id: int, reason: str, detail: str = "", to: State = State.CANCELLED) -> bool:
    """Stop a row: at once while no bridge has it, else by asking the bridge. Asking again changes nothing."""
    if _move(invocation_id, BEFORE_OFFER, State.CANCELLED, reason=reason, detail=detail):
        return True
    rows = Invocation.objects.filter(pk=invocation_id, state__in=AT_BRIDGE, cancel_requested_at=None)
    if not rows.update(cancel_requested_at=Now(), cancel_to=to, cancel_reason=reason, detail=detail):
        return False
    bridge_id = Invocation.objects.values_list("agent__bridge_id", flat=True).get(pk=invocation_id)
    if bridge_id is not None:
        nudges.hub(bridge_id=bridge_id)
    return True


def cancel_overdue(*, invocation_id: int) -> bool:
    """The bridge did not end a cancelled run in time; the state that the cancel asked for is set without it."""
    row = Invocation.objects.filter(pk=invocation_id, state__in=AT_BRIDGE, cancel_requested_at__isnull=False).first()
    if row is None:
        return False
    guard = Q(fence=row.fence)
    return _move(invocation_id, AT_BRIDGE, State(row.cancel_to), guard, reason=row.cancel_reason, detail=row.detail)


def give_up_room(*, invocation_id: int) -> bool:
    """The bridge is gone: the row keeps its lane but no longer holds its serial room."""
    rows = Invocation.objects.filter(pk=invocation_id, state__in=AT_BRIDGE, serial_room__isnull=False)
    room_id = rows.values_list("room_id", flat=True).first()
    if room_id is None or not rows.update(serial_room=None):
        return False
    wake(serial_room_id=room_id)
    return True


def tell(*, invocation: Invocation, kind: NoticeKind, text: str) -> None:
    """Leave the room one sentence about this row; telling it again edits the sentence."""
    chat_id = chat_message_id(f"notice:{invocation.pk}:{kind}")
    notice, is_new = Notice.objects.get_or_create(
        invocation=invocation,
        kind=kind,
        defaults={
            "room_id": invocation.room_id,
            "agent_id": invocation.agent_id,
            "thread": invocation.thread,
            "text": text,
            "chat_id": chat_id,
        },
    )
    if not is_new and notice.text != text:
        Notice.objects.filter(pk=notice.pk).update(text=text, revision=F("revision") + 1)
    nudges.chat(agent_id=invocation.agent_id, room_id=invocation.room_id, invocation_id=invocation.pk)


def take_back(*, invocation_id: int, kinds: tuple[NoticeKind, ...]) -> None:
    """An empty text tells the poster to delete the sentence from the room."""
    rows = Notice.objects.filter(invocation_id=invocation_id, kind__in=kinds).exclude(text="")
    if rows.update(text="", revision=F("revision") + 1):
        agent_id = Invocation.objects.values_list("agent_id", flat=True).get(pk=invocation_id)
        nudges.chat(agent_id=agent_id, invocation_id=invocation_id)


def chat_message_id(seed: str) -> str:
    """Our own 17-character id for a chat message: the same seed always posts the same message."""
    alphabet = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz"
    number = int.from_bytes(hashlib.sha256(f"{settings.NEXUS_FIELD_KEY[:8]}:{seed}".encode()).digest())
    letters = []
    for _ in range(17):
        number, digit = divmod(number, len(alphabet))
        letters.append(alphabet[digit])
    return "".join(letters)


def wake(*, agent_id: int | None = None, serial_room_id: int | None = None) -> None:
    """Start the chains of the next claimable rows of an agent and of a serial room."""
    pipeline.start(invocation_ids=next_claimable(agent_id=agent_id, serial_room_id=serial_room_id))


def next_claimable(*, agent_id: int | None = None, serial_room_id: int | None = None) -> list[int]:
    """Ids of the queued rows that a claim could take now, first come first, one per free session."""
    scope = Q(pk__in=())
    if agent_id is not None:
        scope |= Q(agent_id=agent_id)
    if serial_room_id is not None:
        scope |= Q(room_id=serial_room_id)
    rows = claimable().filter(scope).order_by("message__ts", "pk")
    return list(rows.values_list("pk", flat=True)[:8])


def next_in_room(*, room_id: int) -> int | None:
    """The room's first row that could be claimed now, for the worker that lets the room lock go."""
    rows = sql.rows(
        "SELECT i.id FROM invocations i JOIN agents a ON a.id = i.agent_id JOIN rooms r ON r.id = i.room_id"
        " JOIN messages q ON q.id = i.message_id WHERE i.room_id = %s AND i.state = 'queued'"
        " AND (i.files_until IS NULL OR i.files_until < statement_timestamp())"
        " AND (SELECT count(*) FROM invocations l WHERE l.agent_id = i.agent_id"
        "  AND l.state IN ('composing', 'composed', 'offered', 'running')) < a.parallel"
        " AND NOT EXISTS (SELECT 1 FROM invocations l WHERE l.agent_id = i.agent_id AND l.session_key = i.session_key"
        "  AND l.state IN ('composing', 'composed', 'offered', 'running'))"
        " AND (NOT r.is_serial OR NOT EXISTS (SELECT 1 FROM invocations l WHERE l.serial_room_id = i.room_id"
        "  AND l.state IN ('composing', 'composed', 'offered', 'running')))"
        " ORDER BY q.ts, i.id LIMIT 1",
        [room_id],
    )
    return rows[0][0] if rows else None


def claimable() -> QuerySet[Invocation]:
    """Queued rows whose session and serial room are free. Lanes are counted by the claim itself."""
    live = Invocation.objects.filter(state__in=LIVE)
    return Invocation.objects.filter(
        ~Exists(live.filter(agent_id=OuterRef("agent_id"), session_key=OuterRef("session_key"))),
        Q(room__is_serial=False) | ~Exists(live.filter(serial_room_id=OuterRef("room_id"))),
        Q(files_until=None) | Q(files_until__lt=Now()),
        state=State.QUEUED,
    )


def _move(invocation_id: int, sources: tuple[State, ...], to: State, guard: Any = None, **values: Any) -> bool:
    for source in sources:
        if (source, to) not in EDGES:
            raise AssertionError(f"no edge {source} -> {to}")
    if (field := TIME_FIELD.get(to)) is not None:
        values.setdefault(field, Now())
    if to not in LIVE:
        values |= {"lane": None, "serial_room": None, "lease_until": None}
    rows = Invocation.objects.filter(pk=invocation_id, state__in=sources)
    if guard is not None:
        rows = rows.filter(guard)
    held_room = rows.values_list("serial_room_id", flat=True).first() if to not in LIVE else None
    if not rows.update(state=to, **values):
        return False
    _after(invocation_id=invocation_id, to=to, held_room=held_room)
    return True


def _after(*, invocation_id: int, to: State, held_room: int | None) -> None:
    if to in LIVE and to != State.RUNNING:
        return
    row = Invocation.objects.select_related("agent").get(pk=invocation_id)
    if to in FINAL and to != State.DONE:
        text = wording.ending(
            state=to, reason=row.reason, detail=row.detail, agent=row.agent.slug, invocation_id=row.pk
        )
        tell(invocation=row, kind=NoticeKind.ENDED, text=text)
        take_back(invocation_id=row.pk, kinds=(NoticeKind.WAITING, NoticeKind.QUEUED))
    if to not in LIVE:
        wake(agent_id=row.agent_id, serial_room_id=held_room)
    nudges.chat(agent_id=row.agent_id, room_id=row.room_id, invocation_id=row.pk)


def bridge_gone_since(*, seconds: float) -> Q:
    """Rows whose agent has no bridge with a lease newer than this."""
    fresh = Bridge.objects.filter(agents=OuterRef("agent_id"), lease_until__gt=Now() - timedelta(seconds=seconds))
    return ~Q(Exists(fresh))


def agents_of(*, bridge_id: int) -> list[int]:
    return list(Agent.objects.filter(bridge_id=bridge_id).values_list("pk", flat=True))
