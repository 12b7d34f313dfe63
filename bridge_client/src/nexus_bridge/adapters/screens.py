"""Does a program fill the screen, as editors and pagers do? Then it waits for keys that nobody presses."""

import re
from typing import Final

_SWITCH: Final = re.compile(rb"\x1b\[\?(?:1049|1047|47)([hl])|\x1b\[(?:[2-9]|\d\d+);\d+([Hf])")
"""The second screen comes or goes; or, on terminals without one, something is put below the first row by its number."""

_LONGEST: Final = 12
"""Bytes of a switch that may come in two pieces."""


class Screen:
    """`feed` what is printed, in pieces of any size; `is_filled` says how it stands."""

    def __init__(self) -> None:
        self.is_filled = False
        self._end = b""

    def feed(self, data: bytes) -> None:
        data = self._end + data
        for found in _SWITCH.finditer(data):
            self.is_filled = found[1] != b"l"
        self._end = data[-_LONGEST:]
