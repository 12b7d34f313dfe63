"""Is Claude Code's output read right, and is what we write to it right?

Beside each recording stands what it must become (NAME.events.jsonl); `NEXUS_WRITE_GOLDEN=1` writes those anew.
"""

import itertools
import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus_bridge import events
from nexus_bridge.adapters.base import Profile, Turn
from nexus_bridge.adapters.claude import ClaudeAdapter
from nexus_bridge.adapters.claude_tools import detail_of, title_of
from nexus_bridge.adapters.lines import Frame
from nexus_bridge.adapters.prompt_text import break_syntax
from nexus_bridge.events import Done, Notice, Permission, Session, Text, Thinking, ToolCall, ToolResult, Usage
from tests.bridge.recordings import play, recordings, rows

RECORDINGS = recordings("claude")
BY_NAME = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)


def adapter(**options) -> ClaudeAdapter:
    return ClaudeAdapter(
        profile=Profile(**{"slug": "claude-alice", "command": [], "workdir": Path("/work"), **options})
    )


def merged(said: list[events.AnyEvent]) -> list[events.AnyEvent]:
    """Neighbouring pieces of one text as one: where the CLI was cut says nothing."""
    out: list[events.AnyEvent] = []
    for event in said:
        last = out[-1] if out else None
        if isinstance(event, Text) and isinstance(last, Text) and last.message == event.message:
            out[-1] = Text(delta=last.delta + event.delta, message=event.message)
        else:
            out.append(event)
    return out


@BY_NAME
def test_a_recording_becomes_its_events(recording):
    said = [events.encode(event) for event in play(adapter(), rows(recording))]

    golden = recording.with_suffix(".events.jsonl")
    if os.environ.get("NEXUS_WRITE_GOLDEN"):
        golden.write_text("".join(f"{line}\n" for line in said))
    assert said == golden.read_text().splitlines()


@BY_NAME
def test_a_recording_says_nothing_twice_and_ends_every_turn(recording):
    said = play(adapter(), rows(recording))

    turns = sum(isinstance(event, Done) for event in said)
    whole = [event.text for event in said if isinstance(event, Done) and event.status == "ok"]
    text = "".join(event.delta for event in said if isinstance(event, Text))
    calls = [event.id for event in said if isinstance(event, ToolCall)]
    assert turns >= 1
    assert all(text.count(answer) == 1 for answer in whole)
    assert len(calls) == len(set(calls))
    assert sorted(calls) == sorted(event.id for event in said if isinstance(event, ToolResult))


@BY_NAME
@settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(data=st.data())
def test_any_cut_of_the_same_bytes_gives_the_same_events(recording, data):
    sizes = data.draw(st.lists(st.integers(1, 5000), min_size=1, max_size=8))

    cut = play(adapter(), rows(recording), sizes=itertools.cycle(sizes))

    assert cut == play(adapter(), rows(recording))


def test_every_byte_alone_gives_the_same_events():
    recorded = rows(next(path for path in RECORDINGS if path.stem == "turn"))

    assert play(adapter(), recorded, sizes=itertools.repeat(1)) == play(adapter(), recorded)


# What it is given


def frame_of(data: bytes) -> Frame:
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    frame: Frame = json.loads(data)
    return frame


def test_a_turn_is_one_user_frame():
    frame = frame_of(adapter().turn(Turn(text="two\nlines")))

    assert frame["type"] == "user"
    assert frame["message"] == {"role": "user", "content": [{"type": "text", "text": "two\nlines"}]}


def test_files_are_named_in_the_turn():
    frame = frame_of(adapter().turn(Turn(text="look", files=[Path("/tmp/@note.txt")])))

    assert frame["message"]["content"][0]["text"] == "look\nAttached file: /tmp/@\u200bnote.txt"


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("@/etc/passwd", "@\u200b/etc/passwd"),
        ("see @~/x and\t@./y", "see @\u200b~/x and\t@\u200b./y"),
        ('see @"/with space"', 'see @\u200b"/with space"'),
        ("(@/etc/passwd) '@x'", "(@\u200b/etc/passwd) '@\u200bx'"),
        ("a\u00a0@/x\u2028@/y", "a\u00a0@\u200b/x\u2028@\u200b/y"),
        ("@@/x", "@\u200b@\u200b/x"),
        ("mail alice@example.org", "mail alice@example.org"),
        ("/clear", "\u200b/clear"),
        (" \n/clear", "\u200b \n/clear"),
        ("!rm -rf /", "\u200b!rm -rf /"),
        ("# remember", "\u200b# remember"),
        ("a /path and #3 and !", "a /path and #3 and !"),
    ],
)
def test_what_claude_would_expand_is_broken_and_nothing_else(text, broken):
    assert break_syntax(text) == broken


@given(st.text(st.sampled_from("@/!# \n\ta.\u200b\u00a0'\"")))
def test_nothing_stays_that_claude_would_expand(text):
    broken = break_syntax(text)

    assert not broken.lstrip().startswith(("/", "!", "#"))
    for before, sign, after in zip(" " + broken, broken, broken[1:] + " ", strict=False):
        assert sign != "@" or not before.isspace() or after in {"\u200b", " "} or broken.endswith("@")
    assert broken.replace("\u200b", "") == text.replace("\u200b", "")


def test_an_answer_repeats_the_input_that_was_asked_about():
    claude = asked_about({"command": "touch x"})

    frame = frame_of(claude.answer("q1", allow=True, note=""))

    assert frame["response"]["request_id"] == "q1"
    assert frame["response"]["response"] == {"behavior": "allow", "updatedInput": {"command": "touch x"}}


def test_a_refusal_gives_its_reason():
    frame = frame_of(asked_about({"command": "touch x"}).answer("q1", allow=False, note="not today"))

    assert frame["response"]["response"] == {"behavior": "deny", "message": "not today"}


def test_a_question_is_answered_once():
    claude = asked_about({"command": "touch x"})
    claude.answer("q1", allow=False, note="")

    assert claude.answer("q1", allow=True, note="") == b""


def test_a_question_that_claude_took_back_is_not_answered():
    claude = asked_about({"command": "touch x"})
    feed(claude, {"type": "control_cancel_request", "request_id": "q1"})

    assert claude.answer("q1", allow=True, note="") == b""


def test_a_denied_tool_is_shown_as_denied():
    claude = asked_about({"command": "touch x"})
    claude.answer("q1", allow=False, note="")

    said = feed(claude, result_of("t1", is_error=True))

    assert said == [ToolResult(id="t1", ok=False, output="out", denied=True)]


def test_a_request_of_another_kind_is_answered_with_an_error():
    claude = adapter()
    feed(claude, {"type": "control_request", "request_id": "h1", "request": {"subtype": "hook_callback"}})

    frame = frame_of(claude.outgoing())

    assert frame["response"]["subtype"] == "error"
    assert frame["response"]["request_id"] == "h1"
    assert claude.outgoing() == b""


# How it is started


def test_it_speaks_json_both_ways_and_asks_us_for_permission():
    argv = list(adapter(command=["/opt/claude", "--effort", "low"]).spawn().argv)

    assert argv[:4] == ["/opt/claude", "--effort", "low", "-p"]
    for pair in (
        ["--input-format", "stream-json"],
        ["--output-format", "stream-json"],
        ["--permission-prompt-tool", "stdio"],
    ):
        assert argv[argv.index(pair[0]) + 1] == pair[1]
    assert {"--verbose", "--include-partial-messages", "--strict-mcp-config"} <= set(argv)
    assert argv[argv.index("--disallowedTools") + 1] == "AskUserQuestion"


def test_the_tools_token_is_in_a_private_file_and_nowhere_else():
    spawn = adapter(mcp_url="http://127.0.0.1:4000/mcp/", mcp_token="nxt_secret").spawn()

    assert "nxt_secret" not in " ".join(spawn.argv)
    assert "nxt_secret" not in str(spawn.env)
    server = json.loads(spawn.files["mcp.json"])["mcpServers"]["nexus"]
    assert server == {
        "type": "http",
        "url": "http://127.0.0.1:4000/mcp/",
        "headers": {"Authorization": "Bearer nxt_secret"},
    }
    assert spawn.argv[spawn.argv.index("--mcp-config") + 1] == "{files}/mcp.json"


def test_owner_options_become_arguments():
    options = {
        "model": "opus",
        "permission_mode": "plan",
        "allowed_tools": "Read",
        "disallowed_tools": "Bash",
        "own_mcp": "true",
    }
    argv = list(adapter(options=options, persona="Be brief.", resume_id="abc").spawn().argv)

    for pair in (["--model", "opus"], ["--permission-mode", "plan"], ["--allowedTools", "Read"], ["--resume", "abc"]):
        assert argv[argv.index(pair[0]) + 1] == pair[1]
    assert argv[argv.index("--disallowedTools") + 1] == "AskUserQuestion Bash"
    assert "--strict-mcp-config" not in argv
    assert "Be brief." not in argv


def test_of_the_environment_only_its_own_names_come_through():
    inherited = dict.fromkeys(["PATH", "HOME", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"], "kept")
    inherited |= dict.fromkeys(
        ["CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "NEXUS_TOKEN", "GITHUB_TOKEN", "LD_PRELOAD"], "x"
    )

    env = adapter(inherited=inherited, env={"EXTRA": "1"}).spawn().env

    assert env["ANTHROPIC_API_KEY"] == env["CLAUDE_CODE_OAUTH_TOKEN"] == "kept"
    assert env["EXTRA"] == "1"
    assert env["CLAUDE_CODE_MAX_RETRIES"] == "3"
    assert not {"CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "NEXUS_TOKEN", "GITHUB_TOKEN", "LD_PRELOAD"} & set(env)


# Turns that go wrong


def feed(claude: ClaudeAdapter, *frames: Frame) -> list[events.AnyEvent]:
    return claude.feed(b"".join(msgspec.json.encode(frame) + b"\n" for frame in frames))


def asked_about(given: Frame) -> ClaudeAdapter:
    claude = adapter()
    claude.turn(Turn(text="x"))
    request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": given, "tool_use_id": "t1"}
    said = feed(claude, {"type": "control_request", "request_id": "q1", "request": request})
    assert [type(event) for event in said] == [Permission]
    return claude


def result_of(tool: str, **options) -> Frame:
    block = {"type": "tool_result", "tool_use_id": tool, "content": "out", **options}
    return {"type": "user", "message": {"role": "user", "content": [block]}}


def result(**options) -> Frame:
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": "ok",
        "total_cost_usd": 0.1,
        **options,
    }


RETRY = {
    "type": "system",
    "subtype": "api_retry",
    "attempt": 1,
    "max_retries": 3,
    "error_status": 401,
    "error": "authentication_failed",
}
DELTA = {
    "type": "stream_event",
    "event": {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "late"}},
}


def test_a_wrong_key_ends_the_turn_at_once_and_what_comes_later_is_nobodys():
    # Given a turn that ends at the first refused credentials
    claude = adapter()
    claude.turn(Turn(text="one"))
    said = feed(claude, RETRY)
    assert [(event.status, event.error_kind) for event in said if isinstance(event, Done)] == [("error", "auth")]
    assert frame_of(claude.outgoing())["request"] == {"subtype": "interrupt"}

    # When the next turn begins before Claude has let go of it
    claude.turn(Turn(text="two"))

    # Then the old turn's words and result count for nothing
    assert feed(claude, RETRY, DELTA, result(subtype="error_during_execution", is_error=True)) == []
    assert feed(claude, result())[-1] == Done(status="ok", text="ok")


def test_a_second_result_without_a_turn_is_passed_over():
    claude = adapter()
    claude.turn(Turn(text="x"))
    feed(claude, result())

    assert feed(claude, result()) == []


def test_costs_are_totals_and_become_differences():
    claude = adapter()
    costs = []
    for total in (0.1, 0.25, 0.25):
        claude.turn(Turn(text="x"))
        costs += [event.cost_usd for event in feed(claude, result(total_cost_usd=total)) if isinstance(event, Usage)]

    assert costs == [0.1, 0.15, 0.0]


def test_the_cost_of_the_first_turn_of_a_resumed_session_is_unknown_when_the_total_holds_older_turns():
    recorded = rows(next(path for path in RECORDINGS if path.stem == "session-2-resumed"))

    said = play(adapter(resume_id="009cda14"), recorded)

    assert [event.cost_usd for event in said if isinstance(event, Usage)] == [None]


@pytest.mark.parametrize("by_stderr", [True, False])
def test_a_forgotten_session_is_told_apart(by_stderr):
    claude = adapter(resume_id="abc")
    claude.turn(Turn(text="x"))
    words = "No conversation found with session ID: abc"

    said = (
        []
        if by_stderr
        else feed(claude, result(subtype="error_during_execution", is_error=True, result=None, errors=[words]))
    )
    said += claude.exited(code=1, stderr_tail=words + "\n")

    assert [event.error_kind for event in said if isinstance(event, Done)] == ["session"]


def test_a_crash_in_the_middle_names_the_exit_code_and_the_last_words():
    claude = adapter()
    claude.turn(Turn(text="x"))
    feed(
        claude,
        {
            "type": "assistant",
            "message": {"id": "m", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}]},
        },
    )

    said = claude.exited(code=-9, stderr_tail="panic: out of memory\n")

    assert said == [
        ToolResult(id="t1", ok=False),
        Done(
            status="error",
            error_kind="crash",
            message="Claude Code ended in the middle of its turn (exit code -9). panic: out of memory",
        ),
    ]


def test_an_exit_between_turns_says_nothing():
    assert adapter().exited(code=0, stderr_tail="") == []


def test_a_subagents_words_are_not_the_answer():
    claude = adapter()
    claude.turn(Turn(text="x"))
    blocks = [
        {"type": "text", "text": "secret thoughts"},
        {"type": "tool_use", "id": "t2", "name": "Read", "input": {}},
    ]

    said = feed(
        claude,
        {**DELTA, "parent_tool_use_id": "t1"},
        {"type": "assistant", "message": {"id": "m", "content": blocks}, "parent_tool_use_id": "t1"},
    )

    assert [type(event) for event in said] == [ToolCall]


# Bad lines


NESTED = b'{"a":' * 50_000 + b"1" + b"}" * 50_000


@pytest.mark.parametrize(
    "noise",
    [
        b"plain words",
        b'{"type": "resu',
        b'{"type":"assistant","message":{"content":[NaN]}}',
        b"[1,2]",
        b'"text"',
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        NESTED,
        b'{"a":"\xed\xa0\x80"}',
    ],
    ids=["words", "cut off", "NaN", "list", "string", "null", "bytes", "deep list", "deep object", "lone surrogate"],
)
def test_a_line_that_is_no_frame_is_counted_told_and_passed_over(noise):
    claude = adapter()
    claude.turn(Turn(text="x"))

    said = claude.feed(noise + b"\n" + msgspec.json.encode(result()) + b"\n")

    assert [type(event) for event in said if not isinstance(event, Notice)] == [Usage, Done]
    assert claude._output.noise == 1


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"type": 7},
        {"type": "rate_limit_event"},
        {"type": "assistant"},
        {"type": "assistant", "message": {"content": "words"}},
        {"type": "assistant", "message": {"content": [None, 1, {"type": "tool_use"}, {"type": "unheard-of"}]}},
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": [{"type": "image"}]}]}},
        {"type": "stream_event", "event": None},
        {"type": "stream_event", "event": {"type": "content_block_delta", "index": "x", "delta": {"text": 7}}},
        {"type": "system", "subtype": "init", "tools": [1, None]},
        {"type": "system", "subtype": "api_retry", "error_status": "x", "attempt": -1},
        {"type": "system", "subtype": "unheard-of"},
        {"type": "control_request"},
        {"type": "control_response", "response": 5},
    ],
    ids=str,
)
def test_a_frame_of_unexpected_shape_breaks_no_turn(frame):
    claude = adapter()
    claude.turn(Turn(text="x"))

    said = feed(claude, frame, result())

    assert said[-1] == Done(status="ok", text="ok")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "subtype",
                    "message",
                    "content",
                    "event",
                    "delta",
                    "text",
                    "id",
                    "request",
                    "input",
                    "usage",
                    "result",
                    "errors",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
TYPES = st.sampled_from(["assistant", "user", "system", "stream_event", "control_request", "result", "x"])


@given(
    TYPES,
    st.dictionaries(
        st.sampled_from(["message", "event", "subtype", "request", "usage", "modelUsage", "errors"]), JSON
    ),
)
def test_no_json_of_any_shape_raises(kind, fields):
    claude = adapter()
    claude.turn(Turn(text="x"))

    for event in feed(claude, {"type": kind, **fields}):
        events.encode(event)


def test_a_line_of_ten_megabytes_is_read():
    claude = adapter()
    claude.turn(Turn(text="x"))
    line = msgspec.json.encode(
        result_of("t1")
        | {"message": {"content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x" * 10_000_000}]}}
    )

    said = [
        event
        for start in range(0, len(line) + 1, 65536)
        for event in claude.feed((line + b"\n")[start : start + 65536])
    ]

    (told,) = said
    assert isinstance(told, ToolResult)
    assert len(told.output) == 10_000_000


def test_a_line_without_end_is_thrown_away_and_the_next_one_read():
    claude = adapter()
    claude.turn(Turn(text="x"))
    for _ in range(20):
        claude.feed(b"y" * 1_000_000)

    said = claude.feed(b"\n" + msgspec.json.encode(result()) + b"\n")

    assert said[-2:-1] + said[:1] == [Usage(cost_usd=0.1)] * 2
    assert claude._output.noise == 1


def test_many_noise_lines_are_told_three_times_at_most():
    claude = adapter()
    claude.turn(Turn(text="x"))

    said = [event for _ in range(50) for event in claude.feed(b"noise\n")]

    assert len(said) == 3


# What people see before they decide


@pytest.mark.parametrize(
    ("name", "given_input", "detail"),
    [
        ("Bash", {"command": "rm -rf x\nls", "description": "harmless"}, "rm -rf x\nls"),
        ("Bash", {"command": "ls", "run_in_background": True}, 'ls\n{\n "run_in_background": true\n}'),
        ("Write", {"file_path": "/a", "content": "one\ntwo"}, "+++ /a\n+one\n+two"),
        ("Edit", {"file_path": "/a", "old_string": "x\n", "new_string": "y\n"}, "--- /a\n+++ /a\n@@ -1 +1 @@\n-x\n+y"),
        ("mcp__nexus__note", {"text": "hi"}, '{\n "text": "hi"\n}'),
    ],
)
def test_a_decision_sees_the_whole_command_or_change(name, given_input, detail):
    assert detail_of(name, given_input) == detail


def test_a_shell_commands_title_is_the_command_not_what_the_model_says_of_it():
    assert title_of("Bash", {"command": "rm -rf x", "description": "List files"}) == "rm -rf x"


def test_thoughts_and_sessions_are_told():
    said = play(adapter(), rows(next(path for path in RECORDINGS if path.stem == "turn")))

    assert isinstance(said[0], Session)
    assert Thinking(delta="I should look") in said
    assert (
        merged(said).count(
            Text(delta="Fake model here. Tool turns: 2. You said: Look around", message="msg_29c5866b68a5.0")
        )
        == 1
    )


def test_words_added_on_the_way_make_one_turn_of_two_results():
    claude = adapter()
    claude.turn(Turn(text="first"))
    written = claude.steer("/clear @file and this")
    result = b'{"type":"result","subtype":"success","is_error":false,"result":"done","usage":{}}\n'

    first = claude.feed(result)
    second = claude.feed(result)

    assert not any(isinstance(event, Done) for event in first)
    assert isinstance(second[-1], Done)
    assert b"\xe2\x80\x8b/clear @\xe2\x80\x8bfile" in written
