"""Where a long reply is cut into chat messages: at a paragraph, a line, a word, and never inside a character.

Reads what `Markup` gives: there a line that starts with three backticks is a fence and nothing else is.
"""

import re
import unicodedata
from typing import Final

PART_LIMIT: Final = 4_500
"""UTF-16 units, as the server counts them; its own limit is 5,000, the rest is for the footer."""

CLOSING: Final = "\n```"
_SOONEST: Final = 0.5
"""A cut before this share of a part would waste the message; the next worse kind of place is taken instead."""

_OPEN_MENTION: Final = re.compile(r"@[0-9A-Za-z._-]*\Z")
_JOINERS: Final = "\u200d\ufe0f"


def units(text: str) -> int:
    """The length as JavaScript counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def fence_after(text: str, *, fence: str | None) -> str | None:
    """The opening line of the fence that is open at the end of `text`; `fence` is the one open at its start."""
    for line in text.split("\n"):
        if line.startswith("```"):
            fence = line if fence is None else None
    return fence


def closed(text: str, *, fence: str | None = None) -> str:
    """`text`, with an open fence closed."""
    if fence_after(text, fence=fence) is None:
        return text
    return text + (CLOSING if not text.endswith("\n") else CLOSING[1:])


class Splitter:
    """`parts` are full and final; `rest` belongs to the part that is still growing, which `start` opens."""

    def __init__(self, *, limit: int = PART_LIMIT) -> None:
        self.parts: list[str] = []
        self.rest = ""
        self._limit = limit
        self._fence: str | None = None

    @property
    def start(self) -> str:
        """What the growing part begins with: the fence that the cut closed, opened again."""
        return "" if self._fence is None else f"{self._fence}\n"

    def feed(self, text: str) -> None:
        self.rest += text
        if not self.parts and not self.start and not self.rest.strip():
            self.rest = self.rest.lstrip("\n")
        while units(self.start) + units(self.rest) > self._limit:
            self._cut()

    def last(self, *, tail: str = "") -> str:
        """The growing part with `tail`, as it can be shown now. A tail that does not fit is left out until it is sure."""
        text = self.start + self.rest
        if tail and units(text) + units(tail) <= self._limit:
            text += tail
        return closed(text).rstrip()

    def _cut(self) -> None:
        room = self._limit - units(self.start) - len(CLOSING)
        at = _place(self.rest, window=_window(self.rest, room), fence=self._fence)
        text, rest = self.rest[:at], self.rest[at:]
        part = closed(self.start + text.rstrip("\n")).rstrip()
        fence = fence_after(text, fence=self._fence)
        if fence is None:
            rest = rest.lstrip("\n").removeprefix(" ")
        elif rest.startswith(CLOSING):
            fence, rest = None, rest[len(CLOSING) :].lstrip("\n")
        else:
            rest = rest.removeprefix("\n")
        self._fence, self.rest = fence, rest
        if part:
            self.parts.append(part)


def _window(text: str, room: int) -> int:
    """How many characters from the start have at most `room` units; at least one."""
    end = min(room, len(text))
    while (over := units(text[:end]) - room) > 0:
        end -= (over + 1) // 2
    return max(end, 1)


def _place(text: str, *, window: int, fence: str | None) -> int:
    soonest = int(window * _SOONEST)
    at = _last_paragraph(text, window=window, fence=fence)
    if at < soonest:
        at = text.rfind("\n", 0, window)
    if at < soonest:
        at = text.rfind(" ", 0, window)
    if at < soonest or at <= 0:
        at = _hard_cut(text, window)
    return _outside_fence_line(text, at)


def _last_paragraph(text: str, *, window: int, fence: str | None) -> int:
    at = text.rfind("\n\n", 0, window)
    while at > 0 and fence_after(text[:at], fence=fence) is not None:
        at = text.rfind("\n\n", 0, at)
    return _before_heading(text, at)


def _before_heading(text: str, at: int) -> int:
    """A heading that would end the part goes with what it heads."""
    line_start = text.rfind("\n", 0, max(at, 0)) + 1
    is_heading = line_start > 0 and re.match(r"#{1,6} ", text[line_start:at]) is not None
    return line_start - 1 if is_heading else at


def _hard_cut(text: str, window: int) -> int:
    """Not inside a character that is written as several, nor inside a name, half of which may be another name."""
    at = window
    for _ in range(16):
        if at > 1 and (unicodedata.combining(text[at]) or text[at] in _JOINERS or text[at - 1] == _JOINERS[0]):
            at -= 1
    mention = _OPEN_MENTION.search(text, max(0, at - 200), at)
    return mention.start() if mention is not None and mention.start() > 0 else at


def _outside_fence_line(text: str, at: int) -> int:
    """A cut inside a fence's line, or right behind an opening one, goes before that line."""
    line_start = text.rfind("\n", 0, at) + 1
    if line_start > 0 and text.startswith("```", line_start):
        is_whole = at == len(text) or text[at] == "\n"
        if not is_whole or len(text[line_start:at]) > 3:
            return line_start - 1 if line_start > 1 else at
    return at
