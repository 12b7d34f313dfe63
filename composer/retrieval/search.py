"""Which of a room's messages bear on a question? Best first.

What memory names and this process does not hold is looked up in the room it must be of.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from composer.asked import Asked
from composer.memory import recall
from composer.memory.lines import SPOKEN, Line, Moment, select
from composer.retrieval import channels, question
from composer.retrieval.channels import Query
from composer.retrieval.rooms import Look, SearchedRoom, searched

MAX_LINES: Final = 400
"""More are never looked up for one prompt."""

CHARS_PER_TOKEN: Final = 3
"""A low guess: rather a few candidates too many than a budget that is not used."""

UNKNOWN_AFTER: Final = 20
LEARNED_WEIGHT: Final = 0.9
"""Of memory's scores, when a real model makes its vectors."""

HASHED_WEIGHT: Final = 0.2
"""The same for hashed letters: they know little that the words do not."""


@dataclass(frozen=True, slots=True)
class Found:
    """Lines by falling fit. `is_all`: nothing else bears on the question. `searched`: of so many messages."""

    lines: list[Line]
    is_all: bool
    searched: int


def search(*, asked: Asked, tokens: int, remembered: Mapping[int, float], look: Look | None = None) -> Found:
    """What was said before the question and may bear on it, by falling fit, more than enough to fill `tokens`."""
    with searched.fresh(room_id=asked.room_id, look=look) as room:
        ids, is_all = _best(room, asked=asked, tokens=tokens, remembered=remembered)
        searched_count = room.index.alive_count
        lines = {line.id: line for line in room.lines(ids)}
    before = asked.before
    if unknown := [pk for pk in ids if pk not in lines]:
        found = select(f"m.id = ANY(%s::bigint[]) AND m.room_id = %s AND {SPOKEN}", [unknown, asked.room_id])
        lines |= {line.id: line for line in found}
    said_before = [lines[pk] for pk in ids if pk in lines and lines[pk].order < before]
    return Found(said_before, is_all, searched_count)


def _best(room: SearchedRoom, *, asked: Asked, tokens: int, remembered: Mapping[int, float]) -> tuple[list[int], bool]:
    """Row ids, and whether these are all."""
    index = room.index
    # What memory names and this process does not search, as the oldest messages of a huge room: it may enter late.
    unknown = [pk for pk, place in zip(remembered, index.places_of(list(remembered)), strict=True) if place < 0]
    if not index.alive_count:
        return unknown, True
    weight = LEARNED_WEIGHT if recall.knows_meanings() else HASHED_WEIGHT
    query = replace(
        _query(room, asked), remembered=remembered, memory_weight=weight, before=(asked.before.ts, asked.before.id)
    )
    scored = channels.score(index, query)
    places = channels.best_of(np.flatnonzero(scored.is_hit), scored.fit, MAX_LINES)
    # Of two that fit alike the newer one.
    places = places[np.lexsort((-index.column("ts")[places], -scored.fit[places]))]
    prices = index.column("chars")[places] // CHARS_PER_TOKEN + 4
    enough = int(np.searchsorted(np.cumsum(prices), 1.5 * tokens)) + 1
    ids = [int(pk) for pk in index.column("id")[places[:enough]]]
    is_all = enough > len(places) and len(places) < MAX_LINES
    return [*ids[:UNKNOWN_AFTER], *unknown, *ids[UNKNOWN_AFTER:]], is_all


def _query(room: SearchedRoom, asked: Asked) -> Query:
    first = int(room.index.column("ts").min())
    return question.parse(
        _without_address(asked),
        at=asked.question.at,
        names=room.names,
        first_year=Moment(first, 0).at.year,
    )


def _without_address(asked: Asked) -> str:
    """Whom the question is put to is not what it is about."""
    return re.sub(rf"@{re.escape(asked.agent)}\b", " ", asked.text[: 2 * question.MAX_CHARS], flags=re.IGNORECASE)
