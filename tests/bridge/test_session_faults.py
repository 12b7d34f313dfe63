"""The session against a hub that commits, with cuts, crashes and cancels at any point: nothing lost, doubled or reordered.

The hub here is a model of the rules of DESIGN section 5: rows with state and fence, cumulative acks after commit,
rewind on a gap, drop for what is over. Frames travel in two queues that a cut empties.
"""

import random
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nexus_bridge import protocol
from nexus_bridge.journal import Journal
from nexus_bridge.orders import Disconnect, Ending, Kill, Pause, Resume, Start, Stop
from nexus_bridge.protocol import (
    Accepted,
    Ack,
    AgentOffer,
    Cancel,
    Chunks,
    Drop,
    End,
    Frame,
    Hello,
    HubLimits,
    Prompt,
    Refused,
    Rewind,
    Welcome,
)
from nexus_bridge.protocol import Resume as ResumeFrom
from nexus_bridge.session import Session
from tests.fakes.hub import prompt_for

pytestmark = pytest.mark.timeout(120)

FINAL = {"done", "failed", "cancelled", "interrupted", "refused"}
AGENTS = (
    AgentOffer(slug="claude-alice", cli_kind="echo", parallel=1),
    AgentOffer(slug="echo-alice", cli_kind="echo", parallel=2),
)
SIZES = st.lists(st.integers(1, 400), min_size=1, max_size=6)
LIMITS = HubLimits(unacked_bytes=2_000)


@dataclass
class Row:
    prompt: Prompt
    state: str = "queued"
    payloads: list[str] = field(default_factory=list)
    sha256: str = ""
    has_rewound: bool = False

    @property
    def next_seq(self) -> int:
        return len(self.payloads) + 1


class ModelHub:
    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.journal = ""
        self.is_ready = False

    def receive(self, frame: Frame) -> list[Frame]:
        match frame:
            case Hello():
                return self._greet(frame)
            case Accepted():
                return self._on_run(frame.invocation, frame.fence, lambda _: [])
            case Refused():
                row = self.rows[frame.invocation]
                if row.state == "offered" and row.prompt.fence == frame.fence:
                    row.state = "refused"
                return []
            case Chunks():
                return self._on_run(frame.invocation, frame.fence, lambda row: self._add(row, frame))
            case End():
                return self._on_run(frame.invocation, frame.fence, lambda row: self._end(row, frame))
            case _:
                raise AssertionError(frame)

    def _on_run(self, invocation: int, fence: int, act: Callable[[Row], list[Frame]]) -> list[Frame]:
        row = self.rows[invocation]
        if row.prompt.fence != fence or row.state in FINAL:
            return [Drop(invocation=invocation, reason=row.state)]
        if row.state == "offered":
            row.state = "running"
        return act(row) if row.state == "running" else [Drop(invocation=invocation)]

    def _add(self, row: Row, frame: Chunks) -> list[Frame]:
        if frame.chunks[0].seq > row.next_seq:
            return [Rewind(invocation=frame.invocation, seq=row.next_seq)]
        for chunk in frame.chunks:
            if chunk.seq == row.next_seq:
                row.payloads.append(chunk.payload)
            else:
                assert chunk.seq < row.next_seq
                assert row.payloads[chunk.seq - 1] == chunk.payload, "a chunk changed after it was sent"
        return [Ack(invocation=frame.invocation, seq=row.next_seq - 1)]

    def _end(self, row: Row, frame: End) -> list[Frame]:
        if frame.seq > row.next_seq:
            return [Rewind(invocation=frame.invocation, seq=row.next_seq)]
        assert frame.seq == row.next_seq, "an end that takes the seq of a chunk"
        assert frame.sha256 == protocol.output_digest(row.payloads)
        row.state = frame.outcome
        return [Ack(invocation=frame.invocation, seq=frame.seq)]

    def _greet(self, hello: Hello) -> list[Frame]:
        assert self.journal in ("", hello.journal)
        self.journal = hello.journal
        self.is_ready = True
        listed = {run.invocation: run for run in hello.runs}
        resume, drop = [], []
        for invocation, row in self.rows.items():
            run = listed.pop(invocation, None)
            if row.state not in {"offered", "running"}:
                if run is not None:
                    drop.append(invocation)
            elif run is None or run.fence != row.prompt.fence:
                if run is not None:
                    drop.append(invocation)
                row.state = "queued" if row.state == "offered" else "interrupted"
            elif run.state == "lost":
                row.state = "interrupted"
            else:
                row.state = "running"
                resume.append(ResumeFrom(invocation=invocation, next_seq=row.next_seq))
        assert not listed
        return [Welcome(version=1, session="s", limits=LIMITS, resume=resume, drop=drop)]


@dataclass
class LiveTurn:
    prompt: Prompt
    said: list[str] = field(default_factory=list)
    is_ended: bool = False
    is_paused: bool = False
    stop: Stop | None = None


class BridgeMachine(RuleBasedStateMachine):
    """What may happen to one bridge, one step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="nexus-session-"))
        self.hub = ModelHub()
        self.said: dict[int, list[str]] = {}
        self.started: list[int] = []
        self.turns: dict[int, LiveTurn] = {}
        self.to_hub: deque[Frame] = deque()
        self.to_bridge: deque[Any] = deque()
        self.is_connected = False
        self.next_invocation = 1
        self._boot()

    def _boot(self) -> None:
        self.journal = Journal.open(directory=self.directory / "journal", now=0.0, durable=False)
        self.session = Session(
            journal=self.journal, agents=AGENTS, gate=lambda _: None, client_version="0.1.0", max_frame_chunks=3
        )

    def teardown(self) -> None:
        try:
            self._quiesce()
        finally:
            self.journal.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    # What may happen

    @initialize()
    def first_connection(self) -> None:
        self.come_back()

    @precondition(lambda self: not self.is_connected)
    @rule()
    def come_back(self) -> None:
        self.connect()
        self.deliver_all()

    @precondition(lambda self: not self.is_connected)
    @rule()
    def connect(self) -> None:
        self.is_connected = True
        self.to_hub.append(self.session.connected())

    @precondition(lambda self: self.is_connected)
    @rule()
    def cut(self) -> None:
        """Everything under way is gone; each side notices."""
        self.is_connected = self.hub.is_ready = False
        self.to_hub.clear()
        self.to_bridge.clear()
        self.session.disconnected()
        self._obey()

    @rule()
    def crash(self) -> None:
        """SIGKILL: turns die with the bridge; what was written stays."""
        if self.is_connected:
            self.cut()
        self.journal._buffer.clear()
        self.journal.close()
        self.turns.clear()
        self._boot()

    @rule(agent=st.sampled_from(AGENTS), room=st.sampled_from(["r1", "r2"]), sizes=SIZES, is_sent=st.booleans())
    def ask(self, agent: AgentOffer, room: str, sizes: list[int], is_sent: bool) -> None:
        """A mention that is composed, offered and taken without trouble, and answered for a bit."""
        self.mention(agent, room)
        if self.hub.is_ready:
            invocation = self.next_invocation - 1
            self._offer(self.hub.rows[invocation])
            self.deliver_all()
            if invocation in self.turns:
                self._say(self.turns[invocation], sizes)
            if is_sent:
                self.deliver_all()

    @rule(agent=st.sampled_from(AGENTS), room=st.sampled_from(["r1", "r2"]))
    def mention(self, agent: AgentOffer, room: str) -> None:
        invocation = self.next_invocation
        self.next_invocation += 1
        self.hub.rows[invocation] = Row(prompt=prompt_for(invocation, agent=agent.slug, session_key=room))

    @precondition(lambda self: self.hub.is_ready and self._rows("queued", "offered"))
    @rule(data=st.data())
    def offer(self, data: st.DataObject) -> None:
        self._offer(data.draw(st.sampled_from(self._rows("queued", "offered"))))

    @precondition(lambda self: self.hub.is_ready and self._rows("offered", "running"))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self._rows("offered", "running")))
        self.to_bridge.append(Cancel(invocation=row.prompt.invocation, fence=row.prompt.fence, reason="stopped"))

    @precondition(lambda self: self.hub.is_ready and self._rows("running"))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """The hub ends a row by itself; the bridge hears of it when it next says something."""
        data.draw(st.sampled_from(self._rows("running"))).state = "failed"

    @precondition(lambda self: self.hub.is_ready and self._rows("running"))
    @rule(data=st.data())
    def start_over(self, data: st.DataObject) -> None:
        """What the hub has stored is not what was sent: it asks for all of it again, once."""
        row = data.draw(st.sampled_from(self._rows("running")))
        if not row.has_rewound and row.payloads:
            row.has_rewound = True
            row.payloads.clear()
            self.to_bridge.append(Rewind(invocation=row.prompt.invocation, seq=1))

    @rule()
    def deliver_all(self) -> None:
        while self.to_hub or self.to_bridge:
            self.deliver_to_hub(1)
            self.deliver_to_bridge(1)

    @rule(count=st.integers(1, 5))
    def deliver_to_hub(self, count: int) -> None:
        for _ in range(count):
            if self.to_hub:
                self.to_bridge += self.hub.receive(self.to_hub.popleft())

    @rule(count=st.integers(1, 5))
    def deliver_to_bridge(self, count: int) -> None:
        for _ in range(count):
            if self.to_bridge:
                self.session.receive(self.to_bridge.popleft(), now=1.0)
                self._obey()
                if not self.is_connected:
                    return

    @precondition(lambda self: self._talking())
    @rule(data=st.data(), sizes=SIZES)
    def say(self, data: st.DataObject, sizes: list[int]) -> None:
        self._say(data.draw(st.sampled_from(self._talking())), sizes)

    def _say(self, turn: LiveTurn, sizes: list[int]) -> None:
        invocation = turn.prompt.invocation
        words = [f"{invocation}.{len(turn.said) + number} ".ljust(size, '"') for number, size in enumerate(sizes)]
        turn.said += words
        self.session.spool(invocation, [("text", word) for word in words])
        self._obey()

    @precondition(lambda self: self._talking())
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self._end(data.draw(st.sampled_from(self._talking())))

    @precondition(lambda self: self._ended())
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        self._free(data.draw(st.sampled_from(self._ended())))

    @rule()
    def compact(self) -> None:
        self.journal.compact(now=2.0)

    # What must hold

    @invariant()
    def nothing_is_started_twice(self) -> None:
        assert len(self.started) == len(set(self.started))

    @invariant()
    def lanes_hold(self) -> None:
        for agent in AGENTS:
            keys = [turn.prompt.session_key for turn in self.turns.values() if turn.prompt.agent == agent.slug]
            assert len(keys) <= agent.parallel
            assert len(keys) == len(set(keys))

    @invariant()
    def the_hub_has_a_beginning_of_what_was_said(self) -> None:
        for invocation, row in self.hub.rows.items():
            said = self.said.get(invocation, [])
            assert row.payloads == said[: len(row.payloads)]
            if row.state == "done":
                assert row.payloads == said

    # Helpers

    def _rows(self, *states: str) -> list[Row]:
        return [row for row in self.hub.rows.values() if row.state in states]

    def _talking(self) -> list[LiveTurn]:
        return [turn for turn in self.turns.values() if not turn.is_ended and not turn.is_paused]

    def _ended(self) -> list[LiveTurn]:
        return [turn for turn in self.turns.values() if turn.is_ended]

    def _offer(self, row: Row) -> None:
        """A queued row is composed, with a new fence, and offered; an offered one is offered again."""
        if row.state == "queued":
            old = row.prompt
            row.prompt = prompt_for(old.invocation, agent=old.agent, session_key=old.session_key, fence=old.fence + 1)
            row.state = "offered"
        self.to_bridge.append(row.prompt)

    def _obey(self) -> None:
        self.to_hub += self.session.frames()
        for order in self.session.orders():
            match order:
                case Start():
                    invocation = order.prompt.invocation
                    self.started.append(invocation)
                    self.turns[invocation] = LiveTurn(prompt=order.prompt)
                    self.said[invocation] = self.turns[invocation].said
                case Stop():
                    self.turns[order.invocation].stop = order
                case Kill():
                    self.turns[order.invocation].is_ended = True
                case Pause():
                    self.turns[order.invocation].is_paused = True
                case Resume():
                    self.turns[order.invocation].is_paused = False
                case Disconnect():
                    self.cut()
                    return

    def _end(self, turn: LiveTurn) -> None:
        turn.is_ended = True
        outcome = turn.stop.outcome if turn.stop is not None else "done"
        self.session.end(turn.prompt.invocation, Ending(outcome=outcome))
        self._obey()

    def _free(self, turn: LiveTurn) -> None:
        del self.turns[turn.prompt.invocation]
        self.session.freed(turn.prompt.invocation, now=1.0)
        self._obey()

    def _quiesce(self) -> None:
        """With nothing more going wrong everything comes to its end."""
        if not self.is_connected:
            self.connect()
        for _ in range(200):
            while self.to_hub or self.to_bridge:
                self.deliver_to_hub(1)
                self.deliver_to_bridge(1)
                if not self.is_connected:
                    self.connect()
            for turn in list(self.turns.values()):
                if not turn.is_ended:
                    self._end(turn)
                self._free(turn)
            for row in self._rows("queued", "offered"):
                self._offer(row)
            if not (self.to_hub or self.to_bridge):
                break
        self.nothing_is_started_twice()
        self.the_hub_has_a_beginning_of_what_was_said()
        assert {row.state for row in self.hub.rows.values()} <= FINAL
        assert not self.journal.runs or all(
            self.hub.rows[invocation].state in FINAL for invocation in self.journal.runs
        )


BridgeMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnythingMayHappen = BridgeMachine.TestCase


class Choice:
    """Stands in for Hypothesis' data where a plain random number generator drives the machine."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def draw(self, strategy: Any) -> Any:
        return self.rng.choice(strategy.elements)


@pytest.mark.parametrize("seed", range(6))
def test_a_long_life_with_random_trouble(seed: int) -> None:
    rng = random.Random(seed)
    data = Choice(rng)
    machine = BridgeMachine()
    machine.come_back()
    acts = {
        "ask": (8, lambda: machine.ask(rng.choice(AGENTS), rng.choice(["r1", "r2"]), sizes(rng), rng.random() < 0.5)),
        "say": (12, lambda: machine._talking() and machine.say(data, sizes(rng))),
        "end": (5, lambda: machine._talking() and machine.end(data)),
        "free": (6, lambda: machine._ended() and machine.free(data)),
        "some": (
            10,
            lambda: (machine.deliver_to_hub(rng.randint(1, 4)), machine.deliver_to_bridge(rng.randint(1, 4))),
        ),
        "all": (4, machine.deliver_all),
        "cut": (2, lambda: machine.is_connected and machine.cut()),
        "back": (4, lambda: machine.is_connected or machine.come_back()),
        "crash": (0.4, machine.crash),
        "cancel": (1, lambda: machine.hub.is_ready and machine._rows("offered", "running") and machine.cancel(data)),
        "offer": (2, lambda: machine.hub.is_ready and machine._rows("queued", "offered") and machine.offer(data)),
        "give up": (0.5, lambda: machine.hub.is_ready and machine._rows("running") and machine.give_up(data)),
        "again": (0.5, lambda: machine.hub.is_ready and machine._rows("running") and machine.start_over(data)),
        "compact": (0.3, machine.compact),
    }

    for name in rng.choices(list(acts), weights=[weight for weight, _ in acts.values()], k=1_200):
        acts[name][1]()
        machine.nothing_is_started_twice()
        machine.lanes_hold()
        machine.the_hub_has_a_beginning_of_what_was_said()

    machine.teardown()
    assert len(machine._rows("done")) > 20


def sizes(rng: random.Random) -> list[int]:
    return [rng.randint(1, 400) for _ in range(rng.randint(1, 6))]
