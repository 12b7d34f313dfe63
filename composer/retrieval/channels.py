"""How well does each message of a room fit a question? One number per message, the sum of several channels.

Each channel is brought to the same scale (mean 0, deviation 1 over the room), so that the weights hold in rooms of any size.
They were measured with `make bench-context`; docs/decisions/0070-*.md has the figures.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from composer.retrieval.index import WEIGHTS, RoomIndex

OWN: Final = 0.3
"""The message's own words."""

BESIDE: Final = 0.8
"""Its words and, for less, those of its neighbours in the same thread or sitting."""

TOGETHER: Final = 0.5
"""The words of its whole thread or sitting."""

AUTHOR: Final = 2.0
"""Written by somebody whom the question names."""

DATE: Final = 1.0
"""Near a day or month that the question names."""

TIMED: Final = 0.5
"""Speaks of time, when the question asks for one."""

LENGTH: Final = 0.1
ASKS: Final = -0.1
"""A question seldom is an answer."""

NEIGHBOUR_WEIGHTS: Final = np.array(list(WEIGHTS.values()), np.float32)

AKIN: Final = 0.2
"""What the best messages say besides the question's words counts as if it were asked for, so much of it."""

AKIN_MESSAGES: Final = 10
AKIN_TERMS: Final = 10
AKIN_SHARE: Final = 0.05
"""Of a room's messages: what more of them say stands out in none, and takes time to look up."""

K1: Final = 1.2
B: Final = 0.75
MAX_TERMS: Final = 32

Floats = npt.NDArray[np.float32]

_ONE: Final = np.float32(1)


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
    alive = index.column("alive") & (ts <= last) & (index.column("id") != query.before[1])
    words = _Words(index, alive)
    asked = {index.number_of(term): weight for term, weight in list(query.terms.items())[:MAX_TERMS]}
    asked.pop(-1, None)
    for number, weight in asked.items():
        words.add(number, weight)
    fit = LENGTH * _even(index.column("log_length"), alive) + ASKS * _even(index.column("asks"), alive)
    by_named = _by(index, query)
    fit += AUTHOR * _even(by_named, alive)
    near = _near(index, query)
    fit += DATE * _even(near, alive)
    if query.wants_time:
        fit += TIMED * _even(index.column("timed"), alive)
    remembered = _remembered(index, query)
    fit += query.memory_weight * _even(remembered, alive)
    is_hit = alive & (words.is_hit() | by_named | near | (remembered > 0))
    for number, weight in _akin(index, fit + words.fit(), is_hit, asked).items():
        words.add(number, weight)
    return Scored(fit + words.fit(), is_hit)


def _akin(
    index: RoomIndex, fit: Floats, is_hit: npt.NDArray[np.bool_], asked: Mapping[int, float]
) -> dict[int, float]:
    """Terms that stand out in the messages that fit best, and their weights; none of those that were asked for."""
    places = np.flatnonzero(is_hit)
    if len(places) > AKIN_MESSAGES:
        places = places[np.argpartition(-fit[places], AKIN_MESSAGES)[:AKIN_MESSAGES]]
    most = max(AKIN_MESSAGES, AKIN_SHARE * index.count)
    said = Counter(
        number
        for place in places
        for number in set(index.said_at(int(place)))
        if number not in asked and index.often(number) <= most
    )
    found = {number: often * _rarity(index.often(number), index.count) for number, often in said.items()}
    best = sorted(found.items(), key=lambda one: -one[1])[:AKIN_TERMS]
    return {number: AKIN * amount / best[0][1] for number, amount in best if amount}


class _Words:
    """BM25 over three kinds of document at once: the message, it with its neighbours, its whole thread or sitting."""

    def __init__(self, index: RoomIndex, alive: npt.NDArray[np.bool_]) -> None:
        self._index = index
        self._alive = alive
        self._group = index.column("group")
        self._beside = index.column("beside")
        count, groups = index.count, index.group_count
        self._count = int(np.count_nonzero(alive))
        self.own = np.zeros(count, np.float32)
        # One place more: a neighbour that is not there has place -1, which is the last.
        self.beside = np.zeros(count + 1, np.float32)
        self.together = np.zeros(groups, np.float32)
        # How often the term at hand stands at a place or lends itself to it, and in a group; all 0 between terms.
        self._around = np.zeros(count + 1, np.float32)
        self._in_group = np.zeros(groups, np.float32)
        length = index.column("length") * alive
        self._own_norm = _norm(length, self._count)
        self._beside_norm = np.append(_norm(index.column("length_around") * alive, self._count), np.float32(1))
        of_groups = np.bincount(self._group, weights=length, minlength=groups).astype(np.float32)
        self._group_count = max(1, int(np.count_nonzero(of_groups)))
        self._together_norm = _norm(of_groups, self._group_count)

    def fit(self) -> Floats:
        fit = OWN * _even(self.own, self._alive) + BESIDE * _even(self.beside[:-1], self._alive)
        fit += TOGETHER * _even(self._together(), self._alive)
        return fit

    def is_hit(self) -> npt.NDArray[np.bool_]:
        return (self._together() > 0) | (self.beside[:-1] > 0)

    def _together(self) -> Floats:
        return self.together[self._group] if len(self.together) else self.own

    def add(self, number: int, weight: float) -> None:
        places = self._index.postings(number)
        places = places[self._alive[places]]
        if not len(places):
            return
        rare = weight * _rarity(1 + int(np.count_nonzero(places[1:] != places[:-1])), self._count)
        np.add.at(self._around, places, _ONE)
        _saturate(self.own, places, rare=rare, often=self._around[places], norm=self._own_norm)
        others = self._beside[places].ravel()
        lent = np.broadcast_to(NEIGHBOUR_WEIGHTS, (len(places), len(NEIGHBOUR_WEIGHTS)))
        np.add.at(self._around, others, lent.ravel())
        there = np.concatenate([places, others])
        _saturate(self.beside, there, rare=rare, often=self._around[there], norm=self._beside_norm)
        self._around[there] = 0
        self._add_together(self._group[places], weight)

    def _add_together(self, groups: npt.NDArray[Any], weight: float) -> None:
        order = np.arange(len(groups), dtype=np.float32)
        self._in_group[groups] = order
        # Of those that write to one place one is read back.
        different = int(np.count_nonzero(self._in_group[groups] == order))
        self._in_group[groups] = 0
        np.add.at(self._in_group, groups, _ONE)
        rare = weight * _rarity(different, self._group_count)
        _saturate(self.together, groups, rare=rare, often=self._in_group[groups], norm=self._together_norm)
        self._in_group[groups] = 0


def _saturate(fit: Floats, places: npt.NDArray[Any], *, rare: float, often: Floats, norm: Floats) -> None:
    """Add a term's worth where it stands. A place may be named several times: it is written as often, and counts once."""
    fit[places] += np.float32(rare * (K1 + 1)) * often / (often + norm[places])


def _norm(length: Floats, count: int) -> Floats:
    mean = max(1.0, float(length.sum()) / max(1, count))
    return K1 * (1 - B + B * length / mean)


def _rarity(found: int, count: int) -> float:
    return math.log1p((count - found + 0.5) / (found + 0.5)) if found <= count else 0.0


def _even(values: npt.NDArray[Any], alive: npt.NDArray[np.bool_]) -> Floats:
    """Mean 0 and deviation 1 over what is alive; nothing where all are alike."""
    counted = values * alive.astype(np.float32)
    count = max(1, int(np.count_nonzero(alive)))
    mean = float(counted.sum()) / count
    deviation = math.sqrt(max(0.0, float(np.dot(counted, counted)) / count - mean * mean))
    # Alike, but for the rounding of sums.
    if deviation <= 1e-4 * (abs(mean) + 1):
        return np.zeros(len(values), np.float32)
    return ((counted - mean) / deviation).astype(np.float32)


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
    if query.remembered:
        places = np.array(index.places_of(list(query.remembered)))
        is_here = places >= 0
        found[places[is_here]] = np.array(list(query.remembered.values()), np.float32)[is_here]
    return found
