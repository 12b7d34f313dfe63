"""Do replies split into messages that fit, stay as they were, and say how they ended?"""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_bridge import events
from runtime.reply import MAX_PARTS, Ending, Names, Reply, Spent, sentence, units
from runtime.reply.splitting import Splitter

LIMIT = 60
WORDS = st.lists(
    st.sampled_from(
        [
            "word ",
            "longer-word ",
            "\n",
            "\n\n",
            "```py\n",
            "\n```\n",
            "x" * 45,
            "🙂" * 20,
            "é",
            "@all ",
            "@x",
            "1. ",
            "## Then\n\n",
            "`",
        ]
    ),
    min_size=1,
    max_size=80,
)
DONE = Ending("done", Spent())


def reply_of(*said, limit=LIMIT, names=None):
    reply = Reply(names=names or Names(), limit=limit)
    for item in said:
        reply.feed(events.Text(delta=item) if isinstance(item, str) else item)
    return reply


@given(WORDS)
def test_each_part_fits_and_has_words(pieces):
    parts = reply_of(*pieces).final(ending=DONE)

    assert all(units(part) <= LIMIT for part in parts[: MAX_PARTS - 1])
    assert all(part.strip() for part in parts)


@given(WORDS)
def test_full_parts_never_change_when_more_text_comes(pieces):
    reply = Reply(limit=LIMIT)
    full: list[str] = []

    for piece in pieces:
        reply.feed(events.Text(delta=piece))
        parts = reply.live(elapsed_s=0)
        assert parts[: len(full)] == full
        full = parts[:-1]

    assert reply.final(ending=DONE)[: len(full)] == full


@given(WORDS)
def test_each_part_closes_its_own_fences(pieces):
    parts = reply_of(*pieces).final(ending=DONE)

    for part in parts:
        assert sum(line.startswith("```") for line in part.split("\n")) % 2 == 0


@given(WORDS)
@settings(max_examples=60)
def test_no_word_is_lost_where_all_parts_are_shown(pieces):
    splitter = Splitter(limit=LIMIT)
    text = "".join(piece for piece in pieces if "`" not in piece)

    for start in range(0, len(text), 7):
        splitter.feed(text[start : start + 7])

    joined = "".join([*splitter.parts, splitter.last()])
    assert "".join(joined.split()) == "".join(text.split())


def test_a_fence_that_is_cut_is_closed_and_opened_again_with_its_language():
    code = "```python\n" + "\n".join(f"line_{number} = {number}" for number in range(12)) + "\n```\n"

    parts = reply_of(code, limit=120).final(ending=DONE)

    assert len(parts) > 1
    assert all(part.startswith("```python\n") for part in parts)
    assert all(part.endswith("\n```") for part in parts)


def test_text_is_cut_at_a_paragraph_before_a_line_and_a_line_before_a_word():
    paragraphs = reply_of("a" * 40 + "\n\n" + "b " * 8 + "\n" + "c" * 30).final(ending=DONE)
    lines = reply_of("a" * 20 + "\n" + "b" * 20 + "\n" + "c " * 20).final(ending=DONE)

    assert paragraphs[0] == "a" * 40
    assert lines[0] == "a" * 20 + "\n" + "b" * 20


def test_a_heading_stays_with_what_it_heads():
    first, second = reply_of(f"{'a ' * 20}\n\n## Then\n\n{'b ' * 20}", limit=60).final(ending=DONE)

    assert (first.split()[-1], second.splitlines()[0]) == ("a", "## Then")


def test_a_very_long_reply_keeps_its_head_and_its_tail():
    parts = reply_of(*(f"line {number}\n" for number in range(20_000)), limit=4_500).final(ending=DONE)

    assert len(parts) == MAX_PARTS
    assert parts[0].startswith("line 0\n")
    assert "characters left out" in parts[-1]
    assert parts[-1].endswith("line 19999")
    assert all(units(part) <= 5_000 for part in parts)


def test_text_after_a_tool_call_is_a_paragraph_of_its_own():
    reply = reply_of("Let me look.", events.ToolCall(id="1", name="Read", title="a.py"))
    reply.feed(events.ToolResult(id="1", ok=True))
    reply.feed(events.Text(delta="It is red."))

    assert reply.live(elapsed_s=0) == ["Let me look.\n\nIt is red."]


def test_another_message_of_the_agent_is_a_paragraph_of_its_own():
    first, second = events.Text(delta="One.", message="a"), events.Text(delta="Two.", message="b")

    assert reply_of(first, second, limit=500).live(elapsed_s=0) == ["One.\n\nTwo."]


def test_the_card_names_the_tool_at_work_and_counts():
    reply = reply_of(
        events.ToolCall(id="1", name="Read", title="a.py"),
        events.ToolResult(id="1", ok=True),
        events.ToolCall(id="2", name="Bash", title="run @all tests\nplease"),
        limit=500,
    )

    assert reply.live(elapsed_s=12) == [
        "⏳ working… (2 tools, 10 s)\n✔ Read: a.py\n🔧 Bash: run @\u200ball tests please …"
    ]


def test_the_tool_at_work_stands_below_the_text_so_far_and_goes_with_the_end():
    reply = reply_of("Looking.", events.ToolCall(id="1", name="Bash", title="make test"), limit=500)

    assert reply.live(elapsed_s=1) == ["Looking.\n\n_🔧 Bash: make test … (1 tool)_"]
    assert reply.final(ending=DONE) == ["Looking.\n\n_1 tool_"]


def test_the_footer_tells_time_model_tokens_and_cost():
    spent = Spent(seconds=75.2, input_tokens=1200, output_tokens=34, cost_usd=Decimal("0.012300"))

    [text] = reply_of("Done.", limit=500).final(ending=Ending("done", spent))

    assert text == "Done.\n\n_1 min 15 s · 1,200 tokens in, 34 out · $0.0123_"


@pytest.mark.parametrize(
    ("state", "mark"), [("interrupted", "cut off here"), ("cancelled", "stopped here"), ("failed", "failed here")]
)
def test_a_reply_that_did_not_finish_says_so_at_its_end(state, mark):
    assert reply_of("Half").final(ending=Ending(state, Spent())) == [f"Half\n\n✂ _{mark}_"]


def test_a_run_that_failed_before_its_first_word_has_no_text():
    assert reply_of(events.Thinking(delta="hm")).final(ending=Ending("failed", Spent())) == []


def test_done_without_a_word_is_a_sentence():
    assert reply_of().final(ending=DONE) == ["I finished without saying anything."]


def test_a_cli_that_tells_its_answer_only_at_the_end_is_heard():
    assert reply_of(events.Done(status="ok", text="All at once.")).final(ending=DONE) == ["All at once."]


def test_an_answer_that_was_streamed_is_not_repeated_by_its_end():
    assert reply_of("Once.", events.Done(status="ok", text="Once.")).final(ending=DONE) == ["Once."]


def test_a_sentence_of_ours_is_whole_up_to_the_limit_and_keeps_both_ends_beyond():
    cut = sentence("First?\n```diff\n" + "+ line\n" * 2_000 + "```\nAnd now?")

    assert sentence("word " * 890) == ("word " * 890).strip()
    assert units(cut) < 5_000
    assert cut.startswith("First?\n```diff\n")
    assert cut.endswith("+ line\n```\nAnd now?")
    assert sum(line.startswith("```") for line in cut.split("\n")) == 4
