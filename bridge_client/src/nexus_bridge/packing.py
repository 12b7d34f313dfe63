"""How the events of one turn become chunks: cleaned, adjacent text merged, cut to size, the whole of it capped."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeVar

import msgspec

from nexus_bridge import events
from nexus_bridge.events import AnyEvent, Done, Event, Notice, Text, Thinking
from nexus_bridge.protocol import ChunkKind
from nexus_bridge.spool import wire_bytes

TEXT_PIECE_BYTES: Final = 15 * 1024
"""Longer text is cut into several chunks, so that one never blocks the way for another run's and two fit into a frame."""

CHUNK_WIRE_BYTES: Final = 30_000
"""What one chunk may take in a frame of 32 KiB, escapes included."""

TAIL_BYTES: Final = 1024 * 1024
"""Of an output over its cap, this much of the end is kept; what lies before it is streamed until the cap less this."""

NEVER_CUT: Final = frozenset({"id", "tool_call"})
"""Names that are compared, not read."""

_OneEvent = TypeVar("_OneEvent", bound=Event)

Packed = tuple[ChunkKind, str]


class Cleaner(Protocol):
    """Takes control characters and escape sequences out of a stream of text, however it is cut."""

    def feed(self, text: str) -> str: ...

    def finish(self) -> str:
        """What was held back until more came, once nothing more comes."""


class Packer:
    """`add` events, `take` what may leave now, `finish` at the end of the turn."""

    def __init__(self, *, output_bytes: int, cleaner: Callable[[], Cleaner]) -> None:
        self._tail_bytes = min(TAIL_BYTES, output_bytes // 2)
        self._head_bytes = output_bytes - self._tail_bytes
        self._cleaner = cleaner
        self._stream: Text | Thinking | None = None
        self._stream_cleaner = cleaner()
        self._deltas: list[str] = []
        self._pending: list[Packed] = []
        self._size = 0
        self._has_text = False
        self.pending_chars = 0
        self._done: Done | None = None
        self._tail: deque[Packed] = deque()
        self._tail_size = 0
        self.left_out_bytes = 0

    def add(self, event: AnyEvent) -> None:
        match event:
            case Text() | Thinking():
                self._has_text |= isinstance(event, Text)
                self._add_delta(event)
            case Done():
                self._done = event
            case _:
                self._end_stream()
                self._pending.append(_pack(self._cleaned(event)))

    def take(self) -> list[Packed]:
        """Chunks to send now; beyond the head of the output only questions pass, the rest waits for `finish`."""
        self._pack_deltas()
        pending, self._pending = self._pending, []
        self.pending_chars = 0
        out: list[Packed] = []
        for packed in pending:
            if packed[0] == "permission":
                out.append(packed)
            else:
                self._count(packed, out)
        return out

    def finish(self) -> list[Packed]:
        """The last chunks: the kept end of a long output after a word on what is missing, then `done`."""
        done = self._done
        if done is not None and done.text and not self._has_text:  # a CLI that says its answer only once
            self.add(Text(delta=done.text))
        self._end_stream()
        out = self.take()
        if self.left_out_bytes:
            out.append(
                _pack(Notice(level="warning", text=f"{self.left_out_bytes} bytes of output are left out here."))
            )
        out += self._tail
        self._tail.clear()
        if done is not None:
            out.append(_pack(_fitting_done(self._cleaned(done))))
        return out

    def _add_delta(self, event: Text | Thinking) -> None:
        if self._stream is None or not _continues(event, self._stream):
            self._end_stream()
            self._stream = event
        self._keep(self._stream_cleaner.feed(event.delta))

    def _keep(self, cleaned: str) -> None:
        self._deltas.append(cleaned)
        self.pending_chars += len(cleaned)

    def _end_stream(self) -> None:
        """What is said next is no part of it: what the cleaner held back belongs before that."""
        if self._stream is not None:
            self._keep(self._stream_cleaner.finish())
            self._pack_deltas()
            self._stream_cleaner = self._cleaner()
            self._stream = None

    def _cleaned(self, event: _OneEvent) -> _OneEvent:
        """The texts of an event that is no stream; ids stay as the CLI gave them, for its answer is matched by them."""
        texts = {
            name: self.clean(value)
            for name, value in msgspec.structs.asdict(event).items()
            if isinstance(value, str) and name not in NEVER_CUT
        }
        return msgspec.structs.replace(event, **texts)

    def clean(self, text: str) -> str:
        cleaner = self._cleaner()
        return cleaner.feed(text) + cleaner.finish()

    def _pack_deltas(self) -> None:
        """What was said in pieces becomes as few chunks as their size allows."""
        if self._stream is not None and (text := "".join(self._deltas)):
            self._pending += _pack_text(self._stream, text)
        self._deltas.clear()

    def _count(self, packed: Packed, out: list[Packed]) -> None:
        size = len(packed[1])
        if self._size + size <= self._head_bytes:
            self._size += size
            out.append(packed)
            return
        self._size = self._head_bytes  # once over, nothing smaller may slip past what is kept back
        self._tail.append(packed)
        self._tail_size += size
        while self._tail_size > self._tail_bytes:
            dropped = len(self._tail.popleft()[1])
            self._tail_size -= dropped
            self.left_out_bytes += dropped


def _continues(event: Text | Thinking, before: Text | Thinking) -> bool:
    if isinstance(event, Text) and isinstance(before, Text):
        return event.message == before.message
    return type(event) is type(before)


def _pack_text(event: Text | Thinking, text: str) -> Iterator[Packed]:
    """Cut to size before anything is made of it: a copy of a large text costs more than many of small ones."""
    for start in range(0, len(text), TEXT_PIECE_BYTES):
        yield from _pack_piece(event, text[start : start + TEXT_PIECE_BYTES])


def _pack_piece(event: Text | Thinking, text: str) -> Iterator[Packed]:
    """Halves of halves until each fits; text full of quotes grows when it is escaped."""
    if text.isascii() or len(text) <= 1 or len(text.encode()) <= TEXT_PIECE_BYTES:
        payload = events.encode(msgspec.structs.replace(event, delta=text))
        if len(text) <= 1 or wire_bytes(payload) <= CHUNK_WIRE_BYTES:
            yield _kind(event), payload
            return
    middle = len(text) // 2
    yield from _pack_piece(event, text[:middle])
    yield from _pack_piece(event, text[middle:])


def _kind(event: AnyEvent) -> ChunkKind:
    return events.kind_of(event)  # type: ignore[return-value]  # the tags are the kinds


def _pack(event: AnyEvent) -> Packed:
    fitting = _fitting(event)
    return _kind(fitting), events.encode(fitting)


def _fitting_done(done: Done) -> Done:
    """The whole answer is in the text chunks; `done` repeats it only where that is cheap."""
    return done if len(done.text) <= TEXT_PIECE_BYTES // 4 else msgspec.structs.replace(done, text="")


def fits(event: AnyEvent) -> bool:
    """Whether people will see the whole of it."""
    return wire_bytes(events.encode(event)) <= CHUNK_WIRE_BYTES


def _fitting(event: AnyEvent) -> AnyEvent:
    """The event, its longest texts shortened until it fits into a frame."""
    whole = {name: value for name, value in msgspec.structs.asdict(event).items() if isinstance(value, str)}
    kept = {name: len(value) for name, value in whole.items() if name not in NEVER_CUT}
    while not fits(event):
        longest = max(kept, key=lambda name: kept[name], default="")
        if not longest or kept[longest] < 100:
            return Notice(level="warning", text="The CLI said something that is too large to show.")
        kept[longest] //= 2
        shown, rest = whole[longest][: kept[longest]], len(whole[longest]) - kept[longest]
        event = msgspec.structs.replace(event, **{longest: f"{shown}\n[{rest} more characters are not shown]"})
    return event
