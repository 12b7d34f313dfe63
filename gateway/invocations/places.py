"""Which place has a question in the queue of its agent, and is the room told?

Told are rows that can't go now because of others: no free lane, their session or their serial room is taken.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models.functions import Now

from gateway import sql
from gateway.invocations import notices, wording
from gateway.invocations.queue import LANES
from gateway.models import Invocation, NoticeKind, Purpose, State

MAX_TOLD: Final = 20
"""Rows of one agent whose place is kept up to date; further ones hear theirs when they come closer."""

MAX_AGENTS: Final = 50
"""Agents that one round of the sweep looks at."""

PATIENCE: Final = timedelta(seconds=2)
"""Neither is a row told that waits shorter behind a run that began later than that: most of them go on at once."""

_PLACES: Final = (
    "SELECT mine.id, (SELECT count(*) FROM invocations i JOIN messages q ON q.id = i.message_id"
    "  WHERE i.agent_id = mine.agent_id AND i.state = 'queued' AND i.purpose = 'answer' AND (q.ts, i.id) <= (m.ts, mine.id))"
    " FROM invocations mine JOIN messages m ON m.id = mine.message_id"
    " WHERE mine.id = ANY(%s) AND mine.state = 'queued'"
)

_BLOCKED: Final = (
    "SELECT i.id FROM invocations i JOIN agents a ON a.id = i.agent_id JOIN rooms r ON r.id = i.room_id"  # noqa: S608 - constants only
    " JOIN messages q ON q.id = i.message_id"
    " WHERE i.agent_id = %s AND i.state = 'queued' AND i.purpose = 'answer' AND NOT r.is_quiet"
    " AND (i.queued_at < now() - %s OR EXISTS (SELECT 1 FROM invocations l WHERE l.agent_id = i.agent_id"
    "   AND l.state = 'running' AND l.running_at < now() - %s))"
    " AND ((SELECT count(*) FROM invocations l WHERE l.agent_id = i.agent_id"
    f"   AND l.state IN ('composing', 'composed', 'offered', 'running')) >= {LANES}"
    "  OR EXISTS (SELECT 1 FROM invocations l WHERE l.agent_id = i.agent_id AND l.session_key = i.session_key"
    "   AND l.state IN ('composing', 'composed', 'offered', 'running'))"
    "  OR (r.is_serial AND EXISTS (SELECT 1 FROM invocations l WHERE l.serial_room_id = i.room_id"
    "   AND l.state IN ('composing', 'composed', 'offered', 'running'))))"
    " ORDER BY q.ts, i.id LIMIT %s"
)


def places(invocation_ids: Iterable[int]) -> dict[int, int]:
    """By row: 1 for the one that is next. Rows that are not queued have none."""
    ids = list(invocation_ids)
    return dict(sql.rows(_PLACES, [ids])) if ids else {}


def tell_places(*, agent_id: int) -> int:
    """Tell the rooms of this agent's blocked questions where they stand; telling the same again changes nothing."""
    # The claim locks the agent as well: no place is told of a row that is being taken. Who has it locked goes first.
    if not sql.rows("SELECT id FROM agents WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED", [agent_id]):
        return 0
    blocked = [pk for (pk,) in sql.rows(_BLOCKED, [agent_id, PATIENCE, PATIENCE, MAX_TOLD])]
    found = places(blocked)
    rows = Invocation.objects.select_related("agent", "root_asker").filter(pk__in=found)
    for row in rows.order_by("pk"):
        asker, place = row.root_asker.username, found[row.pk]
        text = wording.queued(agent=row.agent.slug, asker=asker, place=place, invocation_id=row.pk)
        notices.tell(invocation=row, kind=NoticeKind.QUEUED, text=text)
    return len(found)


def tell_behind(*, invocation_id: int) -> None:
    """This row could not go: its room hears why."""
    for (agent_id,) in sql.rows("SELECT agent_id FROM invocations WHERE id = %s", [invocation_id]):
        tell_places(agent_id=agent_id)


def tell_all() -> int:
    """Of every agent that has questions waiting; for the sweep, which also keeps the places up to date."""
    told = 0
    for agent_id in _waiting_agents():
        with transaction.atomic(durable=True):
            told += tell_places(agent_id=agent_id)
    return told


def _waiting_agents() -> list[int]:
    waited = Invocation.objects.filter(state=State.QUEUED, queued_at__lt=Now() - PATIENCE, room__is_quiet=False)
    waited = waited.filter(purpose=Purpose.ANSWER)
    return list(waited.order_by("agent_id").values_list("agent_id", flat=True).distinct()[:MAX_AGENTS])
