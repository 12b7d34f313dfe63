"""What a terminal would show of a program's output, as plain text that can be sent on while it is still being written."""

import re
from typing import Final

from nexus_bridge.strip import ByteStripper

CARRIAGE: Final = "\ufdd0"
"""Stands for a carriage return on its way through the stripper: a code point that is never a character."""

MAX_REDRAWN: Final = 10_000
"""A redrawn line that long is sent as it is."""

_PARTS: Final = re.compile(f"\n|{CARRIAGE}|[^\n{CARRIAGE}]+")


class LineRenderer:
    """Escape sequences go; of a line that is redrawn by carriage returns, first and last state stay.

    What was sent can't be taken back, so a progress bar becomes two lines: where it was first seen, and where it ended.
    Programs that paint whole screens need another way in than text.
    """

    def __init__(self) -> None:
        self._stripper = _KeepingCarriages()
        self._has_sent = False
        self._is_returned = False
        self._redrawn: str | None = None

    def feed(self, data: bytes) -> str:
        return self._render(self._stripper.feed(data))

    def finish(self) -> str:
        """The state of the last line, once nothing more comes."""
        return self._render(self._stripper.finish()) + self._end_redrawing()

    def _render(self, text: str) -> str:
        if CARRIAGE not in text and not self._is_returned and self._redrawn is None:
            if text:
                self._has_sent = not text.endswith("\n")
            return text
        return "".join(map(self._part, _PARTS.findall(text)))

    def _part(self, part: str) -> str:
        if part == CARRIAGE:
            self._is_returned = True
            return ""
        if part == "\n":
            said = self._end_redrawing() + "\n"
            self._has_sent = self._is_returned = False
            return said
        if self._is_returned:
            self._is_returned = False
            self._redrawn = ""
        if self._redrawn is None:
            self._has_sent = True
            return part
        self._redrawn += part
        return self._end_redrawing() if len(self._redrawn) > MAX_REDRAWN else ""

    def _end_redrawing(self) -> str:
        said, self._redrawn = self._redrawn, None
        if not said:
            return ""
        before = "\n" if self._has_sent else ""
        self._has_sent = True
        return before + said


class _KeepingCarriages(ByteStripper):
    def feed(self, data: bytes) -> str:
        return self._stripper.feed(self._decoder.decode(data).replace(CARRIAGE, "").replace("\r", CARRIAGE))

    def finish(self) -> str:
        return self._stripper.feed(self._decoder.decode(b"", final=True))
