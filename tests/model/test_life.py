"""Is no CLI started twice, no lane held twice and no row stuck, in any order of steps and failures?

The short form runs with all tests. `make faults` explores larger worlds; FAULTS_SEED is the first of the random
lives, so that one which went wrong is replayed by its seed.
"""

import os

import pytest

from gateway.invocations.table import EDGES
from tests.model import bridge_rules, hub_rules
from tests.model.explore import explore, walk
from tests.model.world import Run, Scene, put_run

IS_LONG = os.environ.get("FAULTS_LONG") == "1"
FIRST_SEED = int(os.environ.get("FAULTS_SEED", "1"))

pytestmark = [pytest.mark.timeout(3600 if IS_LONG else 120)]

SHORT = {
    "one row, one failure, one stop": Scene(agents=(0,), session_keys=(0,), faults=1, stops=1),
    "revoked or refused": Scene(agents=(0,), session_keys=(0,), faults=0, stops=1, revocations=1, refusals=1),
}
LONG = {
    "two rows of one session": Scene(session_keys=(0, 0), faults=0, stops=1),
    "two agents in a serial room": Scene(agents=(0, 1), is_serial=True, faults=0, stops=1),
    "two rows, one failure": Scene(faults=1, stops=0),
    "two agents in a serial room, one failure": Scene(agents=(0, 1), is_serial=True, faults=1, stops=0),
    "one row, two failures": Scene(agents=(0,), session_keys=(0,), faults=2, stops=1, refusals=1),
    "two rows, revoked": Scene(faults=0, stops=0, revocations=1, refusals=1),
}
LIMIT = 400_000
"""States of one scene; beyond it what was reached is still checked, but not whether every row can end."""

CROWDS = (
    Scene(agents=(0, 0, 1), session_keys=(0, 1, 0), is_serial=True, faults=4, stops=2, revocations=1, refusals=1),
    Scene(agents=(0, 0, 0), session_keys=(0, 0, 1), faults=6, stops=1, refusals=1),
    Scene(agents=(0,), session_keys=(0,), faults=6, stops=1, revocations=1),
)
LIVES = 4_000 if IS_LONG else 400
LENGTH = 150


def told(problem, story):
    return f"{problem}:\n  " + "\n  ".join(story)


@pytest.mark.parametrize("name", [*SHORT, *LONG] if IS_LONG else SHORT)
def test_every_order_of_steps_keeps_the_promises(name):
    found = explore({**SHORT, **LONG}[name], limit=LIMIT)

    assert not found.wrong, told(*found.wrong[0])
    assert not found.stuck, told("a row can't end", found.stuck[0])
    assert found.is_whole or IS_LONG


@pytest.mark.parametrize("crowd", range(len(CROWDS)))
def test_random_lives_of_larger_worlds_keep_the_promises(crowd):
    for seed in range(FIRST_SEED, FIRST_SEED + LIVES):
        problem, story = walk(CROWDS[crowd], seed=seed, length=LENGTH)
        assert not problem, told(f"FAULTS_SEED={seed}: {problem}", story)


def test_every_edge_of_the_table_is_taken_by_some_life():
    explore(SHORT["one row, one failure, one stop"], limit=8_000)
    explore(SHORT["revoked or refused"], limit=LIMIT)

    unused = [f"{source} -> {to}" for source, to in EDGES if (source, to) not in hub_rules.USED]
    assert unused == []


def test_a_bridge_that_does_not_ask_its_journal_is_found_out(monkeypatch):
    def forgetful(world, frame):
        offers = (*world.bridge.waiting, (frame.row, frame.fence))
        return world._replace(bridge=world.bridge._replace(waiting=offers))

    monkeypatch.setattr(bridge_rules, "_offered", forgetful)

    found = explore(Scene(agents=(0,), session_keys=(0,), faults=0, stops=0), limit=20_000)

    assert "a CLI was started twice for one row" in [problem for problem, _ in found.wrong]


def test_a_bridge_that_starts_before_the_old_tree_is_dead_is_found_out(monkeypatch):
    def eager(scene, world):
        bridge = world.bridge
        for row, fence in bridge.waiting:
            waiting = tuple(offer for offer in bridge.waiting if offer[0] != row)
            taken = put_run(bridge, row, Run(fence))._replace(waiting=waiting, due=bridge.due | {row})
            yield f"accept {row}", world._replace(bridge=taken)

    monkeypatch.setattr(bridge_rules, "_start_turns", eager)

    found = explore(Scene(faults=0, stops=1), limit=60_000)

    assert "two CLIs run on one lane" in [problem for problem, _ in found.wrong]
