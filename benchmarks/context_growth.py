"""How do the time to find what a question needs, and a worker's memory, grow with the room?"""

import itertools
import random
import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, percentile

SIZES = ((1_000, 5), (10_000, 10), (100_000, 30))
"""Messages in the room, and the milliseconds a build may take at p95: search, and what goes in and what stays out."""

ROUNDS = 60
MEMORY_MB = 300
SYLLABLES = ["ka", "ro", "mi", "lu", "so", "ne", "va", "di", "po", "ra", "ge", "fi", "to", "shu", "pra"]

VOCABULARY = ["".join(parts) for parts in itertools.islice(itertools.product(SYLLABLES, repeat=4), 0, 48_000, 6)]
FREQUENCIES = list(itertools.accumulate(1 / (rank + 20) for rank in range(len(VOCABULARY))))


def growth() -> Iterator[Figure]:
    from gateway.models import Room

    for count, limit_ms in SIZES:
        room = Room.objects.create(rid=f"growth-{count}", kind="channel", name=f"growth-{count}")
        fill(room, count)
        before = resident_mb()
        loaded_s = load(room)
        grown = resident_mb() - before
        used_s = time.process_time()
        took = [build(room, number) for number in range(ROUNDS + 5)][5:]
        used_ms = (time.process_time() - used_s) * 1000 / (ROUNDS + 5)
        p95 = percentile(took, 0.95) * 1000
        yield Figure(
            id="X2",
            what=f"build of a prompt in a room of {count:,} messages, p95",
            value=f"{p95:.1f} ms",
            goal=f"{limit_ms} ms",
            is_met=p95 <= limit_ms,
            note=f"p50 {percentile(took, 0.5) * 1000:.1f} ms; CPU {used_ms:.1f} ms with the message's own insert;"
            f" read in {loaded_s:.1f} s, in the background",
        )
        if count == SIZES[-1][0]:
            yield Figure(
                id="X2",
                what=f"a worker's growth by {count:,} searchable messages",
                value=f"{grown:.0f} MB",
                goal=f"{MEMORY_MB} MB",
                is_met=grown < MEMORY_MB,
            )


def fill(room: Any, count: int) -> None:
    """Talk of ten people; words are as frequent as in real talk (Zipf), without the stopwords, which cost nothing."""
    from django.db import connection

    from gateway.models import Message, User

    rng = random.Random(7)
    users = [
        User.objects.get_or_create(rocketchat_id=f"growth{number}", defaults={"username": f"growth{number}"})[0]
        for number in range(10)
    ]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for first in range(0, count, 5_000):
        Message.objects.bulk_create(
            Message(
                rc_id=f"g{count}-{number}",
                room=room,
                user=rng.choice(users),
                text=words(rng, rng.randint(4, 24)),
                thread=f"g{count}-{number - number % 50}" if number % 50 and number // 50 % 3 == 0 else "",
                ts=start + timedelta(seconds=60 * number),
                rc_updated_at=start,
                remembered_at=start,
            )
            for number in range(first, min(first + 5_000, count))
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE messages")


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(VOCABULARY, cum_weights=FREQUENCIES, k=count))


def load(room: Any) -> float:
    from composer.retrieval.rooms import searched

    began = time.perf_counter()
    with searched.fresh(room_id=room.pk) as seen:
        pass
    seen.is_whole.wait(300)
    return time.perf_counter() - began


def build(room: Any, number: int) -> float:
    """A new message, and the time to search the room for a question and to fit the prompt."""
    from composer import outline
    from composer.asked import Asked, Person
    from composer.memory.lines import line_of
    from composer.memory.recall import Recalled
    from composer.retrieval.search import search
    from gateway.models import Message, User

    rng = random.Random(number)
    at = datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=number)
    user = User.objects.get(rocketchat_id="growth1")
    text = words(rng, 8) + " what did growth3 say about it in march?"
    row = Message.objects.create(
        rc_id=f"{room.rid}-{number}", room=room, user=user, text=text, ts=at, rc_updated_at=at
    )
    asked = Asked(
        invocation_id=1,
        thread="",
        hop=0,
        question=line_of(message=row, name=user.username),
        text=text,
        agent="claude",
        persona="",
        budget=None,
        room_id=room.pk,
        rid=room.rid,
        kind="channel",
        room_name=room.name,
        project=None,
        asker=Person(user.pk, user.rocketchat_id, user.username),
        writer="",
    )
    began = time.perf_counter()
    lines = search(asked=asked, tokens=2_000, remembered={})
    gathered = outline.Gathered(asked, (), (), (), (), (), (), Recalled(lines))
    outline.fit(gathered, total=2_000)
    return time.perf_counter() - began


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6
