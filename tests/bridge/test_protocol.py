"""Every frame reads the same at both ends, and whatever is no frame is named, never a traceback."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_bridge import events, protocol
from nexus_bridge.protocol import BadFrame, Frame

CHUNK = {"seq": 1, "kind": "text", "payload": '{"kind":"text","delta":"hi"}'}
JOURNAL = "0123456789abcdef" * 2
SHA = "0" * 64

FROM_BRIDGE: list[dict[str, Any]] = [
    {
        "type": "hello",
        "versions": [1],
        "client_version": "0.1.0",
        "agents": [
            {
                "slug": "claude-alice",
                "cli_kind": "claude",
                "cli_version": "2.1",
                "workdir": "backend",
                "parallel": 2,
                "steers": False,
            }
        ],
        "journal": JOURNAL,
        "runs": [{"invocation": 7, "fence": 2, "state": "lost", "last_seq": 0}],
        "capabilities": ["files"],
    },
    {"type": "accepted", "invocation": 7, "fence": 1},
    {"type": "refused", "invocation": 7, "fence": 1, "reason": "not_allowed", "message": "no"},
    {"type": "chunks", "invocation": 7, "fence": 1, "chunks": [CHUNK]},
    {
        "type": "end",
        "invocation": 7,
        "fence": 1,
        "seq": 2,
        "outcome": "done",
        "sha256": SHA,
        "reason": "",
        "message": "",
        "exit_code": 0,
        "usage": {"input_tokens": 1, "output_tokens": 2, "cached_tokens": 0, "cost_usd": 0.5},
    },
    {
        "type": "heartbeat",
        "at": 1.5,
        "load": {"running": 1, "sessions": 2, "unacked_bytes": 3, "memory_mib": 4},
    },
    {
        "type": "policy",
        "agent": "claude-alice",
        "default": "ask",
        "deny": {"rules": 2, "tools": ["Bash", "mcp__*"]},
        "local": {"rules": 0, "tools": []},
        "ask": {"rules": 1, "tools": []},
        "allow": {"rules": 3, "tools": ["Read"]},
        "callers": 1,
        "rooms": 0,
        "permission_s": 90,
    },
    {"type": "error", "code": "bad_json", "about": "", "message": "no"},
]

FROM_HUB: list[dict[str, Any]] = [
    {
        "type": "welcome",
        "version": 1,
        "session": "s",
        "limits": {"heartbeat_s": 5.0, "peer_dead_s": 25.0, "frame_bytes": 65536, "unacked_bytes": 262144},
        "resume": [{"invocation": 7, "next_seq": 3}],
        "drop": [8],
    },
    {"type": "welcome", "version": 2, "session": "s", "hub_version": "0.1.0"},
    {
        "type": "prompt",
        "invocation": 7,
        "fence": 1,
        "agent": "claude-alice",
        "asker": {"id": "u", "username": "bob", "name": "Bob"},
        "room": {"id": "r", "name": "general", "kind": "channel"},
        "prompt": "why?",
        "session_key": "r",
        "attachments": [{"id": "1", "name": "a", "size": 3, "content_type": "text/plain", "sha256": SHA}],
        "tools_token": "nxt_x",
        "limits": {"wall_s": 60.0, "idle_s": 10.0, "output_bytes": 4096},
    },
    {"type": "ack", "invocation": 7, "seq": 0},
    {"type": "rewind", "invocation": 7, "seq": 1},
    {"type": "cancel", "invocation": 7, "fence": 1, "reason": "!stop"},
    {
        "type": "decision",
        "invocation": 7,
        "fence": 1,
        "permission": "p",
        "allow": True,
        "by": "alice",
        "note": "",
    },
    {"type": "steer", "invocation": 7, "fence": 1, "id": 3, "text": "the staging one", "by": "bob"},
    {"type": "drop", "invocation": 7, "reason": "stale_fence"},
    {"type": "bye", "reason": "slow", "reconnect": True, "message": ""},
]


@pytest.mark.parametrize("frame", FROM_BRIDGE, ids=lambda frame: str(frame["type"]))
def test_what_a_bridge_sends_reads_the_same_at_the_hub(frame: dict[str, Any]) -> None:
    assert json.loads(protocol.encode(protocol.from_bridge(json.dumps(frame)))) == frame


@pytest.mark.parametrize("frame", FROM_HUB, ids=lambda frame: str(frame["type"]))
def test_what_a_hub_sends_reads_the_same_at_the_bridge(frame: dict[str, Any]) -> None:
    assert json.loads(protocol.encode(protocol.from_hub(json.dumps(frame).encode()))) == frame


def test_every_frame_is_among_these() -> None:
    known = {frame.__struct_config__.tag for frame in Frame.__subclasses__()}

    assert known == {frame["type"] for frame in (*FROM_BRIDGE, *FROM_HUB)}


def without(frame: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in frame.items() if name != key}


def chunks(**wrong: Any) -> dict[str, Any]:
    return {**FROM_BRIDGE[3], "chunks": [{**CHUNK, **wrong}]}


@pytest.mark.parametrize(
    ("text", "code", "about"),
    [
        ("", "bad_json", ""),
        ("what?", "bad_json", ""),
        ("[]", "bad_json", ""),
        ('"hello"', "bad_json", ""),
        (b"\xff\xfe", "bad_json", ""),
        ('{"type": "ack", "seq": "\ud800"}', "bad_json", ""),
        ('{"type": 3}', "bad_json", ""),
        ("{}", "bad_field", ""),
        ('{"type": "dance"}', "unknown_type", "dance"),
        ('{"type": "welcome", "version": 1, "session": "s"}', "unknown_type", "welcome"),
        ("[" * 100_000, "bad_json", ""),
        (without(FROM_BRIDGE[1], "fence"), "bad_field", "accepted"),
        ({**FROM_BRIDGE[1], "extra": 1}, "bad_field", "accepted"),
        ({**FROM_BRIDGE[1], "invocation": True}, "bad_field", "accepted"),
        ({**FROM_BRIDGE[1], "invocation": "7"}, "bad_field", "accepted"),
        ({**FROM_BRIDGE[1], "fence": 0}, "bad_field", "accepted"),
        (chunks(seq=0), "bad_field", "chunks"),
        (chunks(seq=-1), "bad_field", "chunks"),
        (chunks(seq=1.5), "bad_field", "chunks"),
        (chunks(seq=2**63), "bad_field", "chunks"),
        (chunks(kind="song"), "bad_field", "chunks"),
        (chunks(payload=None), "bad_field", "chunks"),
        ({**FROM_BRIDGE[3], "chunks": []}, "bad_field", "chunks"),
        ({**FROM_BRIDGE[3], "chunks": [CHUNK] * 513}, "bad_field", "chunks"),
        ({**FROM_BRIDGE[4], "sha256": "x"}, "bad_field", "end"),
        ({**FROM_BRIDGE[4], "sha256": SHA + "\n"}, "bad_field", "end"),
        ({**FROM_BRIDGE[4], "outcome": "great"}, "bad_field", "end"),
        ({**FROM_BRIDGE[4], "message": "x" * 2_001}, "bad_field", "end"),
        ({**FROM_BRIDGE[6], "agent": "Claude"}, "bad_field", "policy"),
        ({**FROM_BRIDGE[6], "permission_s": 0}, "bad_field", "policy"),
        ({**FROM_BRIDGE[6], "deny": {"rules": -1}}, "bad_field", "policy"),
        ({**FROM_BRIDGE[6], "deny": {"tools": ["\x00"]}}, "bad_field", "policy"),
        ({**FROM_BRIDGE[6], "deny": {"tools": ["x"] * 17}}, "bad_field", "policy"),
        ({**FROM_BRIDGE[0], "journal": JOURNAL.upper()}, "bad_field", "hello"),
        ({**FROM_BRIDGE[0], "versions": []}, "bad_field", "hello"),
        ({**FROM_BRIDGE[0], "agents": [{"slug": "Claude", "cli_kind": "claude"}]}, "bad_field", "hello"),
    ],
)
def test_what_is_no_frame_is_named(text: Any, code: str, about: str) -> None:
    sent = json.dumps(text) if isinstance(text, dict) else text

    with pytest.raises(BadFrame) as caught:
        protocol.from_bridge(sent)

    assert (caught.value.error.code, caught.value.error.about) == (code, about)
    assert protocol.from_hub(protocol.encode(caught.value.error)) == caught.value.error


def test_a_wrong_field_is_named_by_its_path() -> None:
    with pytest.raises(BadFrame, match=r"\$\.chunks\[0\]\.seq"):
        protocol.from_bridge(json.dumps(chunks(seq=0)))


@given(text=st.one_of(st.text(), st.binary(), st.dictionaries(st.text(), st.integers()).map(json.dumps)))
def test_nothing_but_bad_frame_comes_of_noise(text: str | bytes) -> None:
    for read in (protocol.from_bridge, protocol.from_hub):
        with pytest.raises(BadFrame):
            read(text)


@pytest.mark.parametrize(
    ("offered", "agreed"), [([1], 1), ([2, 1], 2), ([1, 2, 3], 3), ([4, 3], 3), ([4], None), ([], None)]
)
def test_the_best_version_that_both_speak_is_agreed(offered: list[int], agreed: int | None) -> None:
    assert protocol.agreed_version(offered=offered) == agreed


def test_the_digest_is_over_all_payloads_in_order() -> None:
    assert protocol.output_digest(["a", "é"]) == protocol.output_digest(["aé"])
    assert protocol.output_digest(["a", "b"]) != protocol.output_digest(["b", "a"])


def test_a_lone_surrogate_can_not_be_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        protocol.encode(protocol.Drop(invocation=1, reason="\ud800"))


def test_an_event_of_a_newer_bridge_is_no_error() -> None:
    assert events.decode('{"kind": "hologram"}') is None
    assert events.decode('{"kind": "text", "delta": "hi", "colour": "red"}') == events.Text(delta="hi")
    assert events.decode("[" * 100_000) is None


def test_a_failure_that_only_a_newer_bridge_can_name_is_a_failure_all_the_same() -> None:
    newer = '{"kind": "done", "status": "error", "error_kind": "gremlins", "message": "a wire came off"}'

    assert events.decode(newer) == events.Done(status="error", error_kind="unknown", message="a wire came off")
    assert events.decode('{"kind": "done", "status": "hovering"}') is None
