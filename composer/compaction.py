"""When the talk is too long: what stays word for word, and what becomes a summary?

Landmarks stay. A summary covers one unbroken stretch of a room, its messages stay as they are, and whatever edits or
deletes one of them takes the summary away (a trigger), so that the next prompt that needs it makes it afresh.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction

from composer import budget
from composer.landmarks import by_relevance
from composer.memory import embedder
from composer.memory.lines import SPOKEN, Line, Moment, in_order, micros, select
from composer.models import Summary
from composer.summarizer import Summarizer, SummarizerError, from_settings
from gateway import sql

logger = logging.getLogger(__name__)

MIN_LINES = 6
"""Fewer are not worth a summary: they are left out instead."""

STRETCH = 150
STRETCH_TOKENS = 320
MAX_STRETCHES = 20
"""What one idle round may summarise of a room; the next goes on."""

IDLE = timedelta(minutes=10)
COMPACT_EVERY_S = 60.0
_compacted_at = float("-inf")

MAX_LANDMARKS = 200
NEWEST_LANDMARKS = 12
"""So many come first whatever is asked; older ones by what they have in common with the question."""

MAX_SUMMARIES = 8


@dataclass(frozen=True, slots=True)
class Pinned:
    kind: str
    line: Line


@dataclass(frozen=True, slots=True)
class Compacted:
    """A summary as a prompt shows it. It covers messages up to `last`, in (time, id), that were there at the time."""

    id: int
    text: str
    first: Moment
    last: Moment
    message_count: int

    def covers(self, line: Line) -> bool:
        # A message that arrived late has a time inside the stretch but an id above it; it is not in the summary.
        return self.first <= line.order <= self.last and line.id <= max(self.first.id, self.last.id)


def landmarks(*, room_id: int, question: str = "") -> list[Pinned]:
    """The room's live landmarks: the newest, newest first, then by what they have in common with the question."""
    rows = sql.rows(
        "SELECT l.message_id, l.kind FROM landmarks l JOIN messages m ON m.id = l.message_id"
        " WHERE l.room_id = %s AND m.room_id = %s AND m.deleted_at IS NULL AND l.unpinned_at IS NULL"
        " AND l.superseded_by_id IS NULL ORDER BY l.created_at DESC, l.id DESC LIMIT %s",
        [room_id, room_id, MAX_LANDMARKS],
    )
    if not rows:
        return []
    lines = {line.id: line for line in select(f"m.id = ANY(%s::bigint[]) AND {SPOKEN}", [[pk for pk, _ in rows]])}
    pinned = [Pinned(kind, lines[pk]) for pk, kind in rows if pk in lines]
    order = by_relevance([one.line.text for one in pinned], question=question, newest=NEWEST_LANDMARKS)
    return [pinned[index] for index in order]


def summaries(*, room_id: int) -> list[Compacted]:
    """The room's newest summaries, newest first."""
    rows = sql.rows(
        "SELECT s.id, s.text, first.ts, first.id, last.ts, last.id, s.message_count FROM summaries s"
        " JOIN messages first ON first.id = s.first_message_id JOIN messages last ON last.id = s.last_message_id"
        " WHERE s.room_id = %s AND s.thread = '' ORDER BY last.ts DESC, last.id DESC LIMIT %s",
        [room_id, MAX_SUMMARIES],
    )
    return [
        Compacted(pk, text, Moment(micros(first_ts), first), Moment(micros(last_ts), last), count)
        for pk, text, first_ts, first, last_ts, last, count in rows
    ]


def summarize(
    *, room_id: int, lines: Sequence[Line], room: int, summarizers: Sequence[Summarizer] | None = None
) -> Compacted | None:
    """Store a summary of this stretch and return it; None when no summariser could make one."""
    lines = in_order(lines)
    if len(lines) < MIN_LINES:
        return None
    for summarizer in from_settings() if summarizers is None else summarizers:
        try:
            text = summarizer.summarize(lines, room=room)
        except SummarizerError as error:
            logger.warning(
                "summariser failed", extra={"room": room_id, "summarizer": summarizer.name, "error": str(error)}
            )
            continue
        return _store(room_id=room_id, lines=lines, text=text, made_by=summarizer.name)
    return None


def _store(*, room_id: int, lines: Sequence[Line], text: str, made_by: str) -> Compacted | None:
    first, last = lines[0], lines[-1]
    vector, vector_name = _embedding(text)
    with transaction.atomic():
        if not _is_unchanged(lines):
            return None
        row, _ = Summary.objects.get_or_create(
            room_id=room_id,
            thread="",
            tier="span",
            first_message_id=first.id,
            last_message_id=last.id,
            defaults={
                "message_count": len(lines),
                "text": text,
                "token_count": budget.count(text),
                "made_by": made_by[:100],
                "embedding": vector,
                "embedder": vector_name[:100],
            },
        )
    return Compacted(row.pk, row.text, first.order, last.order, row.message_count)


def _is_unchanged(lines: Sequence[Line]) -> bool:
    """Locks the messages until commit: an edit came before this look, or waits and then takes the new summary away."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, rc_updated_at FROM messages WHERE id = ANY(%s) AND deleted_at IS NULL ORDER BY id FOR SHARE",
            [[line.id for line in lines]],
        )
        found = {pk: micros(revision) for pk, revision in cursor.fetchall()}
    return found == {line.id: line.revision for line in lines}


def _embedding(text: str) -> tuple[list[float] | None, str]:
    """A summary without a vector is still a summary."""
    model = embedder.from_settings()
    try:
        return model.embed([text])[0], model.name
    except embedder.EmbedderError as error:
        logger.warning("summary has no vector", extra={"error": str(error)})
        return None, ""


def compact_now_and_then(*, clock: Callable[[], float] = time.monotonic) -> int:
    """`compact_idle`, at most once in `COMPACT_EVERY_S` per process."""
    global _compacted_at
    if clock() - _compacted_at < COMPACT_EVERY_S:
        return 0
    _compacted_at = clock()
    return compact_idle()


def compact_idle() -> int:
    """Summarise one room that has been idle and has long talk without a summary. Returns how many were made."""
    rows = sql.rows(
        "SELECT r.id FROM rooms r WHERE (SELECT max(m.ts) FROM messages m WHERE m.room_id = r.id) < now() - %s"
        " AND (SELECT count(*) FROM (SELECT 1 FROM messages m WHERE m.room_id = r.id AND m.ts > coalesce("
        "  (SELECT max(l.ts) FROM summaries s JOIN messages l ON l.id = s.last_message_id"
        "   WHERE s.room_id = r.id AND s.thread = ''), '-infinity') AND m.deleted_at IS NULL AND m.system_type = ''"
        "  AND m.text <> '' LIMIT %s) AS w) = %s LIMIT 1",
        [IDLE, _wanted(), _wanted()],
    )
    return compact_room(room_id=rows[0][0]) if rows else 0


def compact_room(*, room_id: int) -> int:
    """Summarise, oldest first, what an idle room's window has passed and no summary covers. Returns how many were made."""
    made = 0
    while made < MAX_STRETCHES:
        stretch = _passed_by(room_id=room_id)
        if len(stretch) < STRETCH or summarize(room_id=room_id, lines=stretch, room=STRETCH_TOKENS) is None:
            break
        made += 1
    return made


def _passed_by(*, room_id: int) -> list[Line]:
    """The next unsummarised stretch, if the window has left it behind."""
    last = next(iter(summaries(room_id=room_id)), None)
    since = last.last if last is not None else Moment(0, 0)
    wanted = _wanted()
    lines = select(
        f"m.room_id = %s AND (m.ts, m.id) > (%s, %s) AND {SPOKEN} ORDER BY m.ts, m.id LIMIT %s",
        [room_id, since.at, since.id, wanted],
    )
    return lines[:STRETCH] if len(lines) == wanted else []


def _wanted() -> int:
    """A stretch and the window that must be left after it."""
    return STRETCH + settings.NEXUS_WORKING_MEMORY
