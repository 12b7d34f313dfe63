"""What must never reach the chat: escape sequences, control characters, bidi overrides; removed as a stream."""

import re
from typing import Final

HELD_LIMIT: Final = 4_096
"""Characters of one unfinished escape sequence; a longer one is dropped and reading goes on behind it."""

_CSI = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*"
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*"
# The end of a sequence is optional: what is still unfinished at the end of the text is held back, so a sequence
# without its end stands before a character that breaks it off.
_SEQUENCE: Final = re.compile(rf"{_CSI}[@-~]?|{_STRING}(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?")
_UNFINISHED: Final = re.compile(rf"(?:{_CSI}|{_STRING}\x1b?|\x1b[ -/]*)\Z")
_SUSPECT: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_LINE_END: Final = re.compile(r"\r\n|[\r\u2028\u2029]")


class Cleaner:
    """Feed pieces, split anywhere; what comes out never changes afterwards. Newline and tab are the only controls."""

    def __init__(self) -> None:
        self._held = ""
        self._is_after_return = False

    def feed(self, text: str) -> str:
        if not self._held and not self._is_after_return and _SUSPECT.search(text) is None:
            return text
        text = self._without_sequences(self._held + text)
        if self._is_after_return and text:
            self._is_after_return = False
            text = text.removeprefix("\n")
        if text.endswith("\r"):
            self._is_after_return = True
        text = _LINE_END.sub("\n", text)
        return _SUSPECT.sub("", _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text))

    def finish(self) -> str:
        """Nothing: what was held back is a sequence that goes on in the next piece, or never."""
        return ""

    def _without_sequences(self, text: str) -> str:
        self._held = ""
        unfinished = _UNFINISHED.search(text)
        if unfinished is not None:
            held = unfinished.group()
            self._held = held if len(held) <= HELD_LIMIT else ""
            text = text[: unfinished.start()]
        return _SEQUENCE.sub("", text)


def clean(text: str) -> str:
    """One whole text."""
    return Cleaner().feed(text)
