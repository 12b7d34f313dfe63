"""Does everything that was ever recorded, of whatever CLI and mode, pass through every adapter without harm?"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_bridge.adapters import adapter_class
from nexus_bridge.adapters.base import Adapter, Counting, Profile, Turn
from nexus_bridge.events import AnyEvent, Done, Text, Usage
from tests.bridge.recordings import TESTDATA
from tests.bridge.turns import done_of, text_of

ADAPTERS = ("acp", "claude", "codex", "codex exec", "cursor", "echo", "gemini", "hermes", "opencode", "pty")
EVERYTHING = sorted(
    path for path in TESTDATA.rglob("*.*") if path.is_file() and not path.name.endswith(".events.jsonl")
)
# Modes that no adapter uses: their lines are JSON, and mean nothing to the protocol that is spoken.
FOREIGN = [("gemini", path) for path in sorted((TESTDATA / "gemini" / "stream-json").iterdir())]
FOREIGN += [("opencode", path) for path in sorted((TESTDATA / "opencode" / "run-json").iterdir())]
TEXTS = [TESTDATA / name for name in ("hermes/chat.txt", "hermes/chat-quiet.txt", "hermes/one-shot.txt")]
TEXTS.append(TESTDATA / "aider" / "message.txt")
DOCUMENTS = [("gemini", TESTDATA / "gemini" / "json.json"), ("hermes", TESTDATA / "hermes" / "one-shot.usage.json")]
SIZES = st.lists(st.integers(1, 700), min_size=1, max_size=6)


def begun(name: str) -> Adapter:
    """An adapter with an open turn."""
    kind, _, protocol = name.partition(" ")
    options = {"protocol": protocol} if protocol else {}
    one = adapter_class(kind)(
        profile=Profile(slug="agent", command=["program"], workdir=Path("/home/dev/project"), options=options)
    )
    one.start()
    one.turn(Turn(text="x"))
    return one


def heard(one: Adapter, data: bytes, *, sizes: Iterator[int] = itertools.repeat(10**9)) -> list[AnyEvent]:  # noqa: B008 - never ends, never changes
    said: list[AnyEvent] = []
    while data:
        size = next(sizes)
        said += one.feed(data[:size])
        one.outgoing()
        data = data[size:]
    return said + one.exited(code=0, stderr_tail="")


def joined(said: list[AnyEvent]) -> list[AnyEvent]:
    """Text that follows text is one: a terminal says as much as has come."""
    found: list[AnyEvent] = []
    for event in said:
        before = found[-1] if found else None
        if isinstance(event, Text) and isinstance(before, Text) and event.message == before.message:
            found[-1] = Text(delta=before.delta + event.delta, message=event.message)
        else:
            found.append(event)
    return found


def ids(rows: list[tuple[str, Path]]) -> list[str]:
    return [f"{kind}-{path.stem}" for kind, path in rows]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ADAPTERS)
def test_no_recording_of_any_cli_is_fatal_to_an_adapter_and_no_cut_changes_what_it_becomes(name: str) -> None:
    for path in EVERYTHING:
        data = path.read_bytes()
        whole = joined(heard(begun(name), data))

        assert any(isinstance(event, Done) for event in whole), path
        for sizes in ((1,) if len(data) < 3_000 else (61,), (7, 500, 2_048), (4_096, 1)):
            assert joined(heard(begun(name), data, sizes=itertools.cycle(sizes))) == whole, (path, sizes)


@pytest.mark.parametrize(("kind", "recording"), FOREIGN, ids=ids(FOREIGN))
@settings(max_examples=8, deadline=None)
@given(sizes=SIZES)
def test_events_of_another_mode_are_counted_and_none_is_taken_for_an_answer(
    kind: str, recording: Path, sizes: list[int]
) -> None:
    one = begun(kind)
    data = recording.read_bytes()

    said = heard(one, data, sizes=itertools.cycle(sizes))

    assert isinstance(one, Counting)
    assert sum(one.unknown.values()) == len(data.splitlines())
    assert set(one.unknown) == {json.loads(line)["type"] for line in data.splitlines()}
    assert one.noise == 0
    assert [(event.status, event.error_kind) for event in said if isinstance(event, Done)] == [("error", "crash")]
    assert len(said) == 1


@pytest.mark.parametrize("recording", TEXTS, ids=[path.stem for path in TEXTS])
@settings(max_examples=12, deadline=None)
@given(sizes=SIZES)
def test_what_a_cli_prints_for_people_is_the_answer_of_a_terminal_program(recording: Path, sizes: list[int]) -> None:
    # A terminal sends each line end as two characters.
    printed = recording.read_bytes().replace(b"\n", b"\r\n")

    said = heard(begun("pty"), printed, sizes=itertools.cycle(sizes))

    assert text_of(said) == recording.read_text()
    assert done_of(said) == Done(status="ok")


@pytest.mark.parametrize(("kind", "recording"), DOCUMENTS, ids=ids(DOCUMENTS))
@settings(max_examples=8, deadline=None)
@given(sizes=SIZES)
def test_a_document_over_many_lines_is_noise_and_counted(kind: str, recording: Path, sizes: list[int]) -> None:
    one = begun(kind)

    said = heard(one, recording.read_bytes(), sizes=itertools.cycle(sizes))

    assert isinstance(one, Counting)
    assert one.noise == len(recording.read_text().splitlines())
    assert sum(one.unknown.values()) == 0
    assert len(said) == 1


@settings(max_examples=8, deadline=None)
@given(sizes=SIZES)
def test_claudes_whole_result_in_one_line_is_its_answer(sizes: list[int]) -> None:
    said = heard(begun("claude"), (TESTDATA / "claude" / "json.json").read_bytes(), sizes=itertools.cycle(sizes))

    assert [type(event) for event in said] == [Usage, Done]
    assert done_of(said) == Done(status="ok", text="Fake model here. Tool turns: 0. You said: Hi")


@pytest.mark.parametrize(
    ("name", "recording", "code", "error_kind", "words"),
    [
        ("gemini", "gemini/http-401", 145, "auth", "(exit code 145). Error when talking to Gemini API Full report"),
        ("gemini", "gemini/no-auth-json", 41, "auth", "(exit code 41). Please set an Auth method in your /home/dev"),
        ("gemini", "gemini/untrusted-folder", 55, "crash", "(exit code 55). Gemini CLI is not running in a trusted"),
        ("codex", "codex/turn", 1, "crash", "(exit code 1). Reading additional input from stdin..."),
        ("codex exec", "codex/turn", 1, "crash", "(exit code 1). Reading additional input from stdin..."),
    ],
)
def test_of_a_clis_last_words_the_room_is_told_those_that_say_why(
    name: str, recording: str, code: int, error_kind: str, words: str
) -> None:
    errors = (TESTDATA / f"{recording}.stderr.txt").read_text()

    done = done_of(begun(name).exited(code=code, stderr_tail=errors))

    assert (done.status, done.error_kind) == ("error", error_kind)
    assert words in done.message
    assert "\x1b" not in done.message
