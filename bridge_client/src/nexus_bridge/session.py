"""The bridge's side of the conversation with its hub, over any number of connections, without sockets or clocks.

Feed it what the hub sent (`receive`), what a turn gave (`spool`, `end`, `freed`) and what became of the connection
(`connected`, `disconnected`); after each, take what to send (`frames`) and what to do (`orders`). `frames` writes the
journal first: nothing leaves that a restart could not repeat.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

from nexus_bridge.errors import CredentialsRefused, FinalError, JournalWriteError, Replaced, SentAway, UpgradeRequired
from nexus_bridge.journal import Journal
from nexus_bridge.lanes import Lanes
from nexus_bridge.orders import (
    Decide,
    Disconnect,
    Ending,
    Kill,
    Order,
    Pause,
    Refusal,
    Resume,
    Start,
    Stop,
    Tell,
)
from nexus_bridge.outbox import Outbox
from nexus_bridge.protocol import (
    VERSIONS,
    Accepted,
    Ack,
    AgentOffer,
    Bye,
    Cancel,
    ChunkKind,
    Decision,
    Drop,
    End,
    Error,
    Frame,
    FromHub,
    Heartbeat,
    Hello,
    HubLimits,
    Load,
    Prompt,
    Refused,
    Rewind,
    Welcome,
)
from nexus_bridge.spool import Run

MAX_OPEN_RUNS: Final = 1_024
"""What fits into one `hello`. An offer beyond it goes unanswered."""

MAX_BAD_FRAMES: Final = 20
"""Frames of one connection that may be unreadable before it is closed."""

Gate = Callable[[Prompt], Refusal | None]
"""The owner's policy: why this prompt is not taken, or None."""


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
    ) -> None:
        self._journal = journal
        self._agents = list(agents)
        self._gate = gate
        self._client_version = client_version
        self._capabilities = list(capabilities)
        self._lanes = Lanes(parallel={agent.slug: agent.parallel for agent in agents})
        self.limits = HubLimits()
        self._phase: Literal["apart", "greeting", "ready"] = "apart"
        self._control: list[Frame] = []
        self._orders: list[Order] = []
        self._outbox = Outbox(window_bytes=self.limits.unacked_bytes)
        self._paused: set[int] = set()
        self._bad_frame_count = 0
        self._is_stopping = False
        self.id = ""

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
        self._control.clear()
        self._outbox.clear()
        self._lanes.forget_all()
        self._bad_frame_count = 0
        for run in self._journal.runs.values():
            run.unsend()

    @property
    def is_ready(self) -> bool:
        """The hub has said welcome on this connection."""
        return self._phase == "ready"

    @property
    def live_count(self) -> int:
        return len(self._lanes.alive)

    @property
    def has_unacked(self) -> bool:
        """Something is journalled that the hub has not acked."""
        return bool(self._journal.runs)

    def is_alive(self, invocation: int) -> bool:
        return invocation in self._lanes.alive

    def is_paused(self, invocation: int) -> bool:
        return invocation in self._paused

    def load(self, *, sessions: int = 0, memory_mib: int = 0) -> Load:
        return Load(
            running=len(self._lanes.alive),
            sessions=sessions,
            unacked_bytes=sum(run.unacked_bytes for run in self._journal.runs.values()),
            memory_mib=memory_mib,
        )

    def heartbeat(self, *, at: float, load: Load) -> None:
        if self._phase == "ready":
            self._control.append(Heartbeat(at=at, load=load))

    # What the shell takes

    def frames(self) -> list[Frame]:
        """What to send now, in order. Call again after the next input; the window decides how much comes."""
        self._write_journal()
        if self._phase != "ready":
            return []
        out, self._control = self._control, []
        out.extend(self._outbox.frames())
        return out

    def orders(self) -> list[Order]:
        out, self._orders = self._orders, []
        return out

    # What the hub says

    def receive(self, frame: FromHub, *, now: float) -> None:
        match frame:
            case Bye():
                self._bye(frame)
            case Error():
                self._tell(f"the hub did not take a frame ({frame.about}): {frame.code} {frame.message}".rstrip())
            case Heartbeat():
                pass  # the shell has noted that something came
            case Welcome():
                self._greeted(frame, now=now)
            case _ if self._phase == "ready":
                self._receive_ready(frame, now=now)
            case _:
                self._orders.append(Disconnect(reason="the hub spoke before its welcome"))

    def _receive_ready(self, frame: Prompt | Ack | Rewind | Cancel | Decision | Drop, *, now: float) -> None:
        match frame:
            case Prompt():
                self._offer(frame, now=now)
            case Ack():
                self._ack(frame, now=now)
            case Rewind():
                self._rewind(frame)
            case Cancel():
                self._cancel(frame, now=now)
            case Decision():
                self._decision(frame)
            case Drop():
                self._lanes.forget(frame.invocation)
                self._drop(frame.invocation, reason=frame.reason, now=now)

    def not_understood(self, error: Error) -> None:
        """The hub sent what is no frame."""
        self._bad_frame_count += 1
        if self._bad_frame_count > MAX_BAD_FRAMES:
            self._orders.append(Disconnect(reason="the hub sends what this bridge can't read"))
        elif self._phase == "ready":
            self._control.append(error)

    # What a turn gives

    def spool(self, invocation: int, chunks: Iterable[tuple[ChunkKind, str]]) -> None:
        """Kinds and payloads, each payload below a third of a frame. Ignored for a run that is over."""
        run = self._live_run(invocation)
        if run is None:
            return
        for kind, payload in chunks:
            self._journal.append(run, kind=kind, payload=payload)
        self._push(run)
        if run.unacked_bytes >= self.limits.unacked_bytes and invocation not in self._paused:
            self._paused.add(invocation)
            self._orders.append(Pause(invocation=invocation))

    def end(self, invocation: int, ending: Ending) -> None:
        """The turn's last word. Ignored for a run that is over."""
        run = self._live_run(invocation)
        if run is not None:
            self._finish_output(run, ending)

    def freed(self, invocation: int, *, now: float) -> None:
        """Nothing of the turn runs any more; its lane is free."""
        self._lanes.free(invocation)
        self._paused.discard(invocation)
        self._start_waiting(now=now)

    def remember_cli_session(self, *, invocation: int, id: str, now: float) -> None:  # noqa: A002 - the CLI's word
        if (lane := self._lanes.alive.get(invocation)) is not None:
            self._journal.remember_cli_session(agent=lane[0], session_key=lane[1], id=id, now=now)

    def stop_taking(self) -> None:
        """Offers from now on go unanswered; the hub gives them to whoever comes next."""
        self._is_stopping = True
        self._lanes.forget_all()

    def stop_runs(self, *, reason: str, message: str) -> None:
        """End every live turn as interrupted."""
        for invocation in self._lanes.alive:
            self._orders.append(Stop(invocation=invocation, outcome="interrupted", reason=reason, message=message))

    # Offers

    def _offer(self, offer: Prompt, *, now: float) -> None:
        if self._is_answered_from_journal(offer) or self._is_stopping:
            return
        if (refusal := self._refusal(offer)) is not None:
            self._journal.refuse(
                invocation=offer.invocation,
                fence=offer.fence,
                reason=refusal.reason,
                message=refusal.message,
                now=now,
            )
            self._refuse(offer, reason=refusal.reason, message=refusal.message)
        elif self._lanes.wait(offer):
            self._start_waiting(now=now)
        else:
            self._tell("too many prompts are waiting; the hub will offer this one again")

    def _is_answered_from_journal(self, offer: Prompt) -> bool:
        """An id seen before is never started again, whatever the hub says."""
        run = self._journal.runs.get(offer.invocation)
        if run is not None and run.fence == offer.fence:
            self._control.append(Accepted(invocation=run.invocation, fence=run.fence))
        elif run is not None:
            self._kill(run.invocation, reason="the hub offers it anew")
            self._refuse(offer, reason="already_started", message="This bridge has already started that prompt.")
        elif (seen := self._journal.seen(offer.invocation)) is not None:
            message = seen.message or "This bridge has already run that prompt."
            self._refuse(offer, reason=seen.reason or "already_run", message=message)
        else:
            return False
        return True

    def _refusal(self, offer: Prompt) -> Refusal | None:
        if all(agent.slug != offer.agent for agent in self._agents):
            return Refusal(
                reason="unknown_agent",
                message=f"The bridge has no agent {offer.agent} in its configuration.",
            )
        return self._gate(offer)

    def _refuse(self, offer: Prompt, *, reason: str, message: str) -> None:
        self._control.append(Refused(invocation=offer.invocation, fence=offer.fence, reason=reason, message=message))

    def _start_waiting(self, *, now: float) -> None:
        while len(self._journal.runs) < MAX_OPEN_RUNS and (offer := self._lanes.next()) is not None:
            if self._accept(offer, now=now) is not None:
                self._lanes.take(offer)
                known = self._journal.cli_session(agent=offer.agent, session_key=offer.session_key)
                self._orders.append(Start(prompt=offer, cli_session=known))

    def _accept(self, offer: Prompt, *, now: float) -> Run | None:
        try:
            run = self._journal.accept(
                invocation=offer.invocation,
                fence=offer.fence,
                agent=offer.agent,
                session_key=offer.session_key,
                now=now,
            )
        except JournalWriteError as error:
            self._disk_failed(error)
            self._refuse(offer, reason="disk", message="The bridge can't write its journal; its disk may be full.")
            return None
        self._control.append(Accepted(invocation=run.invocation, fence=run.fence))
        return run

    # Output

    def _live_run(self, invocation: int) -> Run | None:
        run = self._journal.runs.get(invocation)
        return run if run is not None and run.ending is None and not run.is_lost else None

    def _push(self, run: Run) -> None:
        if self._phase == "ready":
            self._outbox.push(run)

    def _finish_output(self, run: Run, ending: Ending) -> None:
        frame = End(
            invocation=run.invocation,
            fence=run.fence,
            seq=run.last_seq + 1,
            outcome=ending.outcome,
            sha256=run.sha256,
            reason=ending.reason,
            message=ending.message,
            exit_code=ending.exit_code,
            usage=ending.usage,
        )
        try:
            self._journal.end(run, ending=frame)
        except JournalWriteError as error:
            self._disk_failed(error)
        self._push(run)

    def _ack(self, ack: Ack, *, now: float) -> None:
        run = self._journal.runs.get(ack.invocation)
        if run is None:
            return
        if not self._outbox.ack(run, seq=ack.seq):
            self._control.append(Error(code="bad_field", about="ack", message=f"no seq {ack.seq} was sent"))
        elif run.is_all_acked:
            self._forget(run, now=now)
        else:
            self._journal.acked(run)
            self._outbox.push(run)
            self._maybe_resume(run)

    def _maybe_resume(self, run: Run) -> None:
        if run.invocation in self._paused and run.unacked_bytes < self.limits.unacked_bytes // 2:
            self._paused.discard(run.invocation)
            self._orders.append(Resume(invocation=run.invocation))

    def _rewind(self, rewind: Rewind) -> None:
        run = self._journal.runs.get(rewind.invocation)
        if run is not None:
            self._send_from(run, seq=rewind.seq)

    def _send_from(self, run: Run, *, seq: int) -> None:
        """Everything before `seq` is safe on the hub's side, nothing from there on is."""
        if run.is_lost:
            return
        if seq > run.final_seq + 1:
            self._lose(run, reason=f"the hub has more of run {run.invocation} than this bridge's journal")
            return
        older = (
            list(self._journal.chunks(invocation=run.invocation, first=seq, last=run.acked_seq))
            if seq <= run.acked_seq
            else []
        )
        wanted = min(run.acked_seq, run.last_seq) - seq + 1
        if len(older) != max(0, wanted):
            self._lose(run, reason=f"chunks of run {run.invocation} can't be read back from the journal")
            return
        self._outbox.ack(run, seq=seq - 1)
        self._outbox.go_back(run, seq=seq, older=older)

    def _lose(self, run: Run, *, reason: str) -> None:
        """What can't be sent again is said plainly: in the next `hello`."""
        self._journal.lose(run)
        self._kill(run.invocation, reason="its output is lost")
        self._orders.append(Disconnect(reason=reason))

    def _forget(self, run: Run, *, now: float) -> None:
        self._outbox.forget(run)
        self._journal.finish(run.invocation, now=now)
        self._paused.discard(run.invocation)
        try:
            self._journal.tidy(now=now)
        except JournalWriteError as error:
            self._disk_failed(error)

    # Orders of the hub

    def _greeted(self, welcome: Welcome, *, now: float) -> None:
        if self._phase != "greeting":
            self._control.append(Error(code="protocol_error", about="welcome", message="one welcome is enough"))
        elif welcome.version not in VERSIONS:
            self._leave(UpgradeRequired(f"the hub speaks protocol {welcome.version}; upgrade nexus-bridge"))
        else:
            self._welcome(welcome, now=now)

    def _welcome(self, welcome: Welcome, *, now: float) -> None:
        self._phase = "ready"
        self.id = welcome.session
        self.limits = welcome.limits
        self._outbox.window_bytes = welcome.limits.unacked_bytes
        next_seqs = {resume.invocation: resume.next_seq for resume in welcome.resume}
        for run in list(self._journal.runs.values()):
            if run.invocation in welcome.drop:
                self._drop(run.invocation, reason="the hub has ended it", now=now)
            elif run.invocation in next_seqs:
                self._send_from(run, seq=next_seqs[run.invocation])
            elif run.state in ("ended", "lost"):
                self._forget(run, now=now)
            else:
                self._send_from(run, seq=run.acked_seq + 1)
        self._end_orphans()

    def _end_orphans(self) -> None:
        """Runs of a bridge that was killed: what was spooled stands, and the hub has no more of it than that."""
        for run in list(self._journal.runs.values()):
            if run.invocation not in self._lanes.alive and self._live_run(run.invocation) is not None:
                message = "The bridge was restarted while this ran."
                self._finish_output(run, Ending(outcome="interrupted", reason="bridge_restarted", message=message))

    def _cancel(self, cancel: Cancel, *, now: float) -> None:
        invocation = cancel.invocation
        if invocation in self._lanes.alive:
            self._orders.append(Stop(invocation=invocation, outcome="cancelled", reason=cancel.reason or "cancelled"))
        elif invocation not in self._journal.runs and self._journal.seen(invocation) is None:
            self._cancel_unstarted(cancel, offer=self._lanes.forget(invocation), now=now)

    def _cancel_unstarted(self, cancel: Cancel, *, offer: Prompt | None, now: float) -> None:
        """Taken and ended in one go, so that a late copy of the offer finds its answer in the journal."""
        try:
            run = self._journal.accept(
                invocation=cancel.invocation,
                fence=cancel.fence,
                agent=offer.agent if offer else "",
                session_key=offer.session_key if offer else "",
                now=now,
            )
        except JournalWriteError as error:
            self._disk_failed(error)
            return
        self._control.append(Accepted(invocation=run.invocation, fence=run.fence))
        message = "It was stopped before it began."
        self._finish_output(run, Ending(outcome="cancelled", reason=cancel.reason or "cancelled", message=message))

    def _decision(self, decision: Decision) -> None:
        run = self._journal.runs.get(decision.invocation)
        if run is not None and run.fence == decision.fence and decision.invocation in self._lanes.alive:
            self._orders.append(
                Decide(
                    invocation=decision.invocation,
                    permission=decision.permission,
                    allow=decision.allow,
                    by=decision.by,
                    note=decision.note,
                )
            )

    def _drop(self, invocation: int, *, reason: str, now: float) -> None:
        self._kill(invocation, reason=reason or "the hub dropped it")
        if (run := self._journal.runs.get(invocation)) is not None:
            self._forget(run, now=now)

    def _kill(self, invocation: int, *, reason: str) -> None:
        if invocation in self._lanes.alive:
            self._orders.append(Kill(invocation=invocation, reason=reason))

    def _bye(self, bye: Bye) -> None:
        said = f": {bye.message}" if bye.message else ""
        match bye.reason:
            case "replaced":
                self._leave(Replaced(f"another bridge connected with the same bridge token{said}"))
            case "revoked":
                self._leave(CredentialsRefused(f"the bridge token was revoked; ask for a new one{said}"))
            case "upgrade_required":
                self._leave(UpgradeRequired(f"the hub needs another version of nexus-bridge{said}"))
            case _ if not bye.reconnect:
                self._leave(SentAway(f"the hub sent this bridge away ({bye.reason}){said}"))
            case _:
                self._orders.append(Disconnect(reason=f"the hub said bye ({bye.reason}){said}"))

    def _leave(self, error: FinalError) -> None:
        """For good: whoever comes next may start what this bridge must not go on with."""
        for invocation in self._lanes.alive:
            self._kill(invocation, reason=str(error))
        self._orders.append(Disconnect(reason=str(error), error=error))

    # The disk

    def _write_journal(self) -> None:
        try:
            self._journal.flush()
        except JournalWriteError as error:
            self._disk_failed(error)

    def _disk_failed(self, error: JournalWriteError) -> None:
        """Runs whose chunks did not reach the disk end; what they said is still sent from memory."""
        self._tell(str(error))
        for run in self._journal.unwritten():
            if run.ending is None and run.invocation in self._lanes.alive:
                message = "The bridge's disk took no more of its output."
                self._orders.append(Stop(invocation=run.invocation, outcome="failed", reason="disk", message=message))

    def _tell(self, text: str) -> None:
        self._orders.append(Tell(text=text))
