"""Is the token estimate near real vocabularies, and does fitting keep its promises?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer import budget

pytestmark = pytest.mark.timeout(60)

SAMPLES = {
    "english": "We decided to move the orders to Postgres because the old database could not keep up with the writes. "
    * 20,
    "german": "Wir haben entschieden, die Bestellungen nach Postgres umzuziehen, weil die alte Datenbank überlastet war. "
    * 20,
    "russian": "Мы решили перенести заказы в Postgres, потому что старая база данных не справлялась с записью. " * 20,
    "chinese": "我们决定把订单迁移到 Postgres，因为旧数据库跟不上写入速度。" * 20,
    "code": "def total(orders: list[Order]) -> int:\n    return sum(order.price * order.count for order in orders)\n\n"
    * 20,
    "logs": "2026-11-22T09:15:42.118Z ERROR worker-7 orders.sync id=48213377 took 1532ms status=503 retry=2\n" * 20,
    "json": '{"id": 48213, "name": "orders", "tags": ["a", "b"], "price": 19.99, "nested": {"ok": true, "n": null}}\n'
    * 20,
}
# Tokens of the samples in the vocabularies cl100k and o200k, counted once with bpe-openai 0.1.4.
REAL = {
    "english": (421, 421),
    "german": (561, 481),
    "russian": (701, 481),
    "chinese": (540, 360),
    "code": (500, 500),
    "logs": (760, 760),
    "json": (860, 860),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_estimate_is_on_the_safe_side_of_characters(kind):
    text = SAMPLES[kind]

    assert budget.count(text) >= len(text.split())
    assert budget.count(text) <= len(text.encode())


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_estimate_is_within_a_quarter_of_real_vocabularies(kind):
    estimate = budget.count(SAMPLES[kind])

    assert all(0.75 <= estimate / real <= 1.25 for real in REAL[kind])


@pytest.mark.parametrize("kind", SAMPLES)
def test_an_installed_vocabulary_counts_what_was_recorded(kind):
    reason = "bpe-openai, which carries real vocabularies, is not installed: the recorded counts must do"
    bindings = pytest.importorskip("bpe_openai._bindings", reason=reason)

    counted = [bindings.tokenizer_for_encoding(name).count(SAMPLES[kind]) for name in ("cl100k_base", "o200k_base")]

    assert all(0.75 <= budget.count(SAMPLES[kind]) / real <= 1.25 for real in counted)


# A blank costs nothing, two together something: parts are lines, which neither begin nor end with one.
@given(parts=st.lists(st.text(max_size=40).map(str.strip), max_size=10))
def test_parts_cost_at_least_the_whole(parts):
    assert budget.count("".join(parts)) <= sum(budget.count(part) for part in parts)


@given(text=st.text(max_size=400), room=st.integers(min_value=20, max_value=200))
def test_a_clipped_text_fits_and_says_what_is_missing(text, room):
    clipped = budget.clip(text, room=room)

    assert budget.count(clipped) <= room
    assert clipped == text or "characters left out" in clipped


def test_a_megabyte_is_clipped_without_being_measured_whole():
    clipped = budget.clip("word " * 250_000, room=100)

    assert budget.count(clipped) <= 100
    assert clipped.startswith("word word")
    assert clipped.endswith("word")


@given(items=st.lists(st.integers(min_value=1, max_value=50)), room=st.integers(min_value=0, max_value=200))
def test_taking_never_takes_more_than_there_is_room_for(items, room):
    kept, left = budget.take(items, room=room, cost=lambda item: item)

    assert sum(kept) <= room
    assert sorted(kept + left) == sorted(items)


@given(items=st.lists(st.integers(min_value=1, max_value=50)), room=st.integers(min_value=0, max_value=200))
def test_the_newest_are_kept_without_a_gap(items, room):
    start = budget.newest(items, room=room, cost=lambda item: item)

    assert sum(items[start:]) <= room
    assert start == 0 or sum(items[start - 1 :]) > room
