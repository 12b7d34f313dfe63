"""What is known of one run whose `end` the hub has not acked: its chunks, and how far they have come."""

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from nexus_bridge.protocol import Chunk, ChunkKind, End, OpenRun

CHUNK_OVERHEAD_BYTES: Final = 64
"""What a chunk costs in a frame beside its payload: keys, quotes, seq, the longest kind."""

MAX_FRAME_CHUNKS: Final = 512
"""The protocol's limit for one frame."""

Sized = tuple[Chunk, int]
"""A chunk and what it takes in a frame."""

State = Literal["accepted", "running", "ended", "lost"]


def wire_bytes(payload: str) -> int:
    """What a payload takes in a `chunks` frame, where its quotes and backslashes are escaped once more."""
    size = len(payload) if payload.isascii() else len(payload.encode())
    return size + payload.count('"') + payload.count("\\") + CHUNK_OVERHEAD_BYTES


@dataclass(slots=True, eq=False)
class Run:
    """`sent` and `unsent` hold every chunk that is not acked, in seq order; together they are the window."""

    invocation: int
    fence: int
    agent: str
    session_key: str
    acked_seq: int = 0
    last_seq: int = 0
    noted_seq: int = 0
    unacked_bytes: int = 0
    sent_bytes: int = 0
    ending: End | None = None
    is_end_sent: bool = False
    is_lost: bool = False
    is_spooled: bool = True
    sent: deque[Sized] = field(default_factory=deque)
    unsent: deque[Sized] = field(default_factory=deque)
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def state(self) -> State:
        if self.is_lost:
            return "lost"
        if self.ending is not None:
            return "ended"
        return "running" if self.last_seq else "accepted"

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def final_seq(self) -> int:
        """The last seq there is, the end's own included."""
        return self.last_seq if self.ending is None else self.ending.seq

    def as_open(self) -> OpenRun:
        return OpenRun(
            invocation=self.invocation,
            fence=self.fence,
            state=self.state,
            last_seq=self.final_seq,
        )

    def add(self, *, kind: ChunkKind, payload: str) -> Chunk:
        """Take the next seq; from here on the chunk's bytes are fixed."""
        self.last_seq += 1
        chunk = Chunk(seq=self.last_seq, kind=kind, payload=payload)
        encoded = payload.encode()
        self._digest.update(encoded)
        size = len(encoded) + payload.count('"') + payload.count("\\") + CHUNK_OVERHEAD_BYTES
        self.unsent.append((chunk, size))
        self.unacked_bytes += size
        return chunk

    def take(self, *, room: int, most: int = MAX_FRAME_CHUNKS) -> list[Chunk]:
        """The next chunks to send that fit into `room` bytes of a frame; they count as sent."""
        taken: list[Chunk] = []
        while self.unsent and len(taken) < most:
            chunk, size = self.unsent[0]
            if size > room and taken:
                break
            room -= size
            self.sent_bytes += size
            self.sent.append(self.unsent.popleft())
            taken.append(chunk)
        return taken

    def ack(self, seq: int) -> bool:
        """Everything up to `seq` is safe on the hub's side. False: that seq was never given."""
        if seq > self.final_seq:
            return False
        while self.sent and self.sent[0][0].seq <= seq:
            size = self.sent.popleft()[1]
            self.sent_bytes -= size
            self.unacked_bytes -= size
        while self.unsent and self.unsent[0][0].seq <= seq:  # committed on an earlier connection
            self.unacked_bytes -= self.unsent.popleft()[1]
        self.acked_seq = max(self.acked_seq, seq)
        return True

    def unsend(self) -> None:
        """Nothing of what is unacked counts as sent: the connection it went over is gone."""
        self.unsent.extendleft(reversed(self.sent))
        self.sent.clear()
        self.sent_bytes = 0
        self.is_end_sent = False

    def go_back(self, *, seq: int, older: Sequence[Chunk]) -> None:
        """Send again from `seq` on; `older` are the chunks from there to the last acked one."""
        self.unsend()
        earlier = [(chunk, wire_bytes(chunk.payload)) for chunk in older]
        self.unsent.extendleft(reversed(earlier))
        self.unacked_bytes += sum(size for _, size in earlier)
        self.acked_seq = min(self.acked_seq, seq - 1)

    @property
    def is_all_acked(self) -> bool:
        """The end itself is acked: nothing of this run is left to tell."""
        return self.ending is not None and self.acked_seq >= self.ending.seq
