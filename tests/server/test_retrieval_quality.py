"""Does a search find what a question about a team's talk needs? A floor: `make bench-context` measures prompts on larger sets."""

from datetime import UTC, datetime

import pytest

from composer import budget
from composer.memory.lines import micros
from composer.retrieval import channels, question
from composer.retrieval.index import Entry, RoomIndex
from tests.server.teamchat import read

TOKENS = 400
"""A tenth of the talk."""

FLOOR = 0.9
NOW = datetime(2026, 10, 16, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def talk():
    return read()


@pytest.fixture(scope="module")
def index(talk):
    messages, _ = talk
    index = RoomIndex()
    authors = authors_of(messages)
    for one in messages:
        root = f"m{one.root}" if one.root else ""
        author = authors[one.speaker]
        index.add(Entry(one.number, f"m{one.number}", author, micros(one.at), root, one.root, one.text))
    return index


def authors_of(messages):
    return {name: number for number, name in enumerate(sorted({one.speaker for one in messages}), start=1)}


def found(index, messages, text, *, tokens=TOKENS):
    """Numbers of the best messages that fit."""
    names = {name: {number} for name, number in authors_of(messages).items()}
    scored = channels.score(index, question.parse(text, at=NOW, names=names, first_year=2026))
    kept = set()
    for place in sorted(range(index.count), key=lambda place: -scored.fit[place]):
        price = budget.count(messages[place].text) + 5
        if price <= tokens and scored.is_hit[place]:
            tokens -= price
            kept.add(place + 1)
    return kept


def test_the_set_is_as_large_as_it_says(talk):
    messages, questions = talk

    assert len(messages) >= 300
    assert len(questions) >= 120
    assert all(1 <= number <= len(messages) for asked in questions for number in asked.evidence)


def test_the_evidence_for_most_questions_is_found_whole(index, talk):
    messages, questions = talk

    missed = [asked.text for asked in questions if not set(asked.evidence) <= found(index, messages, asked.text)]

    assert 1 - len(missed) / len(questions) >= FLOOR, missed


def test_what_was_decided_is_found_with_what_reversed_it(index, talk):
    messages, _ = talk

    ports = {messages[number - 1].text for number in found(index, messages, "which port has orders-api on staging?")}

    assert any("8083 now" in text for text in ports)
    assert any("8090" in text for text in ports)


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ("what about ERR_INVOICE_ROUNDING?", "ERR_INVOICE_ROUNDING"),
        ("who knows orders_archive?", "orders_archive"),
        ("what listens on 2222?", "2222"),
        ("anything about bastion-3.acme.test", "bastion-3"),
        ("what is SHOP-1187?", "SHOP-1187"),
        ("wo steht docs/adr/0012?", "docs/adr/0012"),
        ("what is CF-IPCountry", "CF-IPCountry"),
    ],
)
def test_identifiers_errors_ports_and_links_are_found_by_their_letters(index, talk, asked, word):
    messages, _ = talk

    best = found(index, messages, asked, tokens=120)

    assert any(word in messages[number - 1].text for number in best)
