"""Takes control characters and escape sequences out of a text stream, however it is cut into pieces.

Follows ECMA-48: CSI, OSC, DCS, SOS, PM and APC with 7- and 8-bit introducers. What is left is text, newlines and tabs:
no C0, no C1, no bidi override, no lone surrogate. Stripping twice changes nothing more.
"""

import codecs
import re
from typing import Final

MAX_STRING: Final = 64 * 1024
"""An OSC or DCS that never ends hides no more than this; then text shows again."""

_IGNORED = r"\x00-\x08\x0b-\x17\x19\x1c-\x1f\x7f"
"""Controls that terminals carry out in the middle of a sequence, which goes on behind them; a line's end is not one."""
_ESC = rf"\x1b[{_IGNORED}]{{0,63}}"
_PARAMETERS = rf"[ -?{_IGNORED}]{{0,255}}"
_CSI = rf"(?:{_ESC}\[|\x9b){_PARAMETERS}"
_INTERMEDIATES = rf"[ -/{_IGNORED}]{{0,255}}"
_STRING = rf"(?:{_ESC}[\]PX^_]|[\x90\x98\x9d-\x9f])"
_UNWANTED = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"

_HARMLESS: Final = bytes([*b"\t\n", *range(0x20, 0x7F)])
_ANY: Final = re.compile(rf"{_UNWANTED}|[\ud800-\udfff]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_HIDING: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ANY_STRING: Final = re.compile(_STRING)
_TOKEN: Final = re.compile(
    # One set in front, so that clean text is skipped at the speed of a search; group 1 or 2 marks an opened string.
    rf"{_UNWANTED}(?:"
    r"(?<=\x1b)(?:\[[0-9;?]{0,40}[@-~]|"  # nearly all there ever is
    rf"[{_IGNORED}]{{0,63}}(?:\[{_PARAMETERS}[@-~]?|[\]PX^_]()|[ -/]{_INTERMEDIATES}[0-~]?|[0-~])?)|"
    rf"(?<=\x9b){_PARAMETERS}[@-~]?|(?<=[\x90\x98\x9d-\x9f])())?"
)
_OPEN_AT_END: Final = re.compile(rf"(?:{_CSI}|{_ESC}[ -/]{_INTERMEDIATES}|{_ESC})\Z")
_MAX_OPEN: Final = 1 + 63 + 1 + 255
_OSC_END: Final = re.compile(r"\x07|\x9c|\x1b\\?|[\x18\x1a\n]")
_STRING_END: Final = re.compile(r"\x9c|\x1b\\?|[\x18\x1a]")


class TextStripper:
    """`feed` pieces of one stream of text; what belongs to an unfinished sequence waits for the next piece."""

    def __init__(self) -> None:
        self._held = ""
        self._string_end: re.Pattern[str] | None = None
        self._string_left = 0

    def feed(self, text: str) -> str:
        if not self._held and self._string_end is None and _is_clean(text):
            return text
        text = self._held + text
        self._held = ""
        out: list[str] = []
        position = 0
        while position < len(text):
            if self._string_end is not None:
                position = self._skip_string(text, position, ending=self._string_end)
            else:
                position = self._take_text(text, position, out)
        return "".join(out)

    def finish(self) -> str:
        """Nothing: what was held back is the beginning of a sequence that never ended."""
        self._held = ""
        return ""

    def _take_text(self, text: str, position: int, out: list[str]) -> int:
        """Append clean text up to the next opened string, and return where to go on."""
        opened = _first_string(text, position)
        end = opened[0] if opened else self._hold_back(text, position)
        out.append(_SURROGATE.sub("\ufffd", _TOKEN.sub("", text[position:end])))
        if not opened:
            return len(text)
        is_osc = text[opened[1] - 1] in "]\x9d"
        self._string_end = _OSC_END if is_osc else _STRING_END
        self._string_left = MAX_STRING
        return opened[1]

    def _hold_back(self, text: str, position: int) -> int:
        """Where an unfinished sequence begins at the end of the text; it is kept for the next piece."""
        found = _OPEN_AT_END.search(text, max(position, len(text) - _MAX_OPEN))
        if found is None:
            return len(text)
        self._held = found[0]
        return found.start()

    def _skip_string(self, text: str, position: int, *, ending: re.Pattern[str]) -> int:
        """Past the end of the string, or to the end of the text."""
        found = ending.search(text, position, position + self._string_left)
        if found is None:
            end = min(len(text), position + self._string_left)
            self._string_left -= end - position
            if self._string_left == 0:
                self._string_end = None
            return end
        if found[0] == "\x1b" and found.end() == len(text):
            self._held = "\x1b"  # half of ST perhaps: the next piece says
            self._string_left -= found.start() - position
            return len(text)
        self._string_end = None
        # A newline and an escape that is not ST end the string without being part of it.
        return found.start() if found[0] in ("\n", "\x1b") else found.end()


class ByteStripper:
    """The same from bytes: UTF-8 with broken bytes replaced, single bytes 0x80 to 0x9f read as C1 controls."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="nexus-c1")
        self._stripper = TextStripper()

    def feed(self, data: bytes) -> str:
        return self._stripper.feed(self._decoder.decode(data))

    def finish(self) -> str:
        """What an unfinished character at the very end is worth."""
        return self._stripper.feed(self._decoder.decode(b"", final=True))


def visible(text: str) -> str:
    """The same text with each sign that is not shown as itself written out: what a person decides about hides nothing."""
    return _HIDING.sub(_written_out, text)


def _written_out(sign: re.Match[str]) -> str:
    number = ord(sign[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def clean(text: str) -> str:
    """A whole text, stripped."""
    return TextStripper().feed(text)


def _is_clean(text: str) -> bool:
    if text.isascii():  # ten times as fast as a search, and nearly all of what pours
        return not text.encode().translate(None, _HARMLESS)
    return _ANY.search(text) is None


def _first_string(text: str, position: int) -> tuple[int, int] | None:
    """Start and end of the introducer of the first OSC, DCS, SOS, PM or APC that is not inside another sequence."""
    if _ANY_STRING.search(text, position) is None:
        return None
    for found in _TOKEN.finditer(text, position):
        if found.lastindex:
            return found.span()
    return None


def _c1_or_replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    broken = error.object[error.start : error.end]
    if len(broken) == 1 and 0x80 <= broken[0] <= 0x9F:
        return chr(broken[0]), error.end
    return "\ufffd", error.end


codecs.register_error("nexus-c1", _c1_or_replacement)
