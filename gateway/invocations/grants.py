"""Standing yeses: this agent, this room, this tool, until then; given by who may decide, and only as long as he may."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.db.models.functions import Now

from gateway.invocations import risk
from gateway.invocations.rights import may_decide
from gateway.models import Approval, Grant, User

_SPAN: Final = re.compile(
    r"(?:for\s+)?(\d{1,3})\s*(m|min|minutes?|h|hours?|d|days?)|(always)(?:\s+here)?", re.IGNORECASE
)
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}
LONGEST_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Span:
    """How long a yes holds: seconds, or always (in this room)."""

    seconds: int | None
    words: str


def span_of(text: str) -> Span | None:
    """What stands behind `!approve`; None when it is no span. At most a week, or always."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        return None
    if found[3]:
        return Span(seconds=None, words="always here")
    number, unit = int(found[1]), found[2][0].lower()
    seconds = min(number * _SECONDS[unit], LONGEST_S)
    return Span(seconds=seconds, words=f"for {seconds // _SECONDS[unit]} {unit}") if number else None


def give(*, approval: Approval, user: User, span: Span) -> None:
    """From now on this tool of this agent is allowed in this room, until the span is over."""
    row = approval.invocation
    until = None if span.seconds is None else Now() + timedelta(seconds=span.seconds)
    Grant.objects.update_or_create(
        agent_id=row.agent_id,
        room_id=row.room_id,
        tool=approval.tool,
        defaults={"until": until, "granted_by": user},
    )


def covering(*, approval: Approval) -> Grant | None:
    """The grant that answers this question. What is risky is asked each time, whatever was granted."""
    row = approval.invocation
    if risk.level(tool_kind=approval.tool_kind, detail=approval.detail)[0] == "high":
        return None
    alive = Q(until=None) | Q(until__gt=Now())
    found = Grant.objects.filter(alive, agent_id=row.agent_id, room_id=row.room_id, tool=approval.tool)
    grant = found.select_related("granted_by").first()
    return grant if grant is not None and may_decide(agent=row.agent, user=grant.granted_by) else None


def alive_in(*, room_id: int) -> list[Grant]:
    alive = Q(until=None) | Q(until__gt=Now())
    return list(Grant.objects.filter(alive, room_id=room_id).select_related("agent", "granted_by").order_by("pk"))
