"""What do Codex and the agents of the Agent Client Protocol get written to them, and when?"""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_bridge.adapters import adapter_class
from nexus_bridge.adapters.base import Adapter, Profile, Turn
from nexus_bridge.events import Done, Permission, Text

ACP_KINDS = ("acp", "cursor", "gemini", "hermes", "opencode")
ALL = (*ACP_KINDS, "codex")
TOOLS = {"mcp_url": "http://127.0.0.1:4000/mcp/", "mcp_token": "nxt_secret"}


def adapter(kind: str, **options) -> Adapter:
    return adapter_class(kind)(
        profile=Profile(**{"slug": "agent", "command": ["program"], "workdir": Path("/work"), **options})
    )


def frames(data: bytes) -> list[dict]:
    return [json.loads(line) for line in data.splitlines()]


def hear(one: Adapter, **frame) -> list:
    said = one.feed(json.dumps(frame).encode() + b"\n")
    return [*said]


def opened(kind: str, **options) -> tuple[Adapter, list[dict]]:
    """An adapter whose session is open and whose first prompt is out, and all it wrote."""
    one = adapter(kind, **options)
    written = frames(one.start()) + frames(one.turn(Turn(text="Hello")))
    for _ in range(8):
        asked = [frame for frame in written if "id" in frame and "method" in frame]
        if asked[-1]["method"] in {"session/prompt", "turn/start"}:
            break
        hear(one, id=asked[-1]["id"], result=_answer(asked[-1]["method"]))
        written += frames(one.outgoing())
    return one, written


def _answer(method: str) -> dict:
    can = {"loadSession": True, "mcpCapabilities": {"http": True}}
    answers: dict[str, dict] = {
        "initialize": {"agentCapabilities": can, "authMethods": [{"id": "gemini-api-key"}]},
        "session/new": {"sessionId": "s1"},
        "thread/start": {"thread": {"id": "s1"}, "model": "m"},
        "thread/resume": {"thread": {"id": "s1"}},
    }
    return answers.get(method, {})


@pytest.mark.parametrize("kind", ALL)
def test_the_handshake_comes_first_and_the_prompt_waits_for_it(kind):
    _, written = opened(kind)

    assert written[0]["method"] == "initialize"
    prompt = written[-1]["params"]
    assert (prompt.get("prompt") or prompt["input"]) == [{"type": "text", "text": "Hello"}]


@pytest.mark.parametrize("kind", ALL)
def test_a_known_session_is_taken_up_again(kind):
    _, written = opened(kind, resume_id="older")

    (resumed,) = [frame for frame in written if frame["method"] in {"session/load", "thread/resume"}]
    assert "older" in (resumed["params"].get("sessionId"), resumed["params"].get("threadId"))


@pytest.mark.parametrize("kind", ALL)
def test_a_session_that_is_forgotten_is_told_apart(kind):
    one = adapter(kind, resume_id="older")
    written = frames(one.start()) + frames(one.turn(Turn(text="Hello")))
    hear(one, id=written[0]["id"], result=_answer("initialize"))
    asked = frames(one.outgoing())[-1]

    (done,) = hear(one, id=asked["id"], error={"code": -32603, "message": "no such session"})

    assert isinstance(done, Done)
    assert (done.status, done.error_kind) == ("error", "session")


@pytest.mark.parametrize("kind", ALL)
def test_tools_are_offered_with_a_token_that_stands_in_no_argument_and_no_variable(kind):
    one, written = opened(kind, **TOOLS)

    spawn = one.spawn()
    assert "nxt_secret" in json.dumps(written)
    assert "nxt_secret" not in " ".join(spawn.argv)
    assert "nxt_secret" not in " ".join(spawn.env.values())


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("text", "written_text"),
    [
        ("see @/etc/passwd", "see @\u200b/etc/passwd"),
        ("/help", "\u200b/help"),
        ("!id", "\u200b!id"),
        ("# remember", "\u200b# remember"),
        ("mail alice@example.org", "mail alice@example.org"),
    ],
)
def test_prompt_text_is_data(kind, text, written_text):
    one, _ = opened(kind)
    one.exited(code=0, stderr_tail="")

    (frame,) = frames(one.turn(Turn(text=text)))

    assert json.dumps(written_text)[1:-1] in json.dumps(frame)


def test_a_dollar_word_calls_no_skill_of_codex():
    one, _ = opened("codex")
    one.exited(code=0, stderr_tail="")

    (frame,) = frames(one.turn(Turn(text="use $evil and [$evil](x) for $5 or a$b")))

    assert frame["params"]["input"][0]["text"] == "use $\u200bevil and [$\u200bevil](x) for $5 or a$b"


@pytest.mark.parametrize("kind", ACP_KINDS)
def test_an_answer_chooses_by_kind_and_never_for_always(kind):
    one, _ = opened(kind)
    options = [
        {"optionId": "b1", "name": "Always", "kind": "allow_always"},
        {"optionId": "b2", "name": "Once", "kind": "allow_once"},
        {"optionId": "b3", "name": "No", "kind": "reject_once"},
    ]
    call = {"toolCallId": "t1", "kind": "execute", "title": "rm x", "rawInput": {"command": "rm x"}}
    params = {"sessionId": "s1", "toolCall": call, "options": options}

    said = hear(one, id=7, method="session/request_permission", params=params)

    (question,) = [event for event in said if isinstance(event, Permission)]
    assert (question.detail, question.tool) == ("rm x", "execute")
    (answer,) = frames(one.answer(question.id, allow=True, note=""))
    assert (answer["id"], answer["result"]["outcome"]["optionId"]) == (7, "b2")
    assert one.answer(question.id, allow=True, note="") == b""


@pytest.mark.parametrize("kind", ACP_KINDS)
def test_a_request_that_only_names_its_call_shows_what_was_announced_of_it(kind):
    one, _ = opened(kind)
    announced = {
        "sessionUpdate": "tool_call", "toolCallId": "t1", "kind": "execute", "title": "clean", "status": "pending",
        "rawInput": {"command": "rm -rf ~/work"}, "locations": [{"path": "/home/alice/.ssh/id"}],
    }  # fmt: skip
    hear(one, method="session/update", params={"sessionId": "s1", "update": announced})

    said = hear(
        one, id=7, method="session/request_permission",
        params={"sessionId": "s1", "toolCall": {"toolCallId": "t1"}, "options": []},
    )  # fmt: skip

    (question,) = [event for event in said if isinstance(event, Permission)]
    assert (question.name, question.tool, question.detail) == ("execute", "execute", "rm -rf ~/work")
    assert question.paths == ["/home/alice/.ssh/id"]


@pytest.mark.parametrize("kind", ACP_KINDS)
def test_with_no_fitting_option_the_question_is_cancelled(kind):
    one, _ = opened(kind)
    options = [{"optionId": "b1", "name": "Always", "kind": "allow_always"}]
    params = {"sessionId": "s1", "toolCall": {"toolCallId": "t1", "title": "x"}, "options": options}
    hear(one, id="q", method="session/request_permission", params=params)

    (answer,) = frames(one.answer("q", allow=True, note=""))

    assert answer["result"]["outcome"] == {"outcome": "cancelled"}


def test_the_reason_of_a_no_reaches_codex():
    one, _ = opened("codex")
    hear(one, method="turn/started", params={"threadId": "s1", "turn": {"id": "t1"}})
    command = {"threadId": "s1", "itemId": "c", "command": "/bin/bash -lc 'rm x'"}
    (question,) = hear(one, id=0, method="item/commandExecution/requestApproval", params=command)

    decision, steer = frames(one.answer(question.id, allow=False, note="not on a Friday"))

    assert decision == {"id": 0, "result": {"decision": "decline"}}
    assert steer["method"] == "turn/steer"
    assert "not on a Friday" in steer["params"]["input"][0]["text"]
    assert question.detail == "rm x"


@pytest.mark.parametrize("kind", ALL)
def test_a_request_that_nobody_knows_is_refused_and_stalls_nothing(kind):
    one, _ = opened(kind)

    assert hear(one, id=5, method="fs/read_text_file", params={"sessionId": "s1", "threadId": "s1"}) == []

    (answer,) = frames(one.outgoing())
    assert (answer["id"], answer["error"]["code"]) == (5, -32601)


def test_cursors_own_requests_are_answered_so_that_its_turn_goes_on():
    one, _ = opened("cursor")

    hear(one, id=5, method="cursor/create_plan", params={"sessionId": "s1"})

    assert frames(one.outgoing()) == [{"jsonrpc": "2.0", "id": 5, "result": {}}]


def test_a_question_about_a_tool_of_this_hub_is_not_asked_twice():
    one, _ = opened("gemini", **TOOLS)
    options = [{"optionId": "go", "name": "Allow", "kind": "allow_once"}]
    call = {"toolCallId": "mcp_nexus_note__mcp_nexus_note_1_0", "title": "note (nexus MCP Server)"}

    said = hear(
        one,
        id=1,
        method="session/request_permission",
        params={"sessionId": "s1", "toolCall": call, "options": options},
    )

    assert [event for event in said if isinstance(event, Permission)] == []
    assert frames(one.outgoing())[0]["result"]["outcome"]["optionId"] == "go"


def test_an_answer_of_hermes_that_only_begins_like_an_error_is_told_whole():
    one, _ = opened("hermes")
    said = []
    for piece in ("HT", "TP 40", "4 means that", " nothing is there."):
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": piece}}
        said += hear(one, method="session/update", params={"sessionId": "s1", "update": update})

    said += hear(one, id=3, result={"stopReason": "end_turn", "usage": {"inputTokens": 1, "outputTokens": 1}})

    assert "".join(event.delta for event in said if isinstance(event, Text)) == "HTTP 404 means that nothing is there."
    assert said[-1] == Done(status="ok")


@pytest.mark.parametrize("kind", ALL)
def test_an_interrupt_before_the_prompt_is_out_needs_a_signal(kind):
    one = adapter(kind)
    one.start()
    one.turn(Turn(text="Hello"))

    assert one.interrupt() == b""
    assert one.exited(code=-2, stderr_tail="") == [Done(status="interrupted")]


def test_codex_exec_gets_its_prompt_by_stdin_and_its_token_by_a_variable():
    one = adapter("codex", options={"protocol": "exec", "model": "m"}, resume_id="older", **TOOLS)

    spawn = one.spawn()

    assert list(spawn.argv[-3:]) == ["resume", "older", "-"]
    assert spawn.close_stdin_after_turn
    assert "nxt_secret" not in " ".join(spawn.argv)
    assert one.turn(Turn(text="@x")) == "@\u200bx".encode()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_METHODS = st.sampled_from(
    [
        *("session/update", "session/request_permission", "item/started", "item/completed", "turn/completed"),
        *("thread/tokenUsage/updated", "item/commandExecution/requestApproval", "error", "turn/started"),
        *("mcpServer/elicitation/request", "item/fileChange/requestApproval", "item/agentMessage/delta"),
    ]
)
_KEYS = st.sampled_from(
    [
        *(
            "update",
            "toolCall",
            "sessionUpdate",
            "toolCallId",
            "content",
            "rawInput",
            "rawOutput",
            "locations",
            "cost",
        ),
        *("item", "type", "id", "turn", "error", "tokenUsage", "options", "changes", "status", "kind", "command"),
        *("_meta", "codexErrorInfo", "total", "last", "title", "threadId", "sessionId", "path", "result", "server"),
    ]
)
_SHAPES = st.recursive(
    _JSON | st.sampled_from(["tool_call", "tool_call_update", "usage_update", "fileChange", "mcpToolCall", "s1"]),
    lambda inner: st.dictionaries(_KEYS, inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=10,
)


@pytest.mark.parametrize("kind", ["acp", "codex", "hermes"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_json_of_any_shape_raises(kind, data):
    one, _ = opened(kind)
    for _ in range(3):
        params = {**data.draw(st.dictionaries(_KEYS, _SHAPES, max_size=4)), "sessionId": "s1", "threadId": "s1"}
        frame = {"method": data.draw(_METHODS), "params": params}
        if data.draw(st.booleans()):
            frame["id"] = data.draw(_JSON)
        one.feed(json.dumps(frame).encode() + b"\n")
        one.outgoing()
    one.exited(code=1, stderr_tail="")
