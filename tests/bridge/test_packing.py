"""How a turn's events become chunks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_bridge import events
from nexus_bridge.events import Done, Notice, Option, Permission, Text, Thinking, ToolCall, ToolResult
from nexus_bridge.packing import CHUNK_WIRE_BYTES, Packed, Packer
from nexus_bridge.protocol import MAX_CHUNKS_BYTES, Chunk, Chunks, encode
from nexus_bridge.spool import wire_bytes
from nexus_bridge.strip import TextStripper


def packer(output_bytes: int = 5_000_000) -> Packer:
    return Packer(output_bytes=output_bytes, cleaner=TextStripper)


def decoded(chunks: list[Packed]) -> list[events.AnyEvent | None]:
    return [events.decode(payload) for _, payload in chunks]


def text_of(chunks: list[Packed]) -> str:
    return "".join(event.delta for event in decoded(chunks) if isinstance(event, Text))


def test_adjacent_deltas_of_one_message_become_one_chunk() -> None:
    turn = packer()
    for word in ("Hell", "o", " Bob"):
        turn.add(Text(delta=word, message="m1"))

    assert decoded(turn.take()) == [Text(delta="Hello Bob", message="m1")]
    assert turn.take() == []


def test_another_message_thinking_and_tools_part_the_text() -> None:
    turn = packer()
    said: list[events.AnyEvent] = [
        Text(delta="a", message="m1"),
        Text(delta="b", message="m2"),
        Thinking(delta="hm"),
        Thinking(delta="m"),
        ToolCall(id="t", name="Bash"),
        Text(delta="c", message="m2"),
    ]
    for event in said:
        turn.add(event)

    assert decoded(turn.take()) == [
        Text(delta="a", message="m1"),
        Text(delta="b", message="m2"),
        Thinking(delta="hmm"),
        ToolCall(id="t", name="Bash"),
        Text(delta="c", message="m2"),
    ]


def test_an_escape_sequence_cut_between_two_deltas_is_stripped() -> None:
    turn = packer()

    turn.add(Text(delta="red \x1b[3"))
    turn.add(Text(delta="1malert\x1b[0m"))

    assert text_of(turn.take()) == "red alert"


def test_texts_of_other_events_are_stripped_and_ids_are_not() -> None:
    turn = packer()

    turn.add(ToolResult(id="a\x1b[0m", ok=True, output="\x1b[1mdone\x07"))

    assert decoded(turn.take()) == [ToolResult(id="a\x1b[0m", ok=True, output="done")]


def test_a_delta_that_holds_nothing_but_controls_makes_no_chunk() -> None:
    turn = packer()

    turn.add(Text(delta="\x1b[0m"))

    assert turn.take() == []


@pytest.mark.timeout(60)
@settings(max_examples=50, deadline=None)
@given(text=st.text(alphabet='ab"\\\n é😀', max_size=200), repeats=st.integers(1, 600))
def test_long_text_is_cut_into_chunks_that_fit_a_frame_and_lose_nothing(text: str, repeats: int) -> None:
    turn = packer()
    turn.add(Text(delta=text * repeats))

    chunks = turn.take()

    assert text_of(chunks) == text * repeats
    for kind, payload in chunks:
        assert wire_bytes(payload) <= CHUNK_WIRE_BYTES
        frame = encode(Chunks(invocation=2**53, fence=2**53, chunks=[Chunk(seq=2**53, kind=kind, payload=payload)]))
        assert len(frame.encode()) <= MAX_CHUNKS_BYTES


def test_a_huge_tool_result_is_shortened_and_says_by_how_much() -> None:
    turn = packer()

    turn.add(ToolResult(id="t", ok=True, output="x" * 100_000))

    (result,) = decoded(turn.take())
    assert isinstance(result, ToolResult)
    assert result.output.endswith("[75000 more characters are not shown]")


def test_what_can_not_be_shortened_is_replaced_by_a_notice() -> None:
    turn = packer()

    turn.add(Permission(id="p", options=[Option(id="x" * 40_000, name="yes", kind="allow_once")]))

    assert decoded(turn.take()) == [Notice(level="warning", text="The CLI said something that is too large to show.")]


def test_done_comes_last_and_carries_a_short_answer() -> None:
    turn = packer()
    turn.add(Text(delta="four"))
    turn.add(Done(status="ok", text="four"))

    assert decoded(turn.finish()) == [Text(delta="four"), Done(status="ok", text="four")]


def test_an_answer_that_only_done_has_becomes_text() -> None:
    turn = packer()

    turn.add(Done(status="ok", text="y" * 20_000))

    *text, done = decoded(turn.finish())
    assert len(text) == 2
    assert done == Done(status="ok")


def test_a_turn_without_done_finishes_with_what_there_is() -> None:
    turn = packer()
    turn.add(Text(delta="half an"))

    assert decoded(turn.finish()) == [Text(delta="half an")]


def test_of_a_long_output_beginning_and_end_are_kept_and_the_middle_is_counted() -> None:
    turn = packer(output_bytes=10_000)
    live: list[Packed] = []
    for number in range(100):
        turn.add(Text(delta=f"{number:03d}" + "x" * 497))
        live += turn.take()

    rest = turn.finish()

    assert text_of(live).startswith("000x")
    assert sum(len(payload) for _, payload in live) <= 5_000
    notice = decoded(rest)[0]
    assert isinstance(notice, Notice)
    assert notice.text == f"{turn.left_out_bytes} bytes of output are left out here."
    assert text_of(rest).endswith("099" + "x" * 497)
    assert sum(len(payload) for _, payload in [*live, *rest[1:]]) + turn.left_out_bytes == 100 * len(
        events.encode(Text(delta="x" * 500))
    )


def test_a_question_passes_although_the_output_is_over_its_cap() -> None:
    turn = packer(output_bytes=1_024)
    turn.add(Text(delta="x" * 10_000))

    turn.add(Permission(id="p", name="Bash"))

    assert decoded(turn.take()) == [Permission(id="p", name="Bash")]


@pytest.mark.parametrize("event", [Notice(text="n"), events.Session(id="s"), events.Usage(input_tokens=1)])
def test_other_events_travel_as_they_are(event: events.AnyEvent) -> None:
    turn = packer()

    turn.add(event)

    assert turn.take() == [(events.kind_of(event), events.encode(event))]
