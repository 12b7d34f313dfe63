"""Does the room hear a sentence for every reason there is, and what is in it?"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from gateway.invocations import wording
from gateway.invocations.sentences import ENDINGS, SENTENCES
from nexus_bridge import events, protocol

ROOT = Path(__file__).parents[2]
SOURCES = ("bridge_client/src", "gateway", "composer", "runtime")
BY_KEYWORD = frozenset(
    {"Ending", "Stop", "Refusal", "Seen", "fail_unsent", "interrupt", "compose_failed", "request_cancel"}
)
BY_POSITION = frozenset({"_stop_for", "_fail_by_cancel"})
EXPIRED = "offline"


def _named(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _constants(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _reasons() -> set[str]:
    """Every reason that the code gives an invocation's end, read from the code."""
    found = {EXPIRED}
    for source in SOURCES:
        # The guard stops trees of processes; its reasons reach the room as the detail of a crash.
        for path in (one for one in (ROOT / source).rglob("*.py") if not one.name.startswith("guard")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                if _named(node) in BY_KEYWORD:
                    values = [word.value for word in node.keywords if word.arg == "reason"]
                    found |= {
                        text for value in values if isinstance(value, ast.Constant) for text in _constants(value)
                    }
                elif _named(node) in BY_POSITION and node.args:
                    found |= set(_constants(node.args[0]))
    return found


def test_the_search_finds_what_bridges_and_hub_say() -> None:
    assert _reasons() >= {
        "bridge_restarted",
        "wall_limit",
        "wall_timeout",
        "too_old",
        "poison",
        "unknown_agent",
        "lost",
    }


def test_every_reason_has_a_sentence() -> None:
    kinds = {kind for kind in get_args(events.ErrorKind) if kind}
    statuses = {"error", "limit", "interrupted"}

    missing = (_reasons() | kinds | statuses | set(get_args(protocol.Outcome)) - {"done"}) - SENTENCES.keys()

    assert missing == set()


@pytest.mark.parametrize("reason", sorted(SENTENCES))
def test_a_sentence_says_what_happened_in_words_and_ends(reason: str) -> None:
    text = wording.ending(state="failed", reason=reason, detail="the detail.", agent="claude-alice", invocation_id=7)

    assert text.endswith(".")
    assert "_" not in text.replace("claude-alice", "")
    assert "{" not in text
    assert ".." not in text


@pytest.mark.parametrize(
    ("reason", "detail", "words"),
    [
        (
            "needs_input",
            "It asks for input at its terminal: Password:",
            "waits for input that nobody can give it: It asks",
        ),
        ("empty_output", "", "ended as if all were well, but gave no answer."),
    ],
)
def test_what_a_cli_lacks_is_told_with_what_its_owner_can_do(reason: str, detail: str, words: str) -> None:
    text = wording.ending(state="failed", reason=reason, detail=detail, agent="claude-alice", invocation_id=7)

    assert words in text
    assert "Its owner can" in text
    assert "`!retry`" in text


def test_a_reason_of_a_newer_bridge_is_told_by_the_final_state() -> None:
    for state in ENDINGS:
        text = wording.ending(
            state=state, reason="gremlins", detail="a wire came off", agent="claude", invocation_id=7
        )

        assert "a wire came off" in text
