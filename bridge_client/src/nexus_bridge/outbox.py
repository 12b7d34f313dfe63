"""What of all runs' output goes over the connection next: in seq order per run, in turns between runs, in a window."""

from collections.abc import Sequence
from typing import Final

from nexus_bridge.protocol import MAX_CHUNKS_BYTES, Chunk, Chunks, End, Frame
from nexus_bridge.spool import MAX_FRAME_CHUNKS, Run

FRAME_HEAD_BYTES: Final = 256
"""What a `chunks` frame holds beside its chunks, generously."""


class Outbox:
    """Knows of one connection what is in flight on it. `window_bytes` may be set by the hub's welcome."""

    def __init__(self, *, window_bytes: int, max_frame_chunks: int = MAX_FRAME_CHUNKS) -> None:
        self.window_bytes = window_bytes
        self._max_frame_chunks = max_frame_chunks
        self._in_flight = 0
        self._ready: dict[int, Run] = {}

    def clear(self) -> None:
        """The connection is gone."""
        self._ready.clear()
        self._in_flight = 0

    def push(self, run: Run) -> None:
        """The run may have something to send."""
        self._ready[run.invocation] = run

    def frames(self) -> list[Frame]:
        """As much as the window has room for; the rest comes when acks have made room."""
        out: list[Frame] = []
        while self._ready and self._in_flight < self.window_bytes:
            run = self._ready.pop(next(iter(self._ready)))
            frame = self._next(run)
            if frame is not None:
                out.append(frame)
                self._ready[run.invocation] = run
        return out

    def ack(self, run: Run, *, seq: int) -> bool:
        """False: that seq was never given."""
        before = run.sent_bytes
        is_known = run.ack(seq)
        self._in_flight += run.sent_bytes - before
        return is_known

    def go_back(self, run: Run, *, seq: int, older: Sequence[Chunk]) -> None:
        self._in_flight -= run.sent_bytes
        run.go_back(seq=seq, older=older)
        self.push(run)

    def forget(self, run: Run) -> None:
        self._in_flight -= run.sent_bytes
        self._ready.pop(run.invocation, None)

    def _next(self, run: Run) -> Chunks | End | None:
        before = run.sent_bytes
        chunks = run.take(room=MAX_CHUNKS_BYTES - FRAME_HEAD_BYTES, most=self._max_frame_chunks)
        if chunks:
            self._in_flight += run.sent_bytes - before
            return Chunks(invocation=run.invocation, fence=run.fence, chunks=chunks)
        if run.ending is not None and not run.is_end_sent:
            run.is_end_sent = True
            return run.ending
        return None
