"""A bridge's session: what `hello` does to the rows at that bridge, and how the session is kept, lost and let go.

The bridge's row is locked first, by `greet` as by `offer`; so no row is offered to a session that is already replaced.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Least, Now

from gateway import audit, nudges, sql
from gateway.invocations import transitions
from gateway.invocations.table import AT_BRIDGE, State
from gateway.models import Agent, Bridge, Invocation
from nexus_bridge.protocol import AgentOffer, Load, OpenRun, Policy

UNPARK_LIMIT: Final = 100
"""Waiting rows that one `hello` queues per agent; the gateway's next round takes the rest."""

LETTING_GO_S: Final = 3
"""How long a bridge whose socket has closed still counts as there: most come back at once."""

_RENEW = """
    WITH mine AS (
        SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[])
            AS m(id, session, digest, load, journal)
    ), renewed AS (
        UPDATE bridges AS b
        SET lease_until = now() + make_interval(secs => %s), last_seen_at = now(), load = m.load::jsonb
        FROM mine m
        WHERE b.id = m.id AND b.session = m.session AND b.revoked_at IS NULL
            AND (b.lease_until IS NULL OR b.lease_until < now() + make_interval(secs => %s))
    )
    SELECT m.id, b.session = m.session,
        b.revoked_at IS NULL
        AND (b.token_digest = m.digest OR (b.old_token_digest = m.digest AND b.old_token_until > now())),
        b.journal = m.journal
    FROM mine m LEFT JOIN bridges b ON b.id = m.id
"""

_NOTE_POLICIES = """
    UPDATE bridges AS b SET policies = b.policies || m.policies::jsonb
    FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS m(id, session, policies)
    WHERE b.id = m.id AND b.session = m.session
"""


class Lost(StrEnum):
    """Why a session may not go on."""

    REPLACED = "replaced"
    """By another program: two with one token must not take turns."""
    OVERTAKEN = "overtaken"
    """By a hello of the same program, perhaps a late one of a socket that is dead: it comes again."""
    REVOKED = "revoked"


class Unwelcome(Exception):
    """This `hello` is not accepted. `code` is an error code of the protocol or `revoked`."""

    def __init__(self, *, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a bridge says of itself in `hello`, and the session it gets."""

    bridge_id: int
    token_digest: str
    session: str
    gateway: str
    journal: str
    client_version: str
    offers: Sequence[AgentOffer]
    runs: Sequence[OpenRun]


@dataclass(frozen=True, slots=True)
class Reception:
    """For each run that goes on, the seq to send next; and the runs to kill."""

    resume: dict[int, int]
    drop: list[int]


@dataclass(frozen=True, slots=True)
class Held:
    """A session that this process holds."""

    bridge_id: int
    session: str
    token_digest: str
    journal: str
    load: Load


@dataclass(frozen=True, slots=True)
class Told:
    """How strict the rules of a bridge's agents are, as it said in this session."""

    bridge_id: int
    session: str
    policies: Sequence[Policy]


def greet(*, greeting: Greeting) -> Reception:
    """Take over the bridge with a new session and settle every row at it. Raises Unwelcome."""
    with transaction.atomic(durable=True):
        bridge = _lock_bridge(greeting)
        _check_identity(greeting)
        if bridge.session and bridge.session != greeting.session:
            _take_over(bridge, greeting)
        Bridge.objects.filter(pk=bridge.pk).update(
            session=greeting.session,
            gateway=greeting.gateway,
            journal=greeting.journal,
            client_version=greeting.client_version[:100],
            offers=[json.loads(_as_json(offer)) for offer in greeting.offers],
            policies={},
            lease_until=Now() + timedelta(seconds=settings.NEXUS_BRIDGE_LEASE_S),
            last_seen_at=Now(),
        )
        reception = _settle_runs(greeting)
        wake_bridge(bridge_id=bridge.pk)
        return reception


def wake_bridge(*, bridge_id: int) -> None:
    """The bridge is there: rows that waited for it queue again, and what can go now goes."""
    for agent_id in transitions.agents_of(bridge_id=bridge_id):
        waiting = Invocation.objects.filter(agent_id=agent_id, state=State.WAITING).order_by("message__ts", "pk")
        for pk in list(waiting.values_list("pk", flat=True)[:UNPARK_LIMIT]):
            transitions.unpark(invocation_id=pk)
        transitions.wake(agent_id=agent_id)


def renew(*, held: Sequence[Held]) -> dict[int, Lost]:
    """Renew the leases of these sessions in one statement; returns those that may not go on, by bridge."""
    if not held:
        return {}
    lease_s = settings.NEXUS_BRIDGE_LEASE_S
    columns: list[list[Any]] = [
        [one.bridge_id for one in held],
        [one.session for one in held],
        [one.token_digest for one in held],
        [_as_json(one.load) for one in held],
        [one.journal for one in held],
    ]
    # Half-spent leases only: an idle bridge costs a write every second or third round.
    rows = sql.rows(_RENEW, [*columns, lease_s, lease_s * 0.6])
    lost = {}
    for bridge_id, is_ours, is_valid, is_same_program in rows:
        if not is_valid:
            lost[bridge_id] = Lost.REVOKED
        elif not is_ours:
            lost[bridge_id] = Lost.OVERTAKEN if is_same_program else Lost.REPLACED
    return lost


def note_policies(*, told: Sequence[Told]) -> None:
    """Keep what these sessions told, for people to look at; nothing is decided by it."""
    columns: list[list[Any]] = [
        [one.bridge_id for one in told],
        [one.session for one in told],
        [json.dumps({policy.agent: _shown(policy) for policy in one.policies}) for one in told],
    ]
    sql.execute(_NOTE_POLICIES, columns)


def let_go(*, bridge_id: int, session: str) -> bool:
    """The socket has closed: the lease runs out soon, and no renewal under way brings it back. Its rows stay."""
    soon = Now() + timedelta(seconds=LETTING_GO_S)
    rows = Bridge.objects.filter(pk=bridge_id, session=session)
    return bool(rows.update(session="", lease_until=Least(F("lease_until"), soon)))


def waiting_rows(*, bridge_ids: Iterable[int]) -> list[int]:
    """Ids of the waiting rows of these bridges' agents."""
    rows = Invocation.objects.filter(state=State.WAITING, agent__bridge_id__in=list(bridge_ids))
    return list(rows.order_by("message__ts", "pk").values_list("pk", flat=True)[:200])


def _lock_bridge(greeting: Greeting) -> Bridge:
    digest = Q(token_digest=greeting.token_digest) | Q(
        old_token_digest=greeting.token_digest, old_token_until__gt=Now()
    )
    bridge = (
        Bridge.objects.select_for_update(no_key=True).filter(digest, pk=greeting.bridge_id, revoked_at=None).first()
    )
    if bridge is None:
        raise Unwelcome(code="revoked", message="the bridge token is not valid any more")
    return bridge


def _take_over(bridge: Bridge, greeting: Greeting) -> None:
    """Whoever held it hears of it. Another journal while the old one is alive is a second machine with this token."""
    nudges.hub(bridge_id=bridge.pk)
    is_alive = Bridge.objects.filter(pk=bridge.pk, lease_until__gt=Now() + timedelta(seconds=LETTING_GO_S)).exists()
    if is_alive and bridge.journal and bridge.journal != greeting.journal:
        audit.record(actor=f"bridge:{bridge.pk}", action="bridge_taken_over", target=bridge.name)


def _check_identity(greeting: Greeting) -> None:
    registered = dict(Agent.objects.filter(bridge_id=greeting.bridge_id).values_list("slug", "cli_kind"))
    for offer in greeting.offers:
        kind = registered.get(offer.slug)
        if kind is None:
            known = ", ".join(sorted(registered)) or "none"
            message = f"agent {offer.slug} does not belong to this bridge; its agents here: {known}"
        elif kind != offer.cli_kind:
            message = f"agent {offer.slug} is registered as {kind}, not {offer.cli_kind}"
        else:
            continue
        audit.record(actor=f"bridge:{greeting.bridge_id}", action="identity_mismatch", target=offer.slug)
        raise Unwelcome(code="identity_mismatch", message=message)


def _settle_runs(greeting: Greeting) -> Reception:
    listed = {run.invocation: run for run in greeting.runs}
    rows = Invocation.objects.filter(agent__bridge_id=greeting.bridge_id, state__in=AT_BRIDGE).order_by("pk")
    resume: dict[int, int] = {}
    for row in rows.select_for_update(of=("self",), no_key=True):
        run = listed.get(row.pk)
        if run is not None and run.fence == row.fence and row.journal == greeting.journal:
            del listed[row.pk]
            if _go_on(row, run=run, session=greeting.session):
                resume[row.pk] = row.last_seq + 1
        else:
            _settle_unlisted(row, journal=greeting.journal)
    return Reception(resume=resume, drop=sorted(listed))


def _go_on(row: Invocation, *, run: OpenRun, session: str) -> bool:
    """The run is in the bridge's journal. False when nothing more will come of it."""
    rows = Invocation.objects.filter(pk=row.pk, fence=row.fence, state__in=AT_BRIDGE)
    if not rows.update(bridge_session=session):
        return False
    if row.state == State.OFFERED:
        transitions.accepted(invocation_id=row.pk, fence=row.fence, session=session)
    if run.state == "lost":
        transitions.interrupt(invocation_id=row.pk, fence=row.fence, reason="run_lost")
        return False
    return True


def _settle_unlisted(row: Invocation, *, journal: str) -> None:
    if row.journal != journal:
        transitions.interrupt(invocation_id=row.pk, fence=row.fence, reason="journal_lost")
    elif row.state == State.OFFERED and row.cancel_requested_at is not None:
        # Nobody has begun what was stopped meanwhile, and nobody shall.
        transitions.cancel_without_bridge(invocation_id=row.pk)
    elif row.state == State.OFFERED:
        transitions.not_taken(invocation_id=row.pk, fence=row.fence)
    else:
        transitions.interrupt(invocation_id=row.pk, fence=row.fence, reason="run_lost")


def _shown(policy: Policy) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(policy)
    return {name: value for name, value in told.items() if name not in ("type", "agent")}


def _as_json(part: AgentOffer | Load) -> str:
    return msgspec.json.encode(part).decode()
