"""Cuts a byte stream into JSON lines, however it arrives; what is no JSON object is handed over as noise."""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""A longer line is thrown away as it comes, up to its end: no CLI says anything of worth in one that long."""

MAX_NOISE_KEPT: Final = 8

Frame = dict[str, Any]  # Any: other people's JSON

_decoder = msgspec.json.Decoder()
_SPACE = re.compile(rb"\s*\Z")


class JsonLines:
    """`feed` bytes, get frames. `noise` counts the lines that were none, `too_long` those over the limit."""

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._is_skipping = False
        self.noise = 0
        self.too_long = 0
        self.last_noise = ""
        self._noise_kept: list[str] = []

    @property
    def unread(self) -> int:
        """Lines that gave no frame."""
        return self.noise + self.too_long

    def take_noise(self) -> list[str]:
        """The first few of the lines that gave no frame since the last call; one that was too long is empty."""
        taken, self._noise_kept = self._noise_kept, []
        return taken

    def feed(self, data: bytes) -> Iterator[Frame]:
        *lines, rest = data.split(b"\n")
        for line in lines:
            yield from self._end_line(line)
        self._keep(rest)

    def finish(self) -> Iterator[Frame]:
        """The last line, if its end never came."""
        if self._parts:
            yield from self._end_line(b"")

    def _keep(self, rest: bytes) -> None:
        if not rest or self._is_skipping:
            return
        self._parts.append(rest)
        self._size += len(rest)
        if self._size > self._max_line_bytes:
            self._is_skipping = True
            self.too_long += 1
            self._keep_noise("")
            self._parts.clear()

    def _end_line(self, end: bytes) -> Iterator[Frame]:
        self._keep(end)
        line = b"".join(self._parts)
        was_skipping = self._is_skipping
        self._parts.clear()
        self._size = 0
        self._is_skipping = False
        if was_skipping or _SPACE.match(line):
            return
        frame = _parse(line)
        if frame is None:
            self.noise += 1
            self.last_noise = line[:500].decode(errors="replace")
            self._keep_noise(self.last_noise)
        else:
            yield frame

    def _keep_noise(self, line: str) -> None:
        if len(self._noise_kept) < MAX_NOISE_KEPT:
            self._noise_kept.append(line)


def _parse(line: bytes) -> Frame | None:
    try:
        frame = _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return frame if isinstance(frame, dict) else None


def text_of(frame: Any, *path: str) -> str:
    """The string at this path of nested objects; empty where there is none."""
    for name in path:
        frame = frame.get(name) if isinstance(frame, dict) else None
    return frame if isinstance(frame, str) else ""


def object_of(frame: Any, *path: str) -> Frame:
    """The object at this path; empty where there is none."""
    for name in path:
        frame = frame.get(name) if isinstance(frame, dict) else None
    return frame if isinstance(frame, dict) else {}


def list_of(frame: Any, *path: str) -> list[Any]:
    """The list at this path; empty where there is none."""
    for name in path:
        frame = frame.get(name) if isinstance(frame, dict) else None
    return frame if isinstance(frame, list) else []


def count_of(frame: Any, *path: str) -> int:
    """The number at this path as a count; 0 where there is none or it is none."""
    value = number_of(frame, *path)
    return max(0, int(value)) if value is not None and abs(value) < 2**53 else 0


def number_of(frame: Any, *path: str) -> float | None:
    for name in path:
        frame = frame.get(name) if isinstance(frame, dict) else None
    is_number = isinstance(frame, int | float) and not isinstance(frame, bool)
    return frame if is_number and frame == frame else None
