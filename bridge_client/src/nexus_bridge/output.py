"""A run's output between its turn and the hub: spooled, sent in a window, acked, rewound, lost, forgotten."""

from collections.abc import Callable, Iterable
from typing import Final

from nexus_bridge.errors import JournalError, JournalWriteError
from nexus_bridge.journal import Journal
from nexus_bridge.lanes import Lanes
from nexus_bridge.orders import Disconnect, Ending, Kill, Pause, Resume, Stop
from nexus_bridge.outbox import Outbox
from nexus_bridge.post import Post
from nexus_bridge.protocol import Ack, Chunk, ChunkKind, End, Error, Frame, HubLimits
from nexus_bridge.spool import Run

WINDOW_BYTES: Final = 256 * 1024
"""Unacked bytes of one run beyond which its CLI is not read, and of one connection beyond which nothing is sent."""

LEAST_HEARTBEAT_S: Final = 0.01

OnAck = Callable[[int, int], None]
"""Invocation and highest acked seq."""


class Output:
    """`is_open` says whether the hub may be sent to; `limits` are the hub's."""

    def __init__(
        self, *, journal: Journal, lanes: Lanes, post: Post, max_frame_chunks: int, on_ack: OnAck | None
    ) -> None:
        self.limits = HubLimits()
        self._journal = journal
        self._lanes = lanes
        self._post = post
        self._outbox = Outbox(window_bytes=self.limits.unacked_bytes, max_frame_chunks=max_frame_chunks)
        self._on_ack = on_ack
        self._is_open = False
        self._paused: set[int] = set()

    def open(self, *, limits: HubLimits) -> None:
        """The hub can only be stricter than this bridge's own bounds, and not so strict that nothing moves."""
        self.limits = HubLimits(
            heartbeat_s=max(limits.heartbeat_s, LEAST_HEARTBEAT_S),
            peer_dead_s=max(limits.peer_dead_s, 2 * LEAST_HEARTBEAT_S),
            frame_bytes=limits.frame_bytes,
            unacked_bytes=min(max(limits.unacked_bytes, 1), WINDOW_BYTES),
        )
        self._outbox.window_bytes = self.limits.unacked_bytes
        self._is_open = True

    def close(self) -> None:
        """The connection is gone: what was sent and not acked is to be sent again."""
        self._is_open = False
        self._outbox.clear()
        for run in self._journal.runs.values():
            run.unsend()

    def frames(self) -> list[Frame]:
        return self._outbox.frames()

    # What a turn gives

    def spool(self, invocation: int, chunks: Iterable[tuple[ChunkKind, str]]) -> None:
        run = self.unfinished(invocation)
        if run is None:
            return
        for kind, payload in chunks:
            self._journal.append(run, kind=kind, payload=payload)
        self._push(run)
        if run.unacked_bytes >= self.limits.unacked_bytes and invocation not in self._paused:
            self._paused.add(invocation)
            self._post.order(Pause(invocation=invocation))

    def end(self, run: Run, ending: Ending) -> None:
        frame = End(
            invocation=run.invocation,
            fence=run.fence,
            seq=run.last_seq + 1,
            outcome=ending.outcome,
            sha256=run.sha256,
            reason=ending.reason[:200],
            message=ending.message[:2_000],
            exit_code=ending.exit_code,
            usage=ending.usage,
        )
        try:
            self._journal.end(run, ending=frame)
        except JournalWriteError as error:
            self.disk_failed(error)
        self._push(run)

    def freed(self, invocation: int) -> None:
        self._paused.discard(invocation)

    def unfinished(self, invocation: int) -> Run | None:
        """The run, if it may still say something."""
        run = self._journal.runs.get(invocation)
        return run if run is not None and run.ending is None and not run.is_lost else None

    # What the hub says of it

    def ack(self, ack: Ack, *, now: float) -> None:
        run = self._journal.runs.get(ack.invocation)
        if run is None or run.is_lost:
            return
        if not self._outbox.ack(run, seq=ack.seq):
            self._post.send(Error(code="bad_field", about="ack", message=f"no seq {ack.seq} was ever given"))
        elif run.is_all_acked:
            self.forget(run, now=now)
        else:
            self._journal.acked(run)
            self._outbox.push(run)
            self._resume_below_half(run)
            if self._on_ack is not None:
                self._on_ack(run.invocation, run.acked_seq)

    def send_from(self, run: Run, *, seq: int) -> None:
        """Everything before `seq` is safe on the hub's side, nothing from there on is."""
        if run.is_lost:
            return
        if seq > run.final_seq + 1:
            self.lose(run, reason=f"the hub has more of run {run.invocation} than this bridge's journal")
        elif (older := self._older_chunks(run, first=seq)) is None:
            self.lose(run, reason=f"chunks of run {run.invocation} can't be read back from the journal")
        else:
            self._outbox.ack(run, seq=seq - 1)
            self._outbox.go_back(run, seq=seq, older=older)
            # The ack that would have said so may have been lost with the connection before.
            self._resume_below_half(run)

    def lose(self, run: Run, *, reason: str) -> None:
        """What can't be sent again is said plainly: in the `hello` of the next connection."""
        self._journal.lose(run)
        self._outbox.forget(run)
        self.kill(run.invocation, reason="its output is lost")
        self._post.order(Disconnect(reason=reason))

    def kill(self, invocation: int, *, reason: str) -> None:
        if invocation in self._lanes.alive:
            self._post.order(Kill(invocation=invocation, reason=reason))

    def forget(self, run: Run, *, now: float) -> None:
        """Nothing of it is left to tell; its id stays known."""
        self._outbox.forget(run)
        self._journal.finish(run.invocation, now=now)
        try:
            self._journal.tidy(now=now)
        except JournalWriteError as error:
            self.disk_failed(error)

    # The disk

    def write_journal(self) -> None:
        try:
            self._journal.flush()
        except JournalWriteError as error:
            self.disk_failed(error)

    def disk_failed(self, error: JournalWriteError) -> None:
        """Runs whose chunks did not reach the disk end; what they said is still sent from memory."""
        self._post.tell(str(error))
        for run in self._journal.unwritten():
            if run.ending is None and run.invocation in self._lanes.alive:
                message = "The bridge's disk took no more of its output."
                self._post.order(Stop(invocation=run.invocation, outcome="failed", reason="disk", message=message))

    def _push(self, run: Run) -> None:
        if self._is_open:
            self._outbox.push(run)

    def _resume_below_half(self, run: Run) -> None:
        if run.invocation in self._paused and run.unacked_bytes < self.limits.unacked_bytes // 2:
            self._paused.discard(run.invocation)
            self._post.order(Resume(invocation=run.invocation))

    def _older_chunks(self, run: Run, *, first: int) -> list[Chunk] | None:
        """Acked chunks from `first` on, which only the disk still has; None if it has not all of them."""
        last = min(run.acked_seq, run.last_seq)
        if first > last:
            return []
        self.write_journal()
        try:
            older = list(self._journal.chunks(invocation=run.invocation, first=first, last=last))
        except (JournalError, OSError):
            return None
        return older if [chunk.seq for chunk in older] == list(range(first, last + 1)) else None
