"""How well does each message of a room fit a question? One number per message, the sum of several channels.

Each channel is brought to the same scale (mean 0, deviation 1 over the room), so that the weights hold in rooms of any size.
They were measured with `make bench-context`; docs/decisions/0070-*.md has the figures.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from composer.retrieval.index import RoomIndex
from composer.retrieval.words import Alive, Floats, Words, rarity

AUTHOR: Final = 2.0
"""Written by somebody whom the question names."""

DATE: Final = 1.0
"""Near a day or month that the question names."""

TIMED: Final = 0.5
"""Speaks of time, when the question asks for one."""

LENGTH: Final = 0.1
ASKS: Final = -0.1
"""A question seldom is an answer."""

AKIN: Final = 0.2
"""What the best messages say besides the question's words counts as if it were asked for, so much of it."""

AKIN_MESSAGES: Final = 10
AKIN_TERMS: Final = 10
AKIN_SHARE: Final = 0.05
"""Of a room's messages: what more of them say stands out in none, and takes time to look up."""

MAX_TERMS: Final = 32


@dataclass(frozen=True, slots=True)
class Query:
    """A question as the channels want it. `spans` are times, in microseconds; `named` are authors' numbers."""

    terms: Mapping[str, float]
    named: Sequence[int] = ()
    spans: Sequence[tuple[int, int]] = ()
    wants_time: bool = False
    remembered: Mapping[int, float] = field(default_factory=dict)
    """What memory says: message numbers and how well they fit."""

    memory_weight: float = 0.0
    before: tuple[int, int] = (2**62, 0)
    """Time and number of the question's own message: neither it nor what came later lends anybody a word."""


@dataclass(frozen=True, slots=True)
class Scored:
    """By place in the index: how well it fits, and whether any channel knows a reason for it at all."""

    fit: Floats
    is_hit: npt.NDArray[np.bool_]


def score(index: RoomIndex, query: Query) -> Scored:
    ts, last = index.column("ts"), query.before[0]
    alive = Alive(index.column("alive") & (ts <= last) & (index.column("id") != query.before[1]))
    words = Words(index, alive)
    asked = {index.number_of(term): weight for term, weight in list(query.terms.items())[:MAX_TERMS]}
    asked.pop(-1, None)
    words.add(asked)
    fit = LENGTH * alive.even(index.column("log_length")) + ASKS * alive.even(index.column("asks"))
    is_hit = words.is_hit()
    if query.named:
        by_named = _by(index, query)
        fit += AUTHOR * alive.even(by_named)
        is_hit |= by_named
    if query.spans:
        near = _near(index, query)
        fit += DATE * alive.even(near)
        is_hit |= near
    if query.wants_time:
        fit += TIMED * alive.even(index.column("timed"))
    if query.remembered:
        remembered = _remembered(index, query)
        fit += query.memory_weight * alive.even(remembered)
        is_hit |= remembered > 0
    is_hit &= alive.mask
    words.add(_akin(index, fit + words.fit(), is_hit, asked))
    return Scored(fit + words.fit(), is_hit)


def _akin(
    index: RoomIndex, fit: Floats, is_hit: npt.NDArray[np.bool_], asked: Mapping[int, float]
) -> dict[int, float]:
    """Terms that stand out in the messages that fit best, and their weights; none of those that were asked for."""
    places = np.flatnonzero(is_hit)
    places = best_of(places, fit, AKIN_MESSAGES)
    most = max(AKIN_MESSAGES, AKIN_SHARE * index.count)
    said = Counter[int]()
    for place in places:
        said.update(set(index.said_at(int(place))))
    found = {
        number: messages * rarity(often, index.count)
        for number, messages in said.items()
        if number not in asked and (often := index.often(number)) <= most
    }
    best = sorted(found.items(), key=lambda one: -one[1])[:AKIN_TERMS]
    return {number: AKIN * amount / best[0][1] for number, amount in best if amount}


def best_of(places: npt.NDArray[np.intp], fit: Floats, count: int) -> npt.NDArray[np.intp]:
    """So many of the places that fit best, in no order. Of those that fit alike some may be left out."""
    if len(places) <= count:
        return places
    fits = fit[places]
    last = np.partition(fits, len(fits) - count)[len(fits) - count]
    above, alike = places[fits > last], places[fits == last]
    return np.concatenate([above, alike[: count - len(above)]])


def _by(index: RoomIndex, query: Query) -> npt.NDArray[np.bool_]:
    found = np.zeros(index.count, np.bool_)
    for author in query.named:
        found |= index.column("author") == author
    return found


def _near(index: RoomIndex, query: Query) -> npt.NDArray[np.bool_]:
    near = np.zeros(index.count, np.bool_)
    ts = index.column("ts")
    for first, last in query.spans:
        near |= (ts >= first) & (ts < last)
    return near


def _remembered(index: RoomIndex, query: Query) -> Floats:
    found = np.zeros(index.count, np.float32)
    places = np.array(index.places_of(list(query.remembered)))
    is_here = places >= 0
    found[places[is_here]] = np.array(list(query.remembered.values()), np.float32)[is_here]
    return found
