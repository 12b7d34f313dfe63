"""What can be searched in one room, without its words: terms, who said it, when, and what stands beside it.

Grows by one message at a time and is never rebuilt. A changed message is a removed one and a new one; places in the index
are given once.
"""

import math
import re
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from composer.retrieval.terms import terms

SITTING_GAP: Final = 45 * 60 * 1_000_000
"""Microseconds of silence after which what is said belongs to another sitting."""

REACH: Final = 2
"""How many messages before and after one, in its thread or sitting, lend it their words."""

WEIGHTS: Final = {step: 1.0 if abs(step) == 1 else 0.5 for step in range(-REACH, REACH + 1) if step}
"""How much of its words a neighbour lends, by its distance."""

Ints = npt.NDArray[np.int64]

_TIME_WORDS: Final = re.compile(
    r"\b(yesterday|today|tonight|tomorrow|last|next|ago|week|weekend|month|year|recently|since|soon|morning"
    r"|(mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|june|july|august|september|october"
    r"|november|december|gestern|heute|morgen|vorgestern|woche|monat|jahr|letzten?|vor|seit|\d{1,2}[:.]\d\d|\d{4}-\d\d)\b",
    re.IGNORECASE,
)


class Entry(NamedTuple):
    """A message as the index wants it. `author` is a user's number, or an agent's below zero; `thread` its root's rc_id."""

    id: int
    rc_id: str
    author: int
    ts: int
    thread: str
    root_id: int
    text: str


@dataclass(slots=True)
class Group:
    """A thread or a sitting: its messages in time order, as (time, place)."""

    number: int
    members: list[tuple[int, int]] = field(default_factory=list)


class RoomIndex:
    """Columns by place, the terms of each place, and for each term the places it stands at, once per occurrence.

    Terms are numbers in here.
    """

    def __init__(self) -> None:
        self.count = 0
        self.alive_count = 0
        self._size = 0
        self._columns: dict[str, npt.NDArray[Any]] = {}
        self._number_of: dict[str, int] = {}
        self._postings: list[array[int]] = []
        self._said = array("I")
        self._place_of: dict[int, int] = {}
        self._threads: dict[str, Group] = {}
        self._sittings: list[tuple[int, Group]] = []
        self._groups: list[Group] = []
        self.authors: Counter[int] = Counter()
        self._grow(256)

    def __contains__(self, message_id: int) -> bool:
        return message_id in self._place_of

    # What there is

    def column(self, name: str) -> npt.NDArray[Any]:
        return self._columns[name][: self.count]

    @property
    def group_count(self) -> int:
        return len(self._groups)

    def places_of(self, message_ids: Sequence[int]) -> list[int]:
        """-1 for a message that is not here."""
        return [self._place_of.get(pk, -1) for pk in message_ids]

    def number_of(self, term: str) -> int:
        """-1 for a term that nobody has said."""
        return self._number_of.get(term, -1)

    def postings(self, number: int) -> Ints:
        """Places of a term, dead ones too, rising, once per occurrence. A copy: the index may grow meanwhile."""
        return np.frombuffer(self._postings[number], dtype=np.uint32).astype(np.int64)

    def often(self, number: int) -> int:
        """How many postings that are."""
        return len(self._postings[number])

    def said_at(self, place: int) -> "array[int]":
        """The terms of a message, in their order."""
        start = int(self._columns["said"][place])
        return self._said[start : start + int(self._columns["length"][place])]

    # Change

    def add(self, entry: Entry) -> None:
        """A new message, or another version of a known one; the same version again changes nothing."""
        digest = hash(entry.text)
        known = self._place_of.get(entry.id, -1)
        if known >= 0:
            if self._columns["digest"][known] == digest:
                return
            self.remove(entry.id)
        if self.count == self._size:
            self._grow(self._size * 2)
        place = self.count
        self.count += 1
        self.alive_count += 1
        self.authors[entry.author] += 1
        self._place_of[entry.id] = place
        said = terms(entry.text)
        self._fill(place, entry, length=len(said), digest=digest)
        numbers = [self._number(term) for term in said]
        self._columns["said"][place] = len(self._said)
        self._said.extend(numbers)
        for number in numbers:
            self._postings[number].append(place)
        self._join(place, entry)

    def remove(self, message_id: int) -> None:
        place = self._place_of.pop(message_id, -1)
        if place < 0:
            return
        self._columns["alive"][place] = False
        self.alive_count -= 1
        self.authors[int(self._columns["author"][place])] -= 1
        self._leave(place)

    def _fill(self, place: int, entry: Entry, *, length: int, digest: int) -> None:
        columns = self._columns
        columns["id"][place] = entry.id
        columns["author"][place] = entry.author
        columns["ts"][place] = entry.ts
        columns["length"][place] = length
        columns["log_length"][place] = math.log1p(length)
        columns["chars"][place] = len(entry.text)
        columns["digest"][place] = digest
        columns["alive"][place] = True
        columns["asks"][place] = "?" in entry.text
        columns["timed"][place] = _TIME_WORDS.search(entry.text) is not None
        columns["beside"][place] = -1

    def _number(self, term: str) -> int:
        known = self._number_of.get(term)
        if known is None:
            known = self._number_of[term] = len(self._postings)
            self._postings.append(array("I"))
        return known

    # Threads and sittings

    def _join(self, place: int, entry: Entry) -> None:
        if not entry.thread:
            # A root that comes after its replies belongs to them, as one that came before.
            self._enter(self._threads.get(entry.rc_id) or self._sitting(entry.ts), place)
            return
        group = self._threads.get(entry.thread)
        if group is None:
            group = self._threads[entry.thread] = self._new_group()
            root = self._place_of.get(entry.root_id, -1)
            if root >= 0:
                self._leave(root)
                self._enter(group, root)
        self._enter(group, place)

    def _sitting(self, ts: int) -> Group:
        """The sitting at `ts`, or a new one. A late message that lies between two does not make them one."""
        at = bisect_right(self._sittings, ts, key=lambda known: known[0])
        for start, group in self._sittings[max(0, at - 1) : at + 1]:
            end = group.members[-1][0] if group.members else start
            if start - SITTING_GAP <= ts <= end + SITTING_GAP:
                return group
        group = self._new_group()
        self._sittings.insert(at, (ts, group))
        return group

    def _new_group(self) -> Group:
        group = Group(len(self._groups))
        self._groups.append(group)
        return group

    def _enter(self, group: Group, place: int) -> None:
        key = (int(self._columns["ts"][place]), place)
        members = group.members
        at = len(members) if not members or members[-1] < key else bisect_left(members, key)
        members.insert(at, key)
        self._columns["group"][place] = group.number
        self._link(group, at)

    def _leave(self, place: int) -> None:
        group = self._groups[int(self._columns["group"][place])]
        at = bisect_left(group.members, (int(self._columns["ts"][place]), place))
        if at < len(group.members) and group.members[at][1] == place:
            del group.members[at]
            self._columns["beside"][place] = -1
            self._link(group, at)

    def _link(self, group: Group, at: int) -> None:
        """Neighbours anew of everything within reach of a change at `at`."""
        members, length = group.members, self._columns["length"]
        for here in range(max(0, at - REACH), min(len(members), at + REACH + 1)):
            place = members[here][1]
            around = float(length[place])
            beside = []
            for step, weight in WEIGHTS.items():
                other = members[here + step][1] if 0 <= here + step < len(members) else -1
                beside.append(other)
                if other >= 0:
                    around += weight * float(length[other])
            self._columns["beside"][place] = beside
            self._columns["length_around"][place] = around

    def _grow(self, size: int) -> None:
        for name, (kind, width) in _COLUMNS.items():
            new: npt.NDArray[Any] = np.zeros((size, width) if width else size, dtype=kind)
            if self.count:
                new[: self.count] = self._columns[name][: self.count]
            self._columns[name] = new
        self._size = size


_COLUMNS: Final[dict[str, tuple[type, int]]] = {
    "id": (np.int64, 0),
    "author": (np.int32, 0),
    "ts": (np.int64, 0),
    "length": (np.float32, 0),
    "log_length": (np.float32, 0),
    "length_around": (np.float32, 0),
    "chars": (np.int32, 0),
    "said": (np.int64, 0),
    "digest": (np.int64, 0),
    # Places and groups are what numpy counts by: of any other kind it makes a copy first.
    "group": (np.intp, 0),
    "alive": (np.bool_, 0),
    "asks": (np.bool_, 0),
    "timed": (np.bool_, 0),
    "beside": (np.intp, 2 * REACH),
}
