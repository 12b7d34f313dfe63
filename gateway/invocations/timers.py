"""What time alone does to invocations: leases, limits, expiry. One call does all that is due, in one transaction."""

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from gateway.invocations import transitions
from gateway.invocations.table import (
    AT_BRIDGE,
    BEFORE_OFFER,
    CANCEL_GRACE_S,
    GONE_S,
    MAX_CRASHES,
    OFFER_ANSWER_S,
    WALL_GRACE_S,
    State,
)
from gateway.models import Invocation

logger = logging.getLogger(__name__)

ROUND_LIMIT = 500
"""Rows one kind of timer moves in one transaction; the rest is due in the next round, seconds later."""


def run_due() -> dict[str, int]:
    """Move every row whose time has come, by database time; returns how many rows each timer moved."""
    with transaction.atomic(durable=True):
        return {name: sum(_move(name, act, row) for row in _due(rows())) for name, rows, act in _TIMERS}


def _move(timer: str, act: Callable[[Invocation], bool], row: Invocation) -> bool:
    is_moved = act(row)
    if is_moved:
        logger.info("timer moved a row", extra={"invocation": row.pk, "timer": timer, "was": row.state})
    return is_moved


def _due(rows: QuerySet[Invocation]) -> Iterable[Invocation]:
    return rows.select_for_update(of=("self",), skip_locked=True).order_by("pk")[:ROUND_LIMIT]


def _ago(seconds: float) -> CombinedExpression:
    return Now() - timedelta(seconds=seconds)


def _lapsed() -> QuerySet[Invocation]:
    return Invocation.objects.filter(state=State.COMPOSING, lease_until__lt=Now())


def _back_or_poison(row: Invocation) -> bool:
    crashes = row.crashes + 1
    if crashes < MAX_CRASHES:
        return transitions.compose_crashed(invocation_id=row.pk, fence=row.fence, crashes=crashes)
    return transitions.compose_failed(invocation_id=row.pk, fence=row.fence, reason="poison", detail="")


def _too_late() -> QuerySet[Invocation]:
    gone = Q(state=State.OFFERED) & transitions.bridge_gone_since(seconds=0)
    return Invocation.objects.filter(Q(state__in=BEFORE_OFFER) | gone, wait_until__lt=Now())


def _cancel_ignored() -> QuerySet[Invocation]:
    return Invocation.objects.filter(state__in=AT_BRIDGE, cancel_requested_at__lt=_ago(CANCEL_GRACE_S))


def _over_wall_limit() -> QuerySet[Invocation]:
    limit = _ago(settings.NEXUS_RUN_WALL_S + WALL_GRACE_S)
    return Invocation.objects.filter(state=State.RUNNING, running_at__lt=limit, cancel_requested_at=None)


def _unanswered() -> QuerySet[Invocation]:
    """Offers that a live bridge has had long enough."""
    offers = Invocation.objects.filter(
        state=State.OFFERED, offered_at__lt=_ago(OFFER_ANSWER_S), cancel_requested_at=None
    )
    return offers.filter(~transitions.bridge_gone_since(seconds=0))


def _bridge_lost() -> QuerySet[Invocation]:
    gone = transitions.bridge_gone_since(seconds=GONE_S)
    return Invocation.objects.filter(gone, state=State.RUNNING, running_at__lt=_ago(GONE_S))


def _room_held_by_absent() -> QuerySet[Invocation]:
    gone = transitions.bridge_gone_since(seconds=0)
    return Invocation.objects.filter(gone, state__in=AT_BRIDGE, serial_room__isnull=False)


def _fail_by_cancel(reason: str) -> Callable[[Invocation], bool]:
    return lambda row: transitions.request_cancel(invocation_id=row.pk, reason=reason, to=State.FAILED)


_TIMERS: tuple[tuple[str, Callable[[], QuerySet[Invocation]], Callable[[Invocation], bool]], ...] = (
    ("lease_lapsed", _lapsed, _back_or_poison),
    ("expired", _too_late, lambda row: transitions.expire(invocation_id=row.pk)),
    ("cancel_ignored", _cancel_ignored, lambda row: transitions.cancel_without_bridge(invocation_id=row.pk)),
    ("wall_limit", _over_wall_limit, _fail_by_cancel("wall_limit")),
    ("offer_unanswered", _unanswered, _fail_by_cancel("offer_unanswered")),
    (
        "bridge_gone",
        _bridge_lost,
        lambda row: transitions.interrupt(invocation_id=row.pk, fence=row.fence, reason="bridge_gone"),
    ),
    ("room_given_up", _room_held_by_absent, lambda row: transitions.give_up_room(invocation_id=row.pk)),
)
