"""What the session says and orders, case by case; test_session_faults.py puts the cases together."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus_bridge.errors import CredentialsRefused, Replaced, SentAway, UpgradeRequired
from nexus_bridge.journal import Journal
from nexus_bridge.lanes import MAX_WAITING
from nexus_bridge.offers import MAX_OPEN_RUNS
from nexus_bridge.orders import Decide, Disconnect, Ending, Kill, Order, Pause, Refusal, Resume, Start, Stop, Tell
from nexus_bridge.protocol import (
    Accepted,
    Ack,
    AgentOffer,
    Bye,
    Cancel,
    Chunks,
    Decision,
    Drop,
    End,
    Error,
    Frame,
    Heartbeat,
    HubLimits,
    Load,
    Policy,
    Prompt,
    Refused,
    Rewind,
    Welcome,
    output_digest,
)
from nexus_bridge.protocol import Resume as ResumeFrom
from nexus_bridge.session import MAX_BAD_FRAMES, Session
from tests.fakes.hub import prompt_for

pytestmark = pytest.mark.timeout(60)  # seconds; a busy machine is no failure


POLICY = Policy(agent="echo-alice", default="local")


class Bridge:
    """A session with a short way to say what happens to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.refusal: Refusal | None = None
        self.open()

    def open(self) -> None:
        self.journal = Journal.open(directory=self.directory, now=0.0, durable=False)
        self.session = Session(
            journal=self.journal,
            agents=[AgentOffer(slug="echo-alice", cli_kind="echo", parallel=2)],
            gate=lambda _: self.refusal,
            client_version="0.1.0",
            policies=[POLICY],
        )

    def restart(self) -> None:
        """What a killed bridge leaves behind, opened by the next one."""
        self.journal.close()
        self.open()

    def connect(self, **welcome: Any) -> None:
        self.hello = self.session.connected()
        self.hear(Welcome(version=1, session="s-1", **welcome))

    def hear(self, *frames: Any) -> None:
        for frame in frames:
            self.session.receive(frame, now=1.0)

    def said(self) -> list[Frame]:
        return self.session.frames()

    def orders(self) -> list[Order]:
        self.session.frames()
        return self.session.orders()

    def start(self, invocation: int = 7, **more: Any) -> None:
        """A turn that runs, with nothing left to send or do."""
        self.hear(prompt_for(invocation, **more))
        self.said()
        self.orders()

    def say(self, *payloads: str, invocation: int = 7) -> None:
        self.session.spool(invocation, [("text", payload) for payload in payloads])


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    bridge = Bridge(tmp_path / "journal")
    yield bridge
    bridge.journal.close()


def kinds(things: list[Any]) -> list[type]:
    return [type(thing) for thing in things]


# Greeting


def test_nothing_but_hello_is_sent_before_the_welcome(bridge: Bridge) -> None:
    bridge.session.connected()
    bridge.session.heartbeat(at=1.0, load=Load())

    assert bridge.said() == []
    assert not bridge.session.is_ready


def test_a_welcome_makes_the_session_ready(bridge: Bridge) -> None:
    bridge.connect(limits=HubLimits(unacked_bytes=1_000))

    assert bridge.session.is_ready
    assert bridge.session.id == "s-1"
    assert bridge.session.limits.unacked_bytes == 1_000


def test_the_hub_can_not_loosen_the_bridges_own_bounds(bridge: Bridge) -> None:
    bridge.connect(limits=HubLimits(heartbeat_s=-1.0, peer_dead_s=0.0, unacked_bytes=10**12))

    limits = bridge.session.limits
    assert limits.unacked_bytes == 256 * 1024
    assert limits.heartbeat_s > 0
    assert limits.peer_dead_s > limits.heartbeat_s


def test_a_second_welcome_is_answered_with_an_error(bridge: Bridge) -> None:
    bridge.connect()

    bridge.hear(Welcome(version=1, session="s-2"))

    assert bridge.said() == [Error(code="protocol_error", about="welcome", message="one welcome is enough")]
    assert bridge.session.id == "s-1"


def test_a_hub_that_speaks_before_its_welcome_is_left(bridge: Bridge) -> None:
    bridge.session.connected()

    bridge.hear(prompt_for(7))

    assert bridge.orders() == [Disconnect(reason="the hub spoke before its welcome")]


def test_a_welcome_in_another_version_ends_the_bridge(bridge: Bridge) -> None:
    bridge.session.connected()

    bridge.hear(Welcome(version=99, session="s"))

    (order,) = bridge.orders()
    assert isinstance(order, Disconnect)
    assert isinstance(order.error, UpgradeRequired)


@pytest.mark.parametrize(("version", "told"), [(1, []), (2, []), (3, [POLICY])])
def test_only_a_hub_that_knows_the_frame_is_told_the_policies(bridge: Bridge, version: int, told: list[Frame]) -> None:
    for _ in range(2):
        hello = bridge.session.connected()
        bridge.hear(Welcome(version=version, session="s-1"))

        assert bridge.said() == told
        assert version in hello.versions
        bridge.session.disconnected()


# Offers


def test_an_offer_is_accepted_on_disk_and_started(bridge: Bridge) -> None:
    bridge.connect()

    bridge.hear(prompt_for(7))

    assert bridge.said() == [Accepted(invocation=7, fence=1)]
    assert bridge.orders() == [Start(prompt=prompt_for(7), cli_session=None)]
    assert bridge.journal.runs[7].state == "accepted"


def test_a_start_carries_the_cli_session_of_its_room(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.session.remember_cli_session(invocation=7, id="cli-1", now=1.0)
    bridge.session.remember_cli_session(invocation=99, id="not running", now=1.0)
    bridge.session.freed(7, now=1.0)

    bridge.hear(prompt_for(8))

    assert bridge.orders() == [Start(prompt=prompt_for(8), cli_session="cli-1")]


def test_a_repeated_offer_is_accepted_again_but_not_started_again(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.hear(prompt_for(7))

    assert bridge.said() == [Accepted(invocation=7, fence=1)]
    assert bridge.orders() == []


def test_an_offer_of_a_live_run_with_another_fence_kills_it_and_is_refused(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.hear(prompt_for(7, fence=2))

    (refused,) = bridge.said()
    assert isinstance(refused, Refused)
    assert (refused.fence, refused.reason) == (2, "already_started")
    assert kinds(bridge.orders()) == [Kill]


def test_an_offer_of_a_finished_run_is_refused_also_after_a_restart(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.session.end(7, Ending(outcome="done"))
    bridge.session.freed(7, now=1.0)
    bridge.said()
    bridge.hear(Ack(invocation=7, seq=1))
    bridge.restart()
    bridge.connect()

    bridge.hear(prompt_for(7, fence=2))

    (refused,) = bridge.said()
    assert isinstance(refused, Refused)
    assert refused.reason == "already_run"
    assert bridge.orders() == []


def test_the_owners_refusal_is_given_again_to_a_repeated_offer(bridge: Bridge) -> None:
    bridge.refusal = Refusal(reason="not_allowed", message="Alice takes no prompts from Charlie.")
    bridge.connect()
    bridge.hear(prompt_for(7))
    bridge.refusal = None

    bridge.hear(prompt_for(7))

    first, second = bridge.said()
    assert first == second
    assert isinstance(first, Refused)
    assert (first.reason, first.message) == ("not_allowed", "Alice takes no prompts from Charlie.")
    assert bridge.orders() == []


def test_an_unknown_agent_is_refused(bridge: Bridge) -> None:
    bridge.connect()

    bridge.hear(prompt_for(7, agent="claude-bob"))

    (refused,) = bridge.said()
    assert isinstance(refused, Refused)
    assert refused.reason == "unknown_agent"


def test_two_turns_of_one_cli_session_follow_each_other(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.hear(prompt_for(8))
    waiting = bridge.said()
    bridge.session.end(7, Ending(outcome="done"))
    bridge.session.freed(7, now=1.0)

    assert waiting == []
    assert bridge.orders() == [Start(prompt=prompt_for(8), cli_session=None)]


def test_more_turns_than_parallel_wait_for_a_lane(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(1, session_key="a")
    bridge.start(2, session_key="b")

    bridge.hear(prompt_for(3, session_key="c"))

    assert bridge.orders() == []
    bridge.session.freed(1, now=1.0)
    assert kinds(bridge.orders()) == [Start]


def test_a_dropped_turn_holds_its_lane_until_its_tree_is_dead(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.hear(Drop(invocation=7), prompt_for(8))

    before = bridge.orders()
    bridge.session.freed(7, now=1.0)

    assert kinds(before) == [Kill]
    assert kinds(bridge.orders()) == [Start]


def test_an_offer_that_waits_is_forgotten_with_its_connection(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.hear(prompt_for(8))

    bridge.session.disconnected()
    bridge.session.freed(7, now=1.0)

    assert bridge.orders() == []
    assert 8 not in bridge.journal.runs


def test_offers_beyond_the_waiting_room_go_unanswered(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(1)
    for invocation in range(2, MAX_WAITING + 2):
        bridge.hear(prompt_for(invocation))
    bridge.orders()

    bridge.hear(prompt_for(1_000))

    assert bridge.said() == []
    assert kinds(bridge.orders()) == [Tell]


def test_offers_go_unanswered_while_a_hello_could_not_list_them(bridge: Bridge) -> None:
    bridge.connect()
    for invocation in range(1, MAX_OPEN_RUNS + 1):
        bridge.journal.accept(invocation=invocation, fence=1, agent="x", session_key="y", now=0.0)

    bridge.hear(prompt_for(5_000))

    assert bridge.said() == []


def test_a_bridge_that_stops_answers_no_offer(bridge: Bridge) -> None:
    bridge.connect()

    bridge.session.stop_taking()
    bridge.hear(prompt_for(7))

    assert bridge.said() == []
    assert bridge.orders() == []


def test_a_disk_that_takes_no_acceptance_refuses_the_prompt(bridge: Bridge, full_disk: Callable[[], None]) -> None:
    bridge.connect()
    full_disk()

    bridge.hear(prompt_for(7))

    (refused,) = bridge.said()
    assert isinstance(refused, Refused)
    assert refused.reason == "disk"
    assert kinds(bridge.orders()) == [Tell]
    assert bridge.session.live_count == 0


# Output


def test_chunks_go_out_with_seqs_from_one_and_the_end_takes_the_next(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.say("one", "two")
    bridge.session.end(7, Ending(outcome="done"))

    chunks, end = bridge.said()
    assert isinstance(chunks, Chunks)
    assert [(chunk.seq, chunk.payload) for chunk in chunks.chunks] == [(1, "one"), (2, "two")]
    assert isinstance(end, End)
    assert (end.seq, end.sha256) == (3, output_digest(["one", "two"]))


def test_what_is_said_after_the_end_is_ignored(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.session.end(7, Ending(outcome="done"))
    bridge.said()

    bridge.say("late")
    bridge.session.end(7, Ending(outcome="failed"))

    assert bridge.said() == []


def test_an_acked_end_is_forgotten(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.session.end(7, Ending(outcome="done"))
    bridge.said()

    bridge.hear(Ack(invocation=7, seq=1), Ack(invocation=7, seq=1))

    assert not bridge.session.has_unacked
    assert bridge.said() == []


def test_an_ack_of_what_was_never_said_is_answered_with_an_error(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.hear(Ack(invocation=7, seq=5))

    assert bridge.said() == [Error(code="bad_field", about="ack", message="no seq 5 was ever given")]


def test_a_rewind_sends_acked_chunks_again_from_disk(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.say("one", "two", "three")
    bridge.session.end(7, Ending(outcome="done"))
    bridge.said()
    bridge.hear(Ack(invocation=7, seq=2))

    bridge.hear(Rewind(invocation=7, seq=1), Rewind(invocation=99, seq=1))

    chunks, end = bridge.said()
    assert isinstance(chunks, Chunks)
    assert [chunk.payload for chunk in chunks.chunks] == ["one", "two", "three"]
    assert isinstance(end, End)


def test_a_rewind_that_the_disk_can_not_serve_makes_the_run_lost(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.say("one", "two")
    bridge.said()
    bridge.hear(Ack(invocation=7, seq=2))
    (bridge.directory / "journal").write_bytes(b"")

    bridge.hear(Rewind(invocation=7, seq=1))

    assert kinds(bridge.orders()) == [Kill, Disconnect]
    assert bridge.session.connected().runs[0].state == "lost"


def test_a_rewind_from_a_journal_that_is_gone_makes_the_run_lost(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.say("one")
    bridge.said()
    bridge.hear(Ack(invocation=7, seq=1))
    (bridge.directory / "journal").unlink()

    bridge.hear(Rewind(invocation=7, seq=1))

    assert kinds(bridge.orders()) == [Kill, Disconnect]


def test_a_lost_run_says_no_more(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.hear(Rewind(invocation=7, seq=9))
    bridge.orders()

    bridge.say("late")
    bridge.hear(Ack(invocation=7, seq=0), Rewind(invocation=7, seq=1))

    assert bridge.said() == []
    assert bridge.orders() == []


def test_a_cli_is_paused_at_a_full_window_and_goes_on_when_half_is_acked(bridge: Bridge) -> None:
    bridge.connect(limits=HubLimits(unacked_bytes=1_000))
    bridge.start(7)

    bridge.say("x" * 600)
    before = bridge.orders()
    bridge.say("y" * 600, "z" * 100)
    paused = bridge.orders()
    bridge.hear(Ack(invocation=7, seq=1))
    still = bridge.orders()
    bridge.hear(Ack(invocation=7, seq=2))

    assert before == []
    assert paused == [Pause(invocation=7)]
    assert still == []
    assert bridge.orders() == [Resume(invocation=7)]


def test_a_paused_cli_goes_on_when_only_the_welcome_says_that_all_is_safe(bridge: Bridge) -> None:
    bridge.connect(limits=HubLimits(unacked_bytes=1_000))
    bridge.start(7)
    bridge.say("x" * 600, "y" * 600)
    bridge.said()
    paused = bridge.orders()

    bridge.session.disconnected()  # the ack was on its way
    bridge.connect(limits=HubLimits(unacked_bytes=1_000), resume=[ResumeFrom(invocation=7, next_seq=3)])

    assert paused == [Pause(invocation=7)]
    assert bridge.orders() == [Resume(invocation=7)]


def test_runs_take_turns_on_the_wire(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(1, session_key="a")
    bridge.start(2, session_key="b")

    for _ in range(3):
        bridge.say("x" * 20_000, invocation=1)
    bridge.say("short", invocation=2)

    assert [frame.invocation for frame in bridge.said() if isinstance(frame, Chunks)] == [1, 2, 1, 1]


def test_the_window_of_the_connection_holds_back_the_rest(bridge: Bridge) -> None:
    bridge.connect(limits=HubLimits(unacked_bytes=30_000))
    bridge.start(7)
    for _ in range(4):
        bridge.say("x" * 20_000)

    first = bridge.said()
    nothing = bridge.said()
    bridge.hear(Ack(invocation=7, seq=1))

    assert len(first) == 2
    assert nothing == []
    assert len(bridge.said()) == 1


def test_a_disk_that_takes_no_chunks_fails_the_run_and_what_it_said_is_still_sent(
    bridge: Bridge, full_disk: Callable[[], None]
) -> None:
    bridge.connect()
    bridge.start(7)
    full_disk()

    bridge.say("one")
    chunks = bridge.said()
    orders = bridge.orders()
    bridge.session.end(7, Ending(outcome="failed", reason="disk"))
    end = bridge.said()
    bridge.hear(Ack(invocation=7, seq=2))

    assert kinds(chunks) == [Chunks]
    assert kinds(orders) == [Tell, Stop]
    assert isinstance(orders[1], Stop)
    assert (orders[1].outcome, orders[1].reason) == ("failed", "disk")
    assert kinds(end) == [End]
    assert not bridge.session.has_unacked


def test_a_disk_that_takes_no_end_leaves_it_in_memory(bridge: Bridge, full_disk: Callable[[], None]) -> None:
    bridge.connect()
    bridge.start(7)
    full_disk()

    bridge.session.end(7, Ending(outcome="done"))

    assert kinds(bridge.orders()) == [Tell]
    bridge.session.disconnected()
    bridge.connect(resume=[ResumeFrom(invocation=7, next_seq=1)])
    assert kinds(bridge.said()) == [End]


def test_a_journal_that_can_not_be_compacted_is_told_and_goes_on(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.session.end(7, Ending(outcome="done"))
    bridge.said()
    bridge.journal._compact_at = 0
    (bridge.directory / "journal.new").mkdir()

    bridge.hear(Ack(invocation=7, seq=1))

    assert kinds(bridge.orders()) == [Tell]
    assert not bridge.session.has_unacked


# Coming back


def test_hello_lists_what_is_not_acked_and_the_rest_goes_on_from_there(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.say("one", "two")
    bridge.said()

    bridge.session.disconnected()
    bridge.connect(resume=[ResumeFrom(invocation=7, next_seq=2)])

    assert [(run.invocation, run.state, run.last_seq) for run in bridge.hello.runs] == [(7, "running", 2)]
    (chunks,) = bridge.said()
    assert isinstance(chunks, Chunks)
    assert [chunk.payload for chunk in chunks.chunks] == ["two"]


def test_runs_that_the_welcome_does_not_name_are_forgotten_when_over_and_go_on_when_not(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(1, session_key="a")
    bridge.session.end(1, Ending(outcome="done"))
    bridge.start(2, session_key="b")
    bridge.say("one", invocation=2)
    bridge.said()
    bridge.session.disconnected()

    bridge.connect()

    assert list(bridge.journal.runs) == [2]
    (chunks,) = bridge.said()
    assert isinstance(chunks, Chunks)
    assert chunks.invocation == 2


def test_a_run_that_the_welcome_drops_is_killed_and_forgotten(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.session.disconnected()

    bridge.connect(drop=[7])

    assert kinds(bridge.orders()) == [Kill]
    assert not bridge.session.has_unacked


def test_a_run_of_a_killed_bridge_ends_as_interrupted_with_what_it_had_said(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.say("one")
    bridge.said()
    bridge.restart()

    bridge.connect(resume=[ResumeFrom(invocation=7, next_seq=1)])

    assert bridge.hello.runs[0].state == "running"
    chunks, end = bridge.said()
    assert isinstance(chunks, Chunks)
    assert isinstance(end, End)
    assert (end.outcome, end.reason, end.sha256) == ("interrupted", "bridge_restarted", output_digest(["one"]))


def test_a_run_of_which_the_hub_has_more_than_the_journal_is_said_to_be_lost(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.restart()

    bridge.connect(resume=[ResumeFrom(invocation=7, next_seq=5)])
    orders = bridge.orders()
    bridge.session.disconnected()
    bridge.connect()

    assert kinds(orders) == [Disconnect]
    assert bridge.hello.runs[0].state == "lost"
    assert not bridge.session.has_unacked


def test_what_is_said_while_apart_goes_out_on_the_next_connection(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.session.disconnected()

    bridge.say("one")
    bridge.session.end(7, Ending(outcome="done"))
    apart = bridge.said()
    bridge.connect(resume=[ResumeFrom(invocation=7, next_seq=1)])

    assert apart == []
    assert kinds(bridge.said()) == [Chunks, End]


# Cancels, decisions, drops


def test_a_cancel_stops_the_turn_and_is_told_once(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.hear(Cancel(invocation=7, fence=1, reason="!stop"), Cancel(invocation=7, fence=1, reason="!stop"))

    assert bridge.orders() == [Stop(invocation=7, outcome="cancelled", reason="!stop")]


def test_a_cancel_of_an_offer_that_waits_ends_it_for_good(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.hear(prompt_for(8))

    bridge.hear(Cancel(invocation=8, fence=1))
    bridge.session.freed(7, now=1.0)

    accepted, end = bridge.said()
    assert accepted == Accepted(invocation=8, fence=1)
    assert isinstance(end, End)
    assert (end.outcome, end.seq) == ("cancelled", 1)
    assert bridge.orders() == []


def test_a_cancel_of_an_unknown_run_keeps_its_offer_from_starting(bridge: Bridge) -> None:
    bridge.connect()

    bridge.hear(Cancel(invocation=9, fence=3), prompt_for(9, fence=3))

    assert kinds(bridge.said()) == [Accepted, Accepted, End]
    assert bridge.orders() == []


def test_a_cancel_of_what_is_over_changes_nothing(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.session.end(7, Ending(outcome="done"))
    bridge.session.freed(7, now=1.0)
    bridge.said()

    bridge.hear(Cancel(invocation=7, fence=1))

    assert bridge.said() == []
    assert bridge.orders() == []


def test_a_cancel_that_the_disk_does_not_take_is_only_told(bridge: Bridge, full_disk: Callable[[], None]) -> None:
    bridge.connect()
    full_disk()

    bridge.hear(Cancel(invocation=9, fence=1))

    assert bridge.said() == []
    assert kinds(bridge.orders()) == [Tell]


def test_a_decision_reaches_its_live_run_and_no_other(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    decision = Decision(invocation=7, fence=1, permission="p", allow=True, by="alice", note="fine")

    bridge.hear(decision)
    bridge.hear(Decision(invocation=7, fence=2, permission="p", allow=True))
    bridge.hear(Decision(invocation=99, fence=1, permission="p", allow=True))

    assert bridge.orders() == [Decide(invocation=7, permission="p", allow=True, by="alice", note="fine")]


def test_a_drop_kills_and_forgets_and_an_unknown_one_does_nothing(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.hear(Drop(invocation=7, reason="stale_fence"), Drop(invocation=99))

    assert bridge.orders() == [Kill(invocation=7, reason="stale_fence")]
    assert not bridge.session.has_unacked


# Leaving


@pytest.mark.parametrize(("apart_s", "is_final"), [(1.5, True), (31.0, False)])
def test_two_machines_with_one_journal_do_not_take_turns_for_ever(
    bridge: Bridge, apart_s: float, is_final: bool
) -> None:
    for number in range(4):
        bridge.connect()
        bye = Bye(reason="silent", reconnect=True, message="this bridge has said hello on another connection")
        bridge.session.receive(bye, now=number * apart_s)
        (left,) = bridge.orders()
        bridge.session.disconnected()

    assert isinstance(left, Disconnect)
    assert isinstance(left.error, Replaced) is is_final
    assert ("stop one of them" in left.reason) is is_final


@pytest.mark.parametrize(
    ("bye", "error"),
    [
        (Bye(reason="replaced", reconnect=False), Replaced),
        (Bye(reason="revoked", reconnect=False, message="by bob"), CredentialsRefused),
        (Bye(reason="upgrade_required", reconnect=False), UpgradeRequired),
        (Bye(reason="protocol_error", reconnect=False), SentAway),
    ],
)
def test_a_bye_for_good_kills_every_run(bridge: Bridge, bye: Bye, error: type[Exception]) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.hear(bye)

    kill, leave = bridge.orders()
    assert isinstance(kill, Kill)
    assert isinstance(leave, Disconnect)
    assert isinstance(leave.error, error)


def test_a_bye_with_a_way_back_only_disconnects(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.hear(Bye(reason="slow", reconnect=True))

    assert bridge.orders() == [Disconnect(reason="the hub said bye (slow)")]


def test_stopping_ends_live_turns_as_interrupted(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.session.stop_runs(reason="bridge_stopped", message="Alice closed her laptop.")

    assert bridge.orders() == [
        Stop(invocation=7, outcome="interrupted", reason="bridge_stopped", message="Alice closed her laptop.")
    ]


# Small talk


def test_heartbeats_carry_the_load(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)
    bridge.say("x" * 36)

    load = bridge.session.load(sessions=1, memory_mib=30)
    bridge.session.heartbeat(at=5.0, load=load)
    bridge.hear(Heartbeat(at=5.0))

    assert load == Load(running=1, sessions=1, unacked_bytes=100, memory_mib=30)
    assert Heartbeat(at=5.0, load=load) in bridge.said()


def test_an_error_of_the_hub_is_told_and_not_answered(bridge: Bridge) -> None:
    bridge.connect()

    bridge.hear(Error(code="rate_limited", about="heartbeat", message="slower"))

    assert bridge.said() == []
    assert bridge.orders() == [Tell(text="the hub did not take a frame (heartbeat): rate_limited slower")]


def test_what_is_no_frame_is_answered_until_there_is_too_much_of_it(bridge: Bridge) -> None:
    bridge.connect()
    error = Error(code="bad_json", message="no")

    for _ in range(MAX_BAD_FRAMES + 1):
        bridge.session.not_understood(error)

    assert bridge.said() == [error] * MAX_BAD_FRAMES
    assert kinds(bridge.orders()) == [Disconnect]


def test_a_newer_form_of_a_waiting_offer_takes_its_place(bridge: Bridge) -> None:
    bridge.connect()
    bridge.start(7)

    bridge.hear(prompt_for(8), prompt_for(8, fence=2))
    bridge.session.freed(7, now=1.0)

    (start,) = bridge.orders()
    assert isinstance(start, Start)
    assert isinstance(start.prompt, Prompt)
    assert start.prompt.fence == 2
