"""How well do a message's words fit a question's? BM25 over the message, it with its neighbours, and its whole thread or sitting."""

import math
from collections.abc import Mapping, Sequence
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

NEIGHBOUR_WEIGHTS: Final = np.array(list(WEIGHTS.values()), np.float32)

K1: Final = 1.2
B: Final = 0.75
MAX_CELLS: Final = 250_000
"""Of a table of terms by places: 1 MB, which a processor's cache holds."""

COMMON_SHARE: Final = 1 / 16
"""Of a room's messages: a term that stands more often is counted at every place."""

Floats = npt.NDArray[np.float32]

_ONE: Final = np.float32(1)


class Alive:
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


class Words:
    """BM25 over three kinds of document at once: the message, it with its neighbours, its whole thread or sitting."""

    def __init__(self, index: RoomIndex, alive: Alive) -> None:
        self._index = index
        self._alive = alive
        self._group: Ints = index.column("group")
        self._beside = index.column("beside")
        # One place more: a neighbour that is not there has place -1, which is the last of the row before.
        self._width = index.count + 1
        self._groups = max(1, index.group_count)
        self.own = np.zeros(index.count, np.float32)
        self.beside = np.zeros(self._width, np.float32)
        self.together = np.zeros(self._groups, np.float32)
        length = index.column("length") * alive.weights
        self._own_norm = np.append(_norm(length, alive.count), _ONE)
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
        """Terms and what they count. Rare ones all at once, as far as their table is not too large: each step has a price."""
        is_common = {number: self._index.often(number) > COMMON_SHARE * self._index.count for number in weights}
        for number in weights:
            if is_common[number]:
                self._add_common(self._index.postings(number), weights[number])
        numbers, step = [number for number in weights if not is_common[number]], max(1, MAX_CELLS // self._width)
        for first in range(0, len(numbers), step):
            some = numbers[first : first + step]
            self._add(
                [self._index.postings(number) for number in some],
                np.array([weights[number] for number in some], np.float32),
            )

    def _add_common(self, places: Ints, weight: float) -> None:
        """A term of so many messages that it is quicker to count it at every place than only where it stands."""
        places = places[self._alive.mask[places]]
        own = np.bincount(places, minlength=self._width).astype(np.float32)
        # Neighbours lend to each other alike, so what is lent to a place is what its neighbours have.
        around = own.copy()
        around[:-1] += own.take(self._beside, mode="wrap") @ NEIGHBOUR_WEIGHTS
        together = np.bincount(self._group[places], minlength=self._groups).astype(np.float32)
        rare = weight * rarity(int(np.count_nonzero(own)), self._alive.count)
        self.own += _saturated(own, self._own_norm, rare)[:-1]
        self.beside += _saturated(around, self._beside_norm, rare)
        rare = weight * rarity(int(np.count_nonzero(together)), self._group_count)
        self.together += _saturated(together, self._together_norm, rare)

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
        np.add.at(fit, self.places, _saturated(self.often, norm[self.places], rare[self.rows]))


def _saturated(often: Floats, norm: Floats, rare: "Floats | float") -> Floats:
    return rare * (K1 + 1) * often / (often + norm)


def _norm(length: Floats, count: int) -> Floats:
    mean = max(1.0, float(length.sum()) / max(1, count))
    return K1 * (1 - B + B * length / mean)


def rarity(found: int, count: int) -> float:
    return math.log1p((count - found + 0.5) / (found + 0.5)) if found <= count else 0.0


def _rarities(rows: Ints, count: int, of: int) -> Floats:
    """The same for each of `count` terms, by the rows of the documents that have them."""
    found = np.bincount(rows, minlength=count)
    return np.log1p((of - found + 0.5) / (found + 0.5)).astype(np.float32)
