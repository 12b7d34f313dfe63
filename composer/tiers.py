"""Which stretches of an idle room become summaries in the background: threads that have ended, days that are over.

Where it stands is read from the summaries themselves, so that a round may be cut off anywhere and the next one goes on;
a summary that an edit took away leaves a gap, which is filled like any other. Raw messages stay as they are.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, LiteralString

from composer import compaction, revectors, summary_orders
from composer.compaction import MIN_LINES
from composer.memory.lines import SPOKEN, Line, select
from composer.summary_orders import NotYetError
from gateway import sql

QUIET: Final = timedelta(hours=6)
"""A thread is taken for ended when nobody has said anything in it for so long."""

MAX_LINES: Final = 200
"""A longer day or thread becomes several summaries."""

TOKENS: Final = 320
MAX_ROOMS: Final = 3
MAX_PER_ROOM: Final = 10
"""What one round may do; the next goes on."""

COMPACT_EVERY_S: Final = 60.0
TIME_S: Final = 10.0
"""No summary is begun after it; a model may take ten seconds for one."""

_LOCK: Final = 0x6E78636F  # "nxco"
_compacted_at = float("-inf")
_next_room_id = 0

# The room's own talk, outside threads, in days that are over by the database's clock and the messages' own.
_DAY: LiteralString = (
    "m.room_id = %s AND m.thread = '' AND m.ts < date_trunc('day', now(), 'UTC')"
    " AND NOT EXISTS (SELECT 1 FROM landmarks l WHERE l.message_id = m.id) AND {spoken}"
).replace("{spoken}", SPOKEN)
# Gaps between the days' summaries: before the first, between two, behind the last.
_GAPS: LiteralString = (
    "WITH spans AS (SELECT f.ts AS first_ts, f.id AS first_id, l.ts AS last_ts, l.id AS last_id FROM summaries s"
    "  JOIN messages f ON f.id = s.first_message_id JOIN messages l ON l.id = s.last_message_id"
    "  WHERE s.room_id = %s AND s.tier = 'day'"
    "  UNION ALL SELECT '-infinity', 0, '-infinity', 0),"
    " gaps AS (SELECT last_ts, last_id, lead(first_ts) OVER w AS next_ts, lead(first_id) OVER w AS next_id FROM spans"
    "  WINDOW w AS (ORDER BY last_ts, last_id))"
    " SELECT g.last_ts::text, g.last_id, coalesce(g.next_ts::text, 'infinity'), coalesce(g.next_id, 0) FROM gaps g"
    " WHERE EXISTS (SELECT 1 FROM messages m WHERE {day} AND (m.ts, m.id) > (g.last_ts, g.last_id)"
    "  AND (m.ts, m.id) < (coalesce(g.next_ts, 'infinity'), coalesce(g.next_id, 0))) ORDER BY g.last_ts DESC, g.last_id DESC LIMIT %s"
).replace("{day}", _DAY)
_THREADS: LiteralString = (
    "SELECT t.thread FROM (SELECT m.thread, (array_agg(m.id ORDER BY m.ts DESC, m.id DESC))[1] AS last_id"
    "  FROM messages m WHERE m.room_id = %s AND m.thread <> '' AND {spoken} GROUP BY m.thread"
    "  HAVING count(*) >= %s AND max(m.ts) < now() - %s) AS t"
    " WHERE NOT EXISTS (SELECT 1 FROM summaries s WHERE s.room_id = %s AND s.tier = 'thread' AND s.thread = t.thread"
    "  AND s.last_message_id = t.last_id) ORDER BY t.last_id DESC LIMIT %s"
).replace("{spoken}", SPOKEN)
# The newest lines, where there are more than a summary is made of.
_THREAD: LiteralString = (
    "m.room_id = %s AND (m.thread = %s OR m.rc_id = %s) AND {spoken} ORDER BY m.ts DESC, m.id DESC LIMIT %s"
).replace("{spoken}", SPOKEN)


def compact_now_and_then(*, clock: Callable[[], float] = time.monotonic) -> int:
    """`compact_some`, at most once in `COMPACT_EVERY_S` per process, and by one process at a time."""
    global _compacted_at
    if clock() - _compacted_at < COMPACT_EVERY_S:
        return 0
    _compacted_at = clock()
    with _only_one() as is_ours:
        if not is_ours:
            return 0
        revectors.renew_some()
        return compact_some(end=clock() + TIME_S, clock=clock)


def compact_some(*, end: float, clock: Callable[[], float] = time.monotonic) -> int:
    """A few rooms, each in its turn, until time is up. Returns how many summaries were made."""
    global _next_room_id
    rooms = sql.rows("SELECT id FROM rooms WHERE id > %s ORDER BY id LIMIT %s", [_next_room_id, MAX_ROOMS])
    _next_room_id = rooms[-1][0] if len(rooms) == MAX_ROOMS else 0
    return sum(compact_room(room_id=room_id, is_time=lambda: clock() < end) for (room_id,) in rooms)


def compact_room(*, room_id: int, is_time: Callable[[], bool] = lambda: True) -> int:
    """Summarise the room's ended threads and its days that are over, as far as that is not done. How many were made."""
    made = 0
    for thread in _ended_threads(room_id):
        lines = select(_THREAD, [room_id, thread, thread, MAX_LINES])[::-1]
        if lines and is_time():
            made += _summarized(room_id=room_id, lines=lines, tier="thread", thread=thread)
    # A gap's next day shows when its first one is done.
    for _ in range(MAX_PER_ROOM):
        done = sum(
            _summarized(room_id=room_id, lines=lines, tier="day", thread="") for lines in _days(room_id) if is_time()
        )
        made += done
        if not done:
            break
    return made


def _ended_threads(room_id: int) -> list[str]:
    found = sql.rows(_THREADS, [room_id, MIN_LINES, QUIET, room_id, MAX_PER_ROOM])
    return [thread for (thread,) in found]


def _days(room_id: int) -> Iterator[list[Line]]:
    """The first day of each gap, read when it is its turn."""
    for last_ts, last_id, next_ts, next_id in sql.rows(_GAPS, [room_id, room_id, MAX_PER_ROOM]):
        lines = select(
            _DAY + " AND (m.ts, m.id) > (%s::timestamptz, %s) AND (m.ts, m.id) < (%s::timestamptz, %s)"
            " ORDER BY m.ts, m.id LIMIT %s",
            [room_id, last_ts, last_id, next_ts, next_id, MAX_LINES],
        )
        day = _one_day(lines, is_closed=next_ts != "infinity")
        if day:
            yield day


def _one_day(lines: list[Line], *, is_closed: bool) -> list[Line]:
    """The gap's first day, and as many more as it takes to have enough to say; what remains too little waits."""
    taken: list[Line] = []
    for line in lines:
        if len(taken) >= MIN_LINES and line.at.date() != taken[-1].at.date():
            break
        taken.append(line)
    return taken if len(taken) >= MIN_LINES or is_closed else []


def _summarized(*, room_id: int, lines: list[Line], tier: str, thread: str) -> int:
    try:
        made = compaction.summarize(
            room_id=room_id,
            lines=lines,
            room=TOKENS,
            tier=tier,
            thread=thread,
            min_lines=1,
            first=summary_orders.summarizers(tier=tier),
        )
    except NotYetError:
        return 0
    return int(made is not None)


@contextmanager
def _only_one() -> Iterator[bool]:
    """A lock of this database session: gone with it, however the worker ends. Two would only make the same twice."""
    ((is_ours,),) = sql.rows("SELECT pg_try_advisory_lock(%s)", [_LOCK])
    try:
        yield is_ours
    finally:
        if is_ours:
            sql.rows("SELECT pg_advisory_unlock(%s)", [_LOCK])
