"""When the talk is too long: what stays word for word, and what becomes a summary?

Landmarks stay. A summary is of one unbroken stretch of a room or thread, its messages stay as they are, and whatever
edits or deletes one of them takes the summary away (a trigger), so that whoever needs it next makes it afresh.
Made inline here, when a prompt is above its line; in the background, by thread and day, in tiers.py.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from django.db import connection, transaction

from composer import budget
from composer.landmarks import by_relevance
from composer.memory import embedder
from composer.memory.lines import SELECTED, SENDERS, SPOKEN, Line, Moment, as_said, in_order, micros
from composer.models import Summary
from composer.summarizer import Summarizer, SummarizerError, from_settings
from gateway.sql import Ask, Rows

logger = logging.getLogger(__name__)

MIN_LINES = 6
"""Fewer are not worth a summary: they are left out instead."""

MAX_LANDMARKS = 200
NEWEST_LANDMARKS = 12
"""So many come first whatever is asked; older ones by what they have in common with the question."""

SPAN = "span"
"""The tier of a stretch of talk that its summary stands in place of; those of threads and days stand beside theirs."""

_WEB_PAGE = re.compile(r"\s*<(?:!doctype|html)\b", re.IGNORECASE)
"""A proxy's page of login or error, which some models' gateways send with a 200."""

MAX_SUMMARIES = 8
MAX_DAYS = 4


@dataclass(frozen=True, slots=True)
class Pinned:
    kind: str
    line: Line


@dataclass(frozen=True, slots=True)
class Compacted:
    """A summary as a prompt shows it. It is of messages up to `last`, in (time, id), that were there at the time."""

    id: int
    text: str
    first: Moment
    last: Moment
    message_count: int
    tier: str = SPAN

    def uncovered(self, lines: list[Line]) -> list[Line]:
        """Those in whose place the summary does not stand. Summaries of threads and days stand beside theirs."""
        if self.tier != SPAN:
            return lines
        first, last = self.first, self.last
        # A message that arrived late has a time inside the stretch but an id above it; it is not in the summary.
        newest = max(first.id, last.id)
        return [line for line in lines if not (first <= as_said(line) <= last and line.id <= newest)]


def landmarks(*, room_id: int, question: str = "") -> Ask[list[Pinned]]:
    """The room's live landmarks: the newest, newest first, then by what they have in common with the question."""
    return Ask(_LANDMARKS, [room_id, room_id, MAX_LANDMARKS], lambda rows: _by_relevance(rows, question))


_LANDMARKS: LiteralString = (
    f"SELECT l.kind, {SELECTED} FROM landmarks l JOIN messages m ON m.id = l.message_id {SENDERS}"  # noqa: S608 - constants only
    f" WHERE l.room_id = %s AND m.room_id = %s AND {SPOKEN} AND l.unpinned_at IS NULL"
    " AND l.superseded_by_id IS NULL ORDER BY l.created_at DESC, l.id DESC LIMIT %s"
)


def _by_relevance(rows: Rows, question: str) -> list[Pinned]:
    pinned = [Pinned(kind, Line(*line)) for kind, *line in rows]
    order = by_relevance([one.line.text for one in pinned], question=question, newest=NEWEST_LANDMARKS)
    return [pinned[index] for index in order]


def summaries(*, room_id: int, thread: str, before: Moment) -> Ask[list[Compacted]]:
    """What a prompt may be told: its thread in short, the stretches that stand in place of lines, the last days."""
    threads, limits = [thread, "", ""], [1 if thread else 0, MAX_SUMMARIES, MAX_DAYS]
    return Ask(_SUMMARIES, [["thread", SPAN, "day"], threads, limits, room_id, before.at, before.id], _compacted)


_SUMMARIES: LiteralString = (
    "SELECT found.* FROM unnest(%s::text[], %s::text[], %s::int[]) WITH ORDINALITY AS k(tier, thread, most, place),"
    " LATERAL (SELECT s.id, s.text, first.ts, first.id, last.ts, last.id, s.message_count, s.tier FROM summaries s"
    "  JOIN messages first ON first.id = s.first_message_id JOIN messages last ON last.id = s.last_message_id"
    "  WHERE s.room_id = %s AND s.tier = k.tier AND s.thread = k.thread AND (last.ts, last.id) <= (%s, %s)"
    "  ORDER BY last.ts DESC, last.id DESC LIMIT k.most) AS found(id, text, start, first, until, last, said, tier)"
    " ORDER BY k.place, found.until DESC, found.last DESC"
)


def _compacted(rows: Rows) -> list[Compacted]:
    return [
        Compacted(pk, text, Moment(micros(first_ts), first), Moment(micros(last_ts), last), count, tier)
        for pk, text, first_ts, first, last_ts, last, count, tier in rows
    ]


def summarize(
    *,
    room_id: int,
    lines: Sequence[Line],
    room: int,
    tier: str = SPAN,
    thread: str = "",
    min_lines: int = MIN_LINES,
    first: Sequence[Summarizer] = (),
    summarizers: Sequence[Summarizer] | None = None,
) -> Compacted | None:
    """Store a summary of this stretch and return it; None when no summariser could make one, `first` before all others."""
    lines = in_order(lines)
    if len(lines) < max(min_lines, 1):
        return None
    troubles: list[str] = []
    for summarizer in [*first, *(from_settings() if summarizers is None else summarizers)]:
        try:
            text = _asked(summarizer, lines, room=room)
        except SummarizerError as error:
            logger.warning(
                "summariser failed", extra={"room": room_id, "summarizer": summarizer.name, "error": str(error)}
            )
            troubles.append(f"{summarizer.name}: {error}")
            continue
        note = "; ".join(troubles)[:300]
        made = Made(text=budget.clip(text.replace("\x00", ""), room=room), by=summarizer.name, note=note)
        return _store(room_id=room_id, lines=lines, made=made, tier=tier, thread=thread)
    return None


def _asked(summarizer: Summarizer, lines: Sequence[Line], *, room: int) -> str:
    text = summarizer.summarize(lines, room=room).strip()
    if not text:
        raise SummarizerError("it returned nothing")
    if _WEB_PAGE.match(text):
        raise SummarizerError("it returned a web page")
    return text


@dataclass(frozen=True, slots=True)
class Made:
    """A summary's text, who made it, and why those before him could not."""

    text: str
    by: str
    note: str


def _store(*, room_id: int, lines: Sequence[Line], made: Made, tier: str, thread: str) -> Compacted | None:
    first, last = lines[0], lines[-1]
    vector, vector_name = _embedding(made.text)
    with transaction.atomic():
        if not _is_unchanged(lines):
            return None
        row, _ = Summary.objects.get_or_create(
            room_id=room_id,
            thread=thread,
            tier=tier,
            first_message_id=first.id,
            last_message_id=last.id,
            defaults={
                "message_count": len(lines),
                "text": made.text,
                "token_count": budget.count(made.text),
                "made_by": made.by[:100],
                "note": made.note,
                "embedding": vector,
                "embedder": vector_name[:100],
            },
        )
        if tier == "thread":
            # The thread has gone on since the earlier one.
            Summary.objects.filter(room_id=room_id, tier=tier, thread=thread).exclude(pk=row.pk).delete()
    return Compacted(row.pk, row.text, first.order, last.order, row.message_count, tier)


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
        return model.embed([text])[0], embedder.whole_name(model)
    except embedder.EmbedderError as error:
        logger.warning("summary has no vector", extra={"error": str(error)})
        return None, ""
