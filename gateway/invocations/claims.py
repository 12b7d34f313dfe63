"""Opening rows and claiming them for composing."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from gateway import pipeline
from gateway.invocations import rights, transitions
from gateway.invocations.table import LIVE, State
from gateway.models import Agent, Invocation, Message, Room, User

MAX_REFUSALS = 20
"""Rows that one claim may find without right before it leaves the rest to the next claim."""


@dataclass(frozen=True, slots=True)
class Claim:
    """This worker owns the row for composing, as long as nobody raised the fence."""

    invocation_id: int
    fence: int
    room_id: int
    agent_id: int


def session_key(*, room: Room, thread: str) -> str:
    """One CLI session per agent and room or thread."""
    return f"{room.rid}:{thread}" if thread else room.rid


def open_invocation(
    *,
    message: Message,
    room: Room,
    agent: Agent,
    root_asker: User,
    asker_agent: Agent | None = None,
    hop: int = 0,
    retry_of: Invocation | None = None,
    thread: str | None = None,
) -> Invocation | None:
    """Open a row inside the message's own transaction; None when there is one already for this attempt.

    Rights are checked first: who may not ask gets a row that failed with the reason, so that the room hears it.
    """
    thread = message.thread if thread is None else thread
    attempt = 1 if retry_of is None else retry_of.attempt + 1
    row, is_new = Invocation.objects.get_or_create(
        message=message,
        agent=agent,
        attempt=attempt,
        defaults={
            "retry_of": retry_of,
            "room": room,
            "thread": thread,
            "session_key": session_key(room=room, thread=thread),
            "asker_user": root_asker if asker_agent is None else None,
            "asker_agent": asker_agent,
            "root_asker": root_asker,
            "hop": hop,
            "wait_until": timezone.now() + timedelta(seconds=settings.NEXUS_WAIT_S),
        },
    )
    if not is_new:
        return None
    refusal = rights.refusal(agent=agent, asker=root_asker, room_id=room.pk, writer=asker_agent)
    if refusal is not None:
        transitions.fail_unsent(invocation_id=row.pk, reason="not_allowed", detail=refusal)
    else:
        pipeline.start(invocation_ids=[row.pk])
    return row


def claim_next(*, invocation_id: int) -> Claim | None:
    """Take the first row of this row's agent that can go now, whichever row it is. None: nothing to do now.

    Locks the agent's row, so that two workers never pick the same lane. Rows whose agent has no live bridge wait; rows
    whose asker has lost the right fail. Losing a race for the serial room leaves the row queued: whoever frees the room
    wakes it.
    """
    try:
        with transaction.atomic(durable=True):
            return _claim(invocation_id=invocation_id)
    except IntegrityError:
        return None


def _claim(*, invocation_id: int) -> Claim | None:
    agent = (
        Agent.objects.select_for_update(of=("self",), no_key=True)
        .select_related("bridge", "owner")
        .filter(invocations=invocation_id)
        .first()
    )
    if agent is None:
        return None
    lane = _free_lane(agent=agent)
    if lane is None:
        return None
    for _ in range(MAX_REFUSALS):
        row = (
            transitions.claimable()
            .filter(agent_id=agent.pk)
            .select_related("room", "root_asker", "asker_agent")
            .order_by("message__ts", "pk")
            .first()
        )
        if row is None:
            return None
        if not _is_stopped(agent=agent, row=row):
            return _take(row=row, lane=lane)
    return None


def _is_stopped(*, agent: Agent, row: Invocation) -> bool:
    bridge = agent.bridge
    if bridge is not None and bridge.revoked_at is not None:
        return transitions.fail_unsent(invocation_id=row.pk, reason="bridge_revoked")
    refusal = rights.refusal(agent=agent, asker=row.root_asker, room_id=row.room_id, writer=row.asker_agent)
    if refusal is not None:
        reason = "not_allowed" if agent.is_enabled else "agent_disabled"
        return transitions.fail_unsent(invocation_id=row.pk, reason=reason, detail=refusal)
    if not Agent.objects.online().filter(pk=agent.pk).exists():
        return transitions.park(invocation_id=row.pk)
    return False


def _free_lane(*, agent: Agent) -> int | None:
    taken = set(Invocation.objects.filter(agent=agent, state__in=LIVE).values_list("lane", flat=True))
    return next((lane for lane in range(agent.parallel) if lane not in taken), None)


def _take(*, row: Invocation, lane: int) -> Claim | None:
    lease = Now() + timedelta(seconds=settings.NEXUS_COMPOSE_LEASE_S)
    moved = Invocation.objects.filter(Q(pk=row.pk), state=State.QUEUED, fence=row.fence).update(
        state=State.COMPOSING,
        composing_at=Now(),
        fence=F("fence") + 1,
        lane=lane,
        serial_room=row.room if row.room.is_serial else None,
        lease_until=lease,
        bridge_session="",
        journal="",
        last_seq=0,
    )
    if not moved:
        return None
    return Claim(invocation_id=row.pk, fence=row.fence + 1, room_id=row.room_id, agent_id=row.agent_id)
