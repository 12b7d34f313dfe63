"""Does the oracle of the fault runs notice each kind of broken promise? And is a seed a whole plan?"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nexus_bridge import events
from tests.faults import load, oracle, schedule
from tests.faults.load import Ask, Plan, Said
from tests.faults.oracle import Truth
from tests.world.ledger import Turn

SEED = 7
ASK = Ask(
    at_s=0.0,
    number=1,
    asker="bob",
    room="ops",
    agents=("echo-alice",),
    script="[[long 2]]",
    in_thread=False,
    follows="",
    follow_s=0.0,
)
PLAN = Plan(SEED, (ASK,), ())
SAID = Said(asks={1: "M1"})
ANSWER = "line 1 of 2: x\nline 2 of 2: x\nYou asked: q0001x7 what?"
PAYLOAD = events.encode(events.Text(delta=ANSWER, message="m1"))

Break = Callable[[Truth], Truth]


def _whole() -> Truth:
    """One question, answered as it should be."""
    row = {
        "id": 1,
        "state": "done",
        "reason": "",
        "detail": "",
        "lane": None,
        "output_sha256": hashlib.sha256(PAYLOAD.encode()).hexdigest(),
        "last_seq": 2,
        "reply_settled_at": "now",
        "slug": "echo-alice",
        "rc_id": "M1",
    }
    return Truth(
        chat={
            "M1": {"_id": "M1", "msg": "@echo-alice q0001x7 what?", "u": {"username": "bob"}},
            "R1": {"_id": "R1", "msg": ANSWER, "u": {"username": "echo-alice"}},
        },
        deleted=frozenset(),
        bots=frozenset({"echo-alice"}),
        stored={"M1": [_stored("@echo-alice q0001x7 what?")], "R1": [_stored(ANSWER)]},
        rows=[row],
        chunks={1: [{"seq": 1, "kind": "text", "payload": PAYLOAD}]},
        parts={1: [{"part": 0, "chat_id": "R1", "is_final": True, "is_gone": False}]},
        notices=[],
        set_aside=[],
        turns=[Turn("echo-alice", 1, ("q0001x7",), True)],
    )


def _stored(text: str) -> dict[str, Any]:
    return {"text": text, "stored_at": 1, "deleted_at": None}


def _with_row(truth: Truth, **values: Any) -> Truth:
    return replace(truth, rows=[{**truth.rows[0], **values}])


def _with_chat(truth: Truth, message_id: str, text: str, author: str = "echo-alice") -> Truth:
    message = {"_id": message_id, "msg": text, "u": {"username": author}}
    return replace(
        truth, chat={**truth.chat, message_id: message}, stored={**truth.stored, message_id: [_stored(text)]}
    )


BROKEN: dict[str, tuple[Break, str]] = {
    "a message is lost": (lambda t: replace(t, stored={"R1": t.stored["R1"]}), "stored 0 times"),
    "a message is stored twice": (
        lambda t: replace(t, stored={**t.stored, "M1": t.stored["M1"] * 2}),
        "stored 2 times",
    ),
    "an edit is lost": (lambda t: replace(t, stored={**t.stored, "M1": [_stored("old")]}), "is stored as 'old'"),
    "a deletion is lost": (lambda t: replace(t, chat={"R1": t.chat["R1"]}), "not in the chat"),
    "a question has no row": (lambda t: replace(t, rows=[]), "has 0 rows"),
    "a question has two rows": (lambda t: replace(t, rows=t.rows * 2), "has 2 rows"),
    "a row hangs": (lambda t: _with_row(t, state="running", lane=0), "still holds a lane"),
    "a row ends without a cause": (lambda t: _with_row(t, state="failed", reason="poison"), "no fault explains"),
    "an end has no sentence": (lambda t: _with_row(t, state="interrupted", reason="run_lost"), "0 closing sentences"),
    "a reply is missing": (lambda t: replace(t, parts={}), "has 0 parts"),
    "a reply is posted twice": (lambda t: _with_chat(t, "R2", ANSWER), "belongs to no row"),
    "a reply lost a line": (lambda t: _with_chat(t, "R1", ANSWER.replace("line 2", "x")), "moved lines in its reply"),
    "a chunk is damaged": (lambda t: _with_row(t, output_sha256="0" * 64), "another SHA-256"),
    "a chunk is lost": (lambda t: replace(t, chunks={}), "wrong seqs"),
    "a CLI was started twice": (lambda t: replace(t, turns=t.turns * 2), "started 2 times"),
    "a CLI was never started": (lambda t: replace(t, turns=[]), "without having been started"),
    "a lane was held by two": (
        lambda t: replace(t, turns=[replace(t.turns[0], is_lane_free=False)]),
        "while its lane was taken",
    ),
    "a message was set aside": (lambda t: replace(t, set_aside=[{"rc_id": "M1", "reason": "odd"}]), "set aside"),
}


def test_a_whole_run_has_no_problems() -> None:
    assert oracle.problems(truth=_whole(), plan=PLAN, said=SAID) == []
    assert oracle.unsettled(_whole(), plan=PLAN, said=SAID) == []


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_promise_is_noticed(name: str) -> None:
    break_it, expected = BROKEN[name]

    found = oracle.problems(truth=break_it(_whole()), plan=PLAN, said=SAID)

    assert any(expected in problem for problem in found), found


def test_a_question_deleted_before_it_was_seen_may_have_no_row() -> None:
    truth = replace(_whole(), rows=[], deleted=frozenset({"M1"}), chat={}, stored={}, parts={}, turns=[])

    assert oracle.problems(truth=truth, plan=PLAN, said=SAID) == []


def test_a_question_deleted_after_it_was_seen_has_its_row() -> None:
    gone = {"M1": [{"text": "", "stored_at": 1, "deleted_at": 2}]}
    truth = replace(_whole(), rows=[], deleted=frozenset({"M1"}), chat={}, stored=gone, parts={}, turns=[])

    assert oracle.problems(truth=truth, plan=PLAN, said=SAID) == ["question q0001x7 to echo-alice has 0 rows"]


def test_a_seed_is_a_whole_plan() -> None:
    rooms, agents, targets = {"ops": ("alice", "bob")}, ["echo-alice", "echo-bob"], ["gateway", "chat", "composer"]

    def make(seed: int) -> tuple[Plan, list[schedule.Fault]]:
        plan = load.make_plan(seed=seed, invocation_count=20, duration_s=10, rooms=rooms, agents=agents)
        faults = schedule.make_schedule(
            seed=seed,
            duration_s=10,
            targets=targets,
            kill_count=6,
            flush_count=2,
            stop_count=2,
            stop_s=2,
            chat_count=3,
            pause_count=1,
        )
        return plan, faults

    assert make(3) == make(3)
    assert make(3) != make(4)
    plan, faults = make(3)
    assert plan.invocation_count == 20
    assert sorted(fault.target for fault in faults if fault.what.startswith("kill")) == sorted(targets * 2)
    assert sum(fault.what == "flush" for fault in faults) == 2
