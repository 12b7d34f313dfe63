"""Is what Codex and the agents of the Agent Client Protocol wrote read right, however it is cut?

Beside each recording stands what it must become (NAME.events.jsonl); `NEXUS_WRITE_GOLDEN=1` writes those anew.
"""

import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_bridge import events
from nexus_bridge.adapters import adapter_class
from nexus_bridge.adapters.base import Adapter, Profile
from nexus_bridge.events import AnyEvent, Done, Permission, Text, ToolCall, ToolResult
from tests.bridge.recordings import play, recordings, rows
from tests.bridge.rpc_recordings import play_rpc

KINDS = ("acp", "codex", "gemini", "hermes", "opencode")
RECORDINGS = [(kind, path) for kind in KINDS for path in recordings(kind)]
BY_NAME = pytest.mark.parametrize(("kind", "recording"), RECORDINGS, ids=[f"{k}-{p.stem}" for k, p in RECORDINGS])


def adapter(kind: str, recording: Path) -> Adapter:
    is_exec = kind == "codex" and not recording.stem.startswith("app-server")
    profile = Profile(
        slug="agent",
        command=["program"],
        workdir=Path("/home/dev/project"),
        env={} if "no-auth" in recording.stem else {"GEMINI_API_KEY": "fake-key"},
        options={"protocol": "exec"} if is_exec else {},
        resume_id="an-older-one" if recording.stem == "acp-load" else None,
    )
    return adapter_class(kind)(profile=profile)


def played(kind: str, recording: Path, *, sizes=None) -> list[AnyEvent]:
    recorded = rows(recording)
    player = play_rpc if "dir" in recorded[0] else play
    return player(adapter(kind, recording), recorded, sizes=sizes)


@BY_NAME
def test_a_recording_becomes_its_events(kind, recording):
    said = [events.encode(event) for event in played(kind, recording)]

    golden = recording.with_suffix(".events.jsonl")
    if os.environ.get("NEXUS_WRITE_GOLDEN"):
        golden.write_text("".join(f"{line}\n" for line in said))
    assert said == golden.read_text().splitlines()


@BY_NAME
def test_every_turn_ends_and_every_tool_has_one_call_and_one_result(kind, recording):
    said = played(kind, recording)

    calls = [event.id for event in said if isinstance(event, ToolCall)]
    asked = [event.tool_call for event in said if isinstance(event, Permission) and event.tool_call]
    assert any(isinstance(event, Done) for event in said)
    assert len(calls) == len(set(calls))
    assert sorted(calls) == sorted(event.id for event in said if isinstance(event, ToolResult))
    assert set(asked) <= set(calls)


@BY_NAME
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_any_cut_of_the_same_bytes_gives_the_same_events(kind, recording, data):
    sizes = data.draw(st.lists(st.integers(1, 5000), min_size=1, max_size=8))

    assert played(kind, recording, sizes=itertools.cycle(sizes)) == played(kind, recording)


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_alone_gives_the_same_events(kind):
    recording = min(recordings(kind), key=lambda path: path.stat().st_size)

    assert played(kind, recording, sizes=itertools.repeat(1)) == played(kind, recording)


@BY_NAME
def test_lines_that_nobody_knows_are_counted_and_passed_over(kind, recording):
    recorded = rows(recording)
    strange: list[dict] = [
        {"method": "brand/new", "params": {}, "type": "brand.new"},
        {"jsonrpc": "2.0", "id": 999, "result": None},
    ]
    if "dir" in recorded[0]:
        strange = [{"dir": "recv", "msg": strange[0], "t": 0}]
    mixed: list[dict] = [row for one in recorded for row in (*strange, one)]
    one = adapter(kind, recording)

    player = play_rpc if "dir" in recorded[0] else play
    said = player(one, mixed)

    assert said == played(kind, recording)
    assert sum(one.unknown.values()) > 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "noise",
    [b"not json\n", b'{"half": \n', b"[1, 2]\n", b"\xff\xfe\n", b'{"a": NaN}\n', b"[" * 100_000 + b"\n", b"\x00\n"],
    ids=["words", "half", "list", "bytes", "nan", "deep", "nul"],
)
def test_noise_between_the_lines_changes_nothing(kind, noise):
    recording = recordings(kind)[0]
    one = adapter(kind, recording)
    assert one.feed(noise) == []

    recorded = rows(recording)
    player = play_rpc if "dir" in recorded[0] else play
    assert player(one, recorded) == played(kind, recording)


@pytest.mark.parametrize("kind", KINDS)
def test_a_very_long_line_is_one_piece_of_text(kind):
    # Given a recording whose first piece of text becomes 1 MB long
    recording = next(path for path in recordings(kind) if path.stem.endswith(("allow", "app-server-allow", "turn")))
    recorded = rows(recording)
    text = next(event.delta for event in played(kind, recording) if isinstance(event, Text))
    big = text.strip() + "x" * 1_000_000
    line = json.dumps(recorded).replace(json.dumps(text.strip())[1:-1], big)

    player = play_rpc if "dir" in recorded[0] else play
    said = player(adapter(kind, recording), json.loads(line))

    assert max(len(event.delta) for event in said if isinstance(event, Text)) >= 1_000_000
