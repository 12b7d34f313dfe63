"""How well does each message of a room fit a question? One number per message, the sum of several channels.

Each channel is brought to the same scale (mean 0, deviation 1 over the room), so that the weights hold in rooms of any size.
They were measured with `make bench-context`; docs/decisions/0070-*.md has the figures.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from composer.retrieval.index import WEIGHTS, Ints, RoomIndex

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
MAX_CELLS: Final = 250_000
"""Of a table of terms by places: 1 MB, which a processor's cache holds."""

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
    alive = _Alive(index.column("alive") & (ts <= last) & (index.column("id") != query.before[1]))
    words = _Words(index, alive)
    asked = {index.number_of(term): weight for term, weight in list(query.terms.items())[:MAX_TERMS]}
    asked.pop(-1, None)
    words.add(asked)
    fit = LENGTH * alive.even(index.column("log_length")) + ASKS * alive.even(index.column("asks"))
    by_named = _by(index, query)
    fit += AUTHOR * alive.even(by_named)
    near = _near(index, query)
    fit += DATE * alive.even(near)
    if query.wants_time:
        fit += TIMED * alive.even(index.column("timed"))
    remembered = _remembered(index, query)
    fit += query.memory_weight * alive.even(remembered)
    is_hit = alive.mask & (words.is_hit() | by_named | near | (remembered > 0))
    words.add(_akin(index, fit + words.fit(), is_hit, asked))
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

    def __init__(self, index: RoomIndex, alive: "_Alive") -> None:
        self._index = index
        self._alive = alive
        self._group = index.column("group").astype(np.int64)
        self._beside = index.column("beside")
        # One place more: a neighbour that is not there has place -1, which is the last of the row before.
        self._width = index.count + 1
        self._groups = max(1, index.group_count)
        self.own = np.zeros(index.count, np.float32)
        self.beside = np.zeros(self._width, np.float32)
        self.together = np.zeros(self._groups, np.float32)
        length = index.column("length") * alive.weights
        self._own_norm = _norm(length, alive.count)
        self._beside_norm = np.append(_norm(index.column("length_around") * alive.weights, alive.count), _ONE)
        of_groups = np.bincount(self._group, weights=length, minlength=self._groups).astype(np.float32)
        self._group_count = max(1, int(np.count_nonzero(of_groups)))
        self._together_norm = _norm(of_groups, self._group_count)

    def fit(self) -> Floats:
        fit = OWN * self._alive.even(self.own) + BESIDE * self._alive.even(self.beside[:-1])
        fit += TOGETHER * self._alive.even(self.together[self._group])
        return fit

    def is_hit(self) -> npt.NDArray[np.bool_]:
        return (self.together[self._group] > 0) | (self.beside[:-1] > 0)

    def add(self, weights: Mapping[int, float]) -> None:
        """Terms and what they count. All at once, as far as their table is not too large: each step has a price of its own."""
        numbers, step = list(weights), max(1, MAX_CELLS // self._width)
        for first in range(0, len(numbers), step):
            some = numbers[first : first + step]
            self._add(
                [self._index.postings(number) for number in some],
                np.array([weights[number] for number in some], np.float32),
            )

    def _add(self, postings: Sequence[Ints], weights: Floats) -> None:
        """A row of cells for each term: how often it stands at a place, is lent to it, stands in a group."""
        rows = np.repeat(np.arange(len(postings)), [len(places) for places in postings])
        places = np.concatenate(postings)
        is_alive = self._alive.mask[places]
        rows, places = rows[is_alive], places[is_alive]
        table = np.zeros(len(postings) * self._width, np.float32)
        cells = rows * self._width + places
        np.add.at(table, cells, _ONE)
        own = _Counted.of(table, cells, width=self._width)
        rare = weights * _rarities(own.rows, len(postings), self._alive.count)
        own.give(self.own, rare=rare, norm=self._own_norm)
        lent = ((rows * self._width)[:, None] + self._beside[places]).ravel()
        np.add.at(table, lent, np.broadcast_to(NEIGHBOUR_WEIGHTS, (len(rows), len(NEIGHBOUR_WEIGHTS))).ravel())
        around = _Counted.of(table, np.concatenate([cells, lent]), width=self._width)
        around.give(self.beside, rare=rare, norm=self._beside_norm)
        table = np.zeros(len(postings) * self._groups, np.float32)
        cells = rows * self._groups + self._group[places]
        np.add.at(table, cells, _ONE)
        together = _Counted.of(table, cells, width=self._groups)
        rare = weights * _rarities(together.rows, len(postings), self._group_count)
        together.give(self.together, rare=rare, norm=self._together_norm)


class _Counted(NamedTuple):
    """Cells of a table once each: term, place, and how often."""

    rows: Ints
    places: Ints
    often: Floats

    @classmethod
    def of(cls, table: Floats, cells: Ints, *, width: int) -> "_Counted":
        often = table[cells]
        order = np.arange(len(cells), dtype=np.float32)
        table[cells] = order
        # Of those that write to one cell one is read back.
        is_one = table[cells] == order
        table[cells] = often
        cells = cells[is_one]
        rows = cells // width
        return cls(rows, cells - rows * width, often[is_one])

    def give(self, fit: Floats, *, rare: Floats, norm: Floats) -> None:
        np.add.at(fit, self.places, rare[self.rows] * (K1 + 1) * self.often / (self.often + norm[self.places]))


def _norm(length: Floats, count: int) -> Floats:
    mean = max(1.0, float(length.sum()) / max(1, count))
    return K1 * (1 - B + B * length / mean)


def _rarity(found: int, count: int) -> float:
    return math.log1p((count - found + 0.5) / (found + 0.5)) if found <= count else 0.0


def _rarities(rows: Ints, count: int, of: int) -> Floats:
    """The same for each of `count` terms, by the rows of the documents that have them."""
    found = np.bincount(rows, minlength=count)
    return np.log1p((of - found + 0.5) / (found + 0.5)).astype(np.float32)


class _Alive:
    """The messages that count: those that were not deleted and came before the question."""

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        self.mask = mask
        self.weights = mask.astype(np.float32)
        self.count = max(1, int(np.count_nonzero(mask)))

    def even(self, values: npt.NDArray[Any]) -> Floats:
        """Mean 0 and deviation 1 over them; nothing where all are alike."""
        counted = values * self.weights
        mean = float(counted.sum()) / self.count
        deviation = math.sqrt(max(0.0, float(np.dot(counted, counted)) / self.count - mean * mean))
        # Alike, but for the rounding of sums.
        if deviation <= 1e-4 * (abs(mean) + 1):
            return np.zeros(len(values), np.float32)
        counted -= np.float32(mean)
        counted *= np.float32(1 / deviation)
        return counted


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
