"""The bridge's side of the conversation with its hub, over any number of connections, without sockets or clocks.

Feed it what the hub sent (`receive`), what a turn gave (`spool`, `end`, `freed`) and what became of the connection
(`connected`, `disconnected`); after each, take what to send (`frames`) and what to do (`orders`). `frames` writes the
journal first: nothing leaves that a restart could not repeat.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from nexus_bridge import rival
from nexus_bridge.errors import CredentialsRefused, FinalError, Replaced, SentAway, UpgradeRequired
from nexus_bridge.journal import Journal
from nexus_bridge.lanes import Lanes
from nexus_bridge.offers import MAX_OPEN_RUNS, Gate, Offers
from nexus_bridge.orders import Add, Decide, Disconnect, Ending, Order, Stop
from nexus_bridge.output import OnAck, Output
from nexus_bridge.post import Post
from nexus_bridge.protocol import (
    POLICY_SINCE,
    VERSIONS,
    Ack,
    AgentOffer,
    Bye,
    Cancel,
    ChunkKind,
    Decision,
    Drop,
    Error,
    Frame,
    FromHub,
    Heartbeat,
    Hello,
    HubLimits,
    Load,
    Policy,
    Prompt,
    Rewind,
    Steer,
    Welcome,
)
from nexus_bridge.spool import MAX_FRAME_CHUNKS

MAX_BAD_FRAMES: Final = 20
"""Frames of one connection that may be unreadable before it is closed."""


class Session:
    """One for the life of the bridge."""

    def __init__(
        self,
        *,
        journal: Journal,
        agents: Sequence[AgentOffer],
        gate: Gate,
        client_version: str,
        capabilities: Sequence[str] = (),
        policies: Sequence[Policy] = (),
        max_frame_chunks: int = MAX_FRAME_CHUNKS,
        on_ack: OnAck | None = None,
    ) -> None:
        """`max_frame_chunks` and `on_ack` (called while a run goes on) are for measuring."""
        self._journal = journal
        self._agents = list(agents)
        self._client_version = client_version
        self._capabilities = list(capabilities)
        self._policies = list(policies)
        self._post = Post()
        self._lanes = Lanes(parallel={agent.slug: agent.parallel for agent in agents})
        self._output = Output(
            journal=journal, lanes=self._lanes, post=self._post, max_frame_chunks=max_frame_chunks, on_ack=on_ack
        )
        self._offers = Offers(
            journal=journal, agents=agents, gate=gate, lanes=self._lanes, output=self._output, post=self._post
        )
        self._phase: Literal["apart", "greeting", "ready"] = "apart"
        self._bad_frame_count = 0
        self._rival = rival.Rival()
        self.id = ""
        self.hub_version = ""

    # The connection

    def connected(self) -> Hello:
        """A new connection stands; the returned frame is the first to send on it."""
        self._phase = "greeting"
        runs = list(self._journal.runs.values())[:MAX_OPEN_RUNS]
        return Hello(
            versions=list(VERSIONS),
            client_version=self._client_version,
            agents=self._agents,
            journal=self._journal.id,
            runs=[run.as_open() for run in runs],
            capabilities=self._capabilities,
        )

    def disconnected(self) -> None:
        """What came over the old connection is settled. Offers that only waited are the hub's again."""
        self._phase = "apart"
        self._bad_frame_count = 0
        self._post.unsend()
        self._output.close()
        self._lanes.forget_all()

    @property
    def limits(self) -> HubLimits:
        return self._output.limits

    @property
    def is_ready(self) -> bool:
        """The hub has said welcome on this connection."""
        return self._phase == "ready"

    @property
    def live_count(self) -> int:
        """Turns that run or are being killed."""
        return len(self._lanes.alive)

    @property
    def has_unacked(self) -> bool:
        """Something is journalled that the hub has not acked."""
        return bool(self._journal.runs)

    def load(self, *, sessions: int, memory_mib: int) -> Load:
        return Load(
            running=len(self._lanes.alive),
            sessions=sessions,
            unacked_bytes=sum(run.unacked_bytes for run in self._journal.runs.values()),
            memory_mib=memory_mib,
        )

    def heartbeat(self, *, at: float, load: Load) -> None:
        if self._phase == "ready":
            self._post.send(Heartbeat(at=at, load=load))

    # What the shell takes

    def frames(self) -> list[Frame]:
        """What to send now, in order. Call again after the next input; the window decides how much comes."""
        self._output.write_journal()
        if self._phase != "ready":
            return []
        return [*self._post.take_frames(), *self._output.frames()]

    def orders(self) -> list[Order]:
        return self._post.take_orders()

    # What the hub says

    def receive(self, frame: FromHub, *, now: float) -> None:
        match frame:
            case Bye():
                self._bye(frame, now=now)
            case Error():
                self._post.tell(f"the hub did not take a frame ({frame.about}): {frame.code} {frame.message}".rstrip())
            case Heartbeat():
                pass  # the shell has noted that something came
            case Welcome():
                self._greeted(frame, now=now)
            case _ if self._phase == "ready":
                self._receive_ready(frame, now=now)
            case _:
                self._post.order(Disconnect(reason="the hub spoke before its welcome"))

    def _receive_ready(self, frame: Prompt | Ack | Rewind | Cancel | Decision | Steer | Drop, *, now: float) -> None:
        match frame:
            case Prompt():
                self._offers.take(frame, now=now)
            case Ack():
                self._output.ack(frame, now=now)
            case Rewind():
                if (run := self._journal.runs.get(frame.invocation)) is not None:
                    self._output.send_from(run, seq=frame.seq)
            case Cancel():
                self._offers.cancel(frame, now=now)
            case Decision():
                self._decide(frame)
            case Steer():
                self._steer(frame)
            case _:
                self._drop(frame.invocation, reason=frame.reason, now=now)

    def not_understood(self, error: Error) -> None:
        """The hub sent what is no frame."""
        self._bad_frame_count += 1
        if self._bad_frame_count > MAX_BAD_FRAMES:
            self._post.order(Disconnect(reason="the hub sends what this bridge can't read"))
        else:
            self._post.send(error)

    # What a turn gives

    def spool(self, invocation: int, chunks: Iterable[tuple[ChunkKind, str]]) -> None:
        """Kinds and payloads, each small enough for a frame. Ignored for a run that is over."""
        self._output.spool(invocation, chunks)

    def end(self, invocation: int, ending: Ending) -> None:
        """The turn's last word. Ignored for a run that is over."""
        if (run := self._output.unfinished(invocation)) is not None:
            self._output.end(run, ending)

    def freed(self, invocation: int, *, now: float) -> None:
        """Nothing of the turn runs any more; its lane is free."""
        self._output.freed(invocation)
        self._offers.freed(invocation, now=now)

    def remember_cli_session(self, *, invocation: int, id: str, now: float) -> None:  # noqa: A002 - the CLI's word
        if (lane := self._lanes.alive.get(invocation)) is not None:
            self._journal.remember_cli_session(agent=lane[0], session_key=lane[1], id=id, now=now)

    def stop_taking(self) -> None:
        """Offers from now on go unanswered."""
        self._offers.close()

    def stop_runs(self, *, reason: str, message: str) -> None:
        """End every live turn as interrupted."""
        for invocation in self._lanes.alive:
            self._post.order(Stop(invocation=invocation, outcome="interrupted", reason=reason, message=message))

    # Greeting and leaving

    def _greeted(self, welcome: Welcome, *, now: float) -> None:
        if self._phase != "greeting":
            self._post.send(Error(code="protocol_error", about="welcome", message="one welcome is enough"))
        elif welcome.version not in VERSIONS:
            self._leave(UpgradeRequired(f"the hub speaks protocol {welcome.version}; upgrade nexus-bridge"))
        else:
            self._phase = "ready"
            self.id = welcome.session
            self.hub_version = welcome.hub_version
            self._output.open(limits=welcome.limits)
            for policy in self._policies if welcome.version >= POLICY_SINCE else ():
                self._post.send(policy)
            self._settle_runs(welcome, now=now)
            self._end_orphans()

    def _settle_runs(self, welcome: Welcome, *, now: float) -> None:
        next_seqs = {resume.invocation: resume.next_seq for resume in welcome.resume}
        for run in list(self._journal.runs.values()):
            if run.invocation in welcome.drop:
                self._drop(run.invocation, reason="the hub has ended it", now=now)
            elif run.invocation in next_seqs:
                self._output.send_from(run, seq=next_seqs[run.invocation])
            elif run.state in {"ended", "lost"}:
                self._output.forget(run, now=now)
            else:
                self._output.send_from(run, seq=run.acked_seq + 1)

    def _end_orphans(self) -> None:
        """Runs of a bridge that was killed. Only now is it sure that the hub has no more of them than the journal."""
        for invocation in list(self._journal.runs):
            run = self._output.unfinished(invocation)
            if run is not None and invocation not in self._lanes.alive:
                message = "The bridge was restarted while this ran."
                self._output.end(run, Ending(outcome="interrupted", reason="bridge_restarted", message=message))

    def _bye(self, bye: Bye, *, now: float) -> None:
        said = f": {bye.message}" if bye.message else ""
        match bye.reason:
            case "replaced":
                self._leave(Replaced(f"another bridge connected with the same bridge token{said}"))
            case "revoked":
                self._leave(CredentialsRefused(f"the bridge token was revoked; ask for a new one{said}"))
            case "upgrade_required":
                self._leave(UpgradeRequired(f"the hub needs another version of nexus-bridge{said}"))
            case "silent" if self._rival.overtakes(now=now):
                self._leave(rival.error())
            case _ if not bye.reconnect:
                self._leave(SentAway(f"the hub sent this bridge away ({bye.reason}){said}"))
            case _:
                self._post.order(Disconnect(reason=f"the hub said bye ({bye.reason}){said}"))

    def _leave(self, error: FinalError) -> None:
        """For good: whoever comes next must not meet turns of ours still running."""
        for invocation in self._lanes.alive:
            self._output.kill(invocation, reason=str(error))
        self._post.order(Disconnect(reason=str(error), error=error))

    # Single runs

    def _decide(self, decision: Decision) -> None:
        if self._is_alive(decision):
            asked, allow = decision.permission, decision.allow
            self._post.order(Decide(decision.invocation, asked, allow, by=decision.by, note=decision.note))

    def _steer(self, steer: Steer) -> None:
        if self._is_alive(steer):
            self._post.order(Add(invocation=steer.invocation, id=steer.id, text=steer.text, by=steer.by))

    def _is_alive(self, about: Decision | Steer) -> bool:
        run = self._output.unfinished(about.invocation)
        return run is not None and run.fence == about.fence and about.invocation in self._lanes.alive

    def _drop(self, invocation: int, *, reason: str, now: float) -> None:
        self._lanes.forget(invocation)
        self._output.kill(invocation, reason=reason or "the hub dropped it")
        if (run := self._journal.runs.get(invocation)) is not None:
            self._output.forget(run, now=now)
