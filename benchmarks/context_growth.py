"""How do the time to find what a question needs, and a worker's memory, grow with the room?"""

import itertools
import random
import re
import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, percentile

SIZES = ((1_000, 5, 1.4), (10_000, 10, 9.5), (100_000, 30, 125))
"""Messages in the room; the milliseconds a build may take at p95 (search, and what goes in and what stays out); and what
Postgres' own full text search takes at p50 where these goals were set.
"""

ROUNDS = 60
MEMORY_MB = 300
SYLLABLES = ["ka", "ro", "mi", "lu", "so", "ne", "va", "di", "po", "ra", "ge", "fi", "to", "shu", "pra"]

VOCABULARY = ["".join(parts) for parts in itertools.islice(itertools.product(SYLLABLES, repeat=4), 0, 48_000, 6)]
FREQUENCIES = list(itertools.accumulate(1 / (rank + 20) for rank in range(len(VOCABULARY))))


def growth() -> Iterator[Figure]:
    from gateway.models import Room

    for count, limit_ms, full_text_there_ms in SIZES:
        room = Room.objects.create(rid=f"growth-{count}", kind="channel", name=f"growth-{count}")
        fill(room, count)
        before = resident_mb()
        loaded_s = load(room)
        grown = resident_mb() - before
        used_s = time.process_time()
        took = [build(room, number) for number in range(ROUNDS + 5)][5:]
        used_ms = (time.process_time() - used_s) * 1000 / (ROUNDS + 5)
        p95 = percentile(took, 0.95) * 1000
        index_full_text(room)
        full_text_ms = percentile([full_text(number) for number in range(ROUNDS + 5)][5:], 0.5) * 1000
        ratio, allowed = p95 / full_text_ms, limit_ms / full_text_there_ms
        yield Figure(
            id="X2",
            what=f"build of a prompt in a room of {count:,} messages, p95",
            value=f"{p95:.1f} ms, {ratio:.2f}x of full text",
            goal=f"{limit_ms} ms, {allowed:.2f}x",
            is_met=p95 <= limit_ms or ratio <= allowed,
            note=f"p50 {percentile(took, 0.5) * 1000:.1f} ms; Postgres' full text search {full_text_ms:.1f} ms here,"
            f" {full_text_there_ms} ms where the goal was set; CPU {used_ms:.1f} ms with the message's own insert;"
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

    at = datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=number)
    user = User.objects.get(rocketchat_id="growth1")
    text = question(number)
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
    lines = search(asked=asked, tokens=2_000, remembered={}).lines
    gathered = outline.Gathered(asked, (), (), (), (), (), (), Recalled(lines))
    outline.fit(gathered, total=2_000)
    return time.perf_counter() - began


def question(number: int) -> str:
    return words(random.Random(number), 8) + " what did growth3 say about it in march?"


def index_full_text(room: Any) -> None:
    """For the named peer: this room alone, as Postgres' full text search wants it."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS full_text")
        cursor.execute(
            "CREATE TEMP TABLE full_text AS SELECT id, to_tsvector('english', text) AS words FROM messages"
            " WHERE room_id = %s",
            [room.pk],
        )
        cursor.execute("CREATE INDEX ON full_text USING gin (words)")
        cursor.execute("ANALYZE full_text")


def full_text(number: int) -> float:
    """The time Postgres takes to find and rank the messages that have a word of the question, by that index."""
    from django.db import connection

    terms = " | ".join(re.findall(r"\w+", question(number)))
    with connection.cursor() as cursor:
        began = time.perf_counter()
        cursor.execute(
            "SELECT id FROM full_text, to_tsquery('english', %s) AS asked WHERE words @@ asked"
            " ORDER BY ts_rank(words, asked) DESC LIMIT 100",
            [terms],
        )
        cursor.fetchall()
        return time.perf_counter() - began


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6
