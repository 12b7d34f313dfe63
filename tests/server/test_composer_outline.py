"""Does a prompt fit its budget whatever there is to tell, and is what was left out said?"""

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from composer import budget, compaction, outline, prompt
from composer.asked import Asked, Person
from composer.compaction import Compacted, Pinned
from composer.memory.lines import Line, Moment, micros
from composer.memory.profiles import Known
from composer.memory.recall import Recalled
from composer.outline import MIN_TOTAL, Gathered
from composer.tools import Tool

pytestmark = pytest.mark.timeout(60)

AT = micros(datetime(2026, 11, 22, 9, 0, tzinfo=UTC))
TEXTS = st.text(max_size=60) | st.sampled_from(
    ["word " * 300, "日本語" * 200, "x" * 3_000, "\n" * 50, "1234567890 " * 60]
)
LINES = st.lists(st.tuples(TEXTS, st.integers(0, 3), st.sampled_from(["", "root1"])), max_size=25)


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """Compaction without a database: a summary of fixed words, or none."""
    made: list[int] = []

    def summarize(*, room_id, lines, room):
        made.append(len(lines))
        return (
            Compacted(1, "bob: " + "in short " * room, lines[0].order, lines[-1].order, len(lines)) if lines else None
        )

    monkeypatch.setattr(compaction, "summarize", summarize)
    return made


def line(number, text="hello", *, user=7, thread=""):
    return Line(number, f"m{number}", user, 0, f"user{user}", AT + number * 60_000_000, AT, thread, text)


def gathered(*, window=(), text="why?", **values):
    question = line(10**6, "")
    who = Asked(
        invocation_id=42,
        thread="",
        hop=0,
        question=question,
        text=text,
        agent="claude-alice",
        persona=values.pop("persona", ""),
        budget=None,
        room_id=3,
        rid="GENERAL",
        kind="channel",
        room_name="general",
        project=None,
        asker=Person(7, "uid-bob", "bob"),
        writer="",
    )
    base: dict[str, Any] = {
        "profiles": (),
        "project": (),
        "landmarks": (),
        "summaries": (),
        "tools": (),
        "recalled": Recalled(()),
    }
    return Gathered(asked=who, window=[*window, question], **(base | values))


def fit(it, total):
    sections, left_out = outline.fit(it, total=total)
    rng = random.Random(1)
    drawn = prompt.render(sections, letters=lambda n: "".join(rng.choice(prompt.MARK_LETTERS) for _ in range(n)))
    return drawn, left_out


@examples(max_examples=60, deadline=None)
@given(
    lines=LINES,
    question=TEXTS,
    persona=TEXTS,
    facts=st.lists(TEXTS, max_size=12),
    pinned=LINES,
    recalled=LINES,
    summaries=st.lists(TEXTS, max_size=4),
    tools=st.lists(TEXTS, max_size=8),
    trouble=st.sampled_from(["", "memory did not answer in time"]),
    total=st.integers(min_value=1, max_value=4_000),
)
def test_no_prompt_is_over_its_budget(
    lines, question, persona, facts, pinned, recalled, summaries, tools, trouble, total
):
    def numbered(rows, start):
        return [line(start + n, text, user=user, thread=thread) for n, (text, user, thread) in enumerate(rows)]

    it = gathered(
        window=numbered(lines, 1000),
        text=question,
        persona=persona,
        profiles=[Known(n, "profile:x", f"bob.{n}", text, None) for n, text in enumerate(facts)],
        project=[Known(n, "room:x", f"k{n}", text, None) for n, text in enumerate(facts)],
        landmarks=[Pinned("decision", one) for one in numbered(pinned, 500)],
        recalled=Recalled(numbered(recalled, 1), trouble),
        summaries=[Compacted(n, text, Moment(0, 0), Moment(1, 1), 9) for n, text in enumerate(summaries)],
        tools=[Tool("server", f"tool{n}", text, needs_approval=True) for n, text in enumerate(tools)],
    )

    drawn, _ = fit(it, total)

    assert drawn.token_count <= max(total, MIN_TOTAL)
    assert budget.count(drawn.text) <= drawn.token_count
    assert drawn.sections[-1]["title"] == "Question"


def test_a_message_stands_in_the_prompt_once():
    said = [line(n, f"text {n}") for n in range(1, 6)]

    drawn, _ = fit(gathered(window=said, landmarks=[Pinned("decision", said[0])], recalled=Recalled(said)), 4_000)

    for number in range(1, 6):
        assert drawn.text.count(f"text {number}") == 1


def test_an_ordinary_prompt_has_all_of_the_talk_and_leaves_nothing_out(made):
    said = [line(n, f"text {n}") for n in range(1, 51)]

    drawn, left_out = fit(gathered(window=said), 4_000)

    assert all(f"text {n}\n" in drawn.text for n in range(1, 51))
    assert (left_out, made) == ([], [])


def test_above_seventy_percent_the_older_talk_is_compacted(made):
    said = [line(n, f"this is line number {n} of a long talk about the release") for n in range(1, 201)]

    drawn, _ = fit(gathered(window=said), 2_000)

    assert made
    assert drawn.token_count <= 1_400
    assert "line number 200 " in drawn.text
    assert "line number 1 " not in drawn.text


def test_what_a_summary_covers_is_not_told_twice():
    said = [line(n, f"text {n}.") for n in range(1, 21)]
    summary = Compacted(5, "bob: the first ten", said[0].order, said[9].order, 10)

    drawn, _ = fit(gathered(window=said, summaries=[summary]), 4_000)

    assert "text 10." not in drawn.text
    assert "text 11." in drawn.text
    assert "summary: bob: the first ten" in drawn.text


def test_a_question_of_a_megabyte_is_cut_and_it_is_said():
    drawn, left_out = fit(gathered(text="please " * 150_000), 2_000)

    assert "characters left out" in drawn.text
    assert [entry["what"] for entry in left_out] == ["question"]


def test_one_giant_message_does_not_push_out_the_others():
    said = [line(1, "the port is 5433"), line(2, "x " * 4_000), line(3, "thanks")]

    drawn, _ = fit(gathered(window=said), 2_000)

    assert "the port is 5433" in drawn.text
    assert "thanks" in drawn.text


def test_landmarks_beyond_their_share_are_counted_and_the_newest_stay():
    pinned = [Pinned("decision", line(n, f"decision {n}: " + "because " * 20)) for n in range(30, 0, -1)]

    drawn, left_out = fit(gathered(landmarks=pinned), 2_000)

    assert "decision 30:" in drawn.text
    assert "decision 1:" not in drawn.text
    assert left_out[0]["what"] == "landmarks"
    assert left_out[0]["count"] > 10


def test_the_prompt_says_when_memory_was_away():
    drawn, left_out = fit(gathered(recalled=Recalled((), "memory answered HTTP 500")), 2_000)

    assert "Memory could not be reached" in drawn.text
    assert left_out == [{"what": "recall", "count": 1, "why": "memory answered HTTP 500"}]
