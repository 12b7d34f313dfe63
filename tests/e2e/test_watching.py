"""Can the way of one question be followed from outside, through the logs, the traces, the figures of every process?"""

import json
import urllib.request

import pytest

from nexus_project.version import VERSION
from tests.fakes.collector import Collector, Seen
from tests.world.talk import Question, ask
from tests.world.world import World

pytestmark = pytest.mark.e2e

CHAIN = {"ingest": "chat", "compose": "composer", "run": "runtime", "hub.offer": "gateway", "hub.run": "gateway"}
CHAIN |= {"chat.post": "chat", "invocation": "chat"}
"""Which process writes which span."""


@pytest.fixture(scope="module")
def answered(world: World) -> Question:
    """A question to the host's own agent, answered: it went through every process there is."""
    room = world.room("watched", owner="alice", members=["bob"])
    world.invite(room, owner="alice", slugs=["shell-echo"])
    question = ask(world, person="bob", rid=room.rid, slug="shell-echo", text="what is going on?")
    question.wait_done()
    return question


def test_the_log_of_every_process_on_its_way_names_the_invocation(world: World, answered: Question) -> None:
    (row,) = answered.rows()
    events: dict[str, set[str]] = {}

    def look() -> bool:
        for name in ("gateway", "chat", "composer", "runtime", "runtime_host"):
            lines = [_read(name, line) for line in world.stack.log(name).splitlines()]
            events[name] = {str(line["event"]) for line in lines if line.get("invocation") == row["id"]}
        return all(events.values())

    world.until(look, what="every process has a line about it", timeout_s=20)

    assert {"invocation opened", "reply posted", "reply settled"} <= events["chat"]
    assert {"bridge told", "run accepted", "run ended"} <= events["gateway"]
    assert "composed" in events["composer"]
    assert "dispatched" in events["runtime"]


def _read(name: str, line: str) -> dict[str, object]:
    """Every line of every program is an object that says which program wrote it."""
    try:
        found: dict[str, object] = json.loads(line)
    except json.JSONDecodeError:
        raise AssertionError(f"{name} wrote a line that is no JSON: {line!r}") from None
    assert found["at"]
    return found


def test_one_trace_leads_through_the_whole_chain(world: World, collector: Collector, answered: Question) -> None:
    (row,) = answered.rows()

    def look() -> list[Seen]:
        found = collector.of(row["id"])
        return found if {span.name for span in found} >= set(CHAIN) else []

    spans = world.until(look, what="spans of the whole chain have come", timeout_s=20)

    assert len({span.trace_id for span in spans}) == 1
    (root,) = [span for span in spans if span.name == "invocation"]
    assert root.parent_id == ""
    assert {span.parent_id for span in spans if span is not root} == {root.span_id}
    assert {(span.name, span.service) for span in spans} == set(CHAIN.items())


@pytest.mark.parametrize("name", ["chat", "composer", "runtime", "runtime_host", "sweep"])
def test_every_program_says_that_it_works(world: World, name: str) -> None:
    port = world.stack.ports.watch[name]

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        assert json.load(answer) == {"ok": True, "problems": [], "version": VERSION}
