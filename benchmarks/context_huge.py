"""What does a prompt cost in a room of a million messages, in time and in a worker's memory?"""

import time
from collections.abc import Iterator
from typing import Any

from benchmarks.context_growth import build, fill, resident_mb
from benchmarks.figures import percentile

COPIED = 100_000
COPIES = 10
ROUNDS = 40

# The same talk again and again, each time a year later: what is measured grows with rows and terms, not with their sense.
_COPY = """
INSERT INTO messages (rc_id, room_id, user_id, text, thread, system_type, ts, rc_updated_at, attachments, reactions, remembered_at)
SELECT 'h' || n || '-' || m.rc_id, %s, m.user_id, m.text,
    CASE WHEN m.thread = '' THEN '' ELSE 'h' || n || '-' || m.thread END,
    m.system_type, m.ts - n * interval '1 year', m.rc_updated_at, m.attachments, m.reactions, m.remembered_at
FROM messages m WHERE m.room_id = %s"""


def huge() -> Iterator[str]:
    from django.db import connection

    from gateway.models import Message, Room

    source, room = (Room.objects.create(rid=f"huge-{n}", kind="channel", name=f"huge-{n}") for n in ("source", "room"))
    fill(source, COPIED)
    with connection.cursor() as cursor:
        for copy in range(COPIES):
            cursor.execute(_COPY.replace("n *", f"{copy} *").replace("'h' || n", f"'h{copy}'"), [room.pk, source.pk])
        cursor.execute("ANALYZE messages")
    yield f"messages in the room: {Message.objects.filter(room=room).count():,}"
    before = resident_mb()
    yield f"first prompt of a worker that has not seen the room: {_took(room, 0) * 1000:.0f} ms"
    yield f"all that may be searched is read after {_whole(room):.0f} s, {_searched(room):,} messages"
    yield f"the worker has grown by {resident_mb() - before:.0f} MB"
    took = sorted(build(room, number) for number in range(1, ROUNDS))
    yield f"search and fit: p50 {_ms(took, 0.5)}, p95 {_ms(took, 0.95)}"
    took = sorted(_took(room, number) for number in range(ROUNDS, 2 * ROUNDS))
    yield f"the whole prompt, all that the database is asked included: p50 {_ms(took, 0.5)}, p95 {_ms(took, 0.95)}"


def _took(room: Any, number: int) -> float:
    """A question in the room, and the time to draw its prompt."""
    from django.utils import timezone

    from composer.compose import draw
    from gateway.invocations import open_invocation
    from gateway.models import Agent, Message, RoomMember, User

    asker = User.objects.get(rocketchat_id="growth1")
    RoomMember.objects.get_or_create(room=room, user=asker)
    agent, _ = Agent.objects.get_or_create(slug="claude", defaults={"cli_kind": "claude", "who_may_ask": "room"})
    now = timezone.now()
    message = Message.objects.create(
        rc_id=f"huge-question-{number}", room=room, user=asker, text="what did growth3 say about karomilu in march?",
        ts=now, rc_updated_at=now,
    )  # fmt: skip
    row = open_invocation(message=message, room=room, agent=agent, root_asker=asker)
    if row is None:
        raise RuntimeError("the question was not opened")
    began = time.perf_counter()
    draw(invocation_id=row.pk, room_id=row.room_id)
    return time.perf_counter() - began


def _whole(room: Any) -> float:
    from composer.retrieval.rooms import searched

    began = time.perf_counter()
    with searched.fresh(room_id=room.pk) as seen:
        pass
    seen.is_whole.wait(600)
    return time.perf_counter() - began


def _searched(room: Any) -> int:
    from composer.retrieval.rooms import searched

    with searched.fresh(room_id=room.pk) as seen:
        return int(seen.index.alive_count)


def _ms(took: list[float], share: float) -> str:
    return f"{percentile(took, share) * 1000:.1f} ms"
