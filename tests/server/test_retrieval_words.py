"""Is what is counted for all terms at once what one would count by hand?"""

import math
import random

import numpy as np
import pytest

from composer.retrieval import words
from composer.retrieval.index import WEIGHTS, Entry, RoomIndex

WORDS = ["deploy", "orders", "redis", "timeout", "cache", "queue", "alpha", "beta", "gamma", "delta"]
MINUTE = 60 * 1_000_000


@pytest.fixture(params=range(5))
def index(request):
    """Two hundred messages in threads and sittings, some of them deleted again."""
    rng = random.Random(request.param)
    built = RoomIndex()
    ts = 0
    for pk in range(1, 201):
        ts += rng.choice([1, 3, 200]) * MINUTE
        thread = f"m{pk - pk % 20}" if pk % 20 and rng.random() < 0.4 else ""
        text = " ".join(rng.choices(WORDS, k=rng.randint(1, 9)))
        built.add(Entry(pk, f"m{pk}", 1, ts, thread, pk - pk % 20 if thread else 0, text))
    for pk in rng.sample(range(1, 201), 40):
        built.remove(pk)
    return built


def by_hand(index, asked, alive):
    """BM25 of own words, words with those of the neighbours, and words of the group; term by term, place by place."""
    said = {place: list(index.said_at(place)) for place in range(index.count) if alive[place]}
    length = {place: float(len(heard)) for place, heard in said.items()}
    around = index.column("length_around")
    groups: dict[int, list[int]] = {}
    for place in said:
        groups.setdefault(int(index.column("group")[place]), []).append(place)
    in_group = {number: sum(length[place] for place in places) for number, places in groups.items()}
    mean = sum(length.values()) / len(said)
    mean_around = sum(float(around[place]) for place in said) / len(said)
    mean_in_group = sum(in_group.values()) / len(groups)
    own, beside, together = (dict.fromkeys(range(index.count), 0.0) for _ in range(3))
    lent = dict(zip(WEIGHTS, words.NEIGHBOUR_WEIGHTS, strict=True))
    for term, weight in asked.items():
        has = {place: float(heard.count(term)) for place, heard in said.items() if term in heard}
        rare = weight * math.log1p((len(said) - len(has) + 0.5) / (len(has) + 0.5))
        near = dict.fromkeys(has, 0.0)
        for place, often in has.items():
            own[place] += rare * saturated(often, length[place] / mean)
            near[place] += often
            for other, weight_there in zip(index.column("beside")[place], lent.values(), strict=True):
                if other >= 0:
                    near[int(other)] = near.get(int(other), 0.0) + often * float(weight_there)
        for place, often in near.items():
            beside[place] += rare * saturated(often, float(around[place]) / mean_around)
        there = {number: sum(has.get(place, 0) for place in places) for number, places in groups.items()}
        found = sum(often > 0 for often in there.values())
        rare = weight * math.log1p((len(groups) - found + 0.5) / (found + 0.5))
        for number, often in there.items():
            for place in groups[number]:
                together[place] += rare * saturated(often, in_group[number] / mean_in_group)
    return own, beside, together


def saturated(often, length):
    return often * (words.K1 + 1) / (often + words.K1 * (1 - words.B + words.B * length))


@pytest.mark.parametrize(
    ("cells", "share"),
    [(1, 1.0), (1_000, 1.0), (words.MAX_CELLS, 1.0), (words.MAX_CELLS, 0.5), (words.MAX_CELLS, 0.0)],
    ids=["term by term", "in parts", "at once", "some everywhere", "everywhere"],
)
def test_words_are_counted_as_by_hand(index, cells, share, monkeypatch):
    """`share`: above how many postings a message, as many as these few words have, a term is counted everywhere."""
    monkeypatch.setattr(words, "MAX_CELLS", cells)
    monkeypatch.setattr(words, "COMMON_SHARE", share)
    alive = index.column("alive")
    asked = {0: 1.0, 1: 0.5, 2: 2.0}
    counted = words.Words(index, words.Alive(alive))
    counted.add(asked)
    own, beside, together = by_hand(index, asked, alive)
    for place in np.flatnonzero(alive):
        assert counted.own[place] == pytest.approx(own[place], rel=1e-4)
        assert counted.beside[place] == pytest.approx(beside[place], rel=1e-4)
        assert counted.together[index.column("group")[place]] == pytest.approx(together[place], rel=1e-4)


def test_words_that_only_deleted_messages_had_count_nothing(index):
    dead = RoomIndex()
    dead.add(Entry(1, "m1", 1, 0, "", 0, "deploy"))
    dead.add(Entry(2, "m2", 1, MINUTE, "", 0, "orders"))
    dead.remove(1)
    counted = words.Words(dead, words.Alive(dead.column("alive")))
    counted.add({0: 1.0})
    assert not counted.own.any()
    assert not counted.is_hit().any()
