"""How an agent's Markdown becomes what Rocket.Chat shows as meant: fences of three backticks, harmless mentions, no quotes.

A transducer: what it has given out never changes when more text comes, so that posted parts stay as they are.
"""

import copy
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

BREAK: Final = "\N{ZERO WIDTH SPACE}"
NAME_LIMIT: Final = 80
FENCE_LINE_LIMIT: Final = 200
"""A line that is still unfinished at this length is not a fence, so that a line without end can't be held for ever."""

EVERYBODY: Final = frozenset({"all", "here"})

_OPENING: Final = re.compile(r"[ \t]*(?P<ticks>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)")
_MAYBE_OPENING: Final = re.compile(r"[ \t]*(?:`{0,2}|~{0,2}|(?:`{3,}|~{3,})[^`\n]*)")
_LANGUAGE: Final = re.compile(r"[0-9A-Za-z_+#.-]{1,30}")
_TOKEN: Final = re.compile(
    r"(?P<ticks>`+)|@(?P<name>[0-9A-Za-z._-]+)|(?P<image>!)(?=\[)|(?P<link>[?&])(?=msg=)|(?P<blank>[ \t]+)(?=\n|\Z)"
)
_CODE_TOKEN: Final = re.compile(r"(?P<ticks>`{3,})|@(?P<name>[0-9A-Za-z._-]+)|(?P<blank>[ \t]+)(?=\n|\Z)")
# What may still become one of the tokens above when the next piece comes.
_HELD: Final = re.compile(rf"[ \t]{{0,200}}(?:`+|@[0-9A-Za-z._-]{{0,{NAME_LIMIT}}}|!|[?&](?:m(?:sg?)?)?)?\Z")


_INSIDE: Final = frozenset("_./-@")
"""Before an @ these belong to an address or a path, as letters do: nobody is named there."""


@dataclass(frozen=True, slots=True)
class Names:
    """Lower-case account names: those whose mention is broken, and those to whom a mention hands over.

    A name in both is broken and still reported: where a chain has reached its limit, the room is told so.
    """

    harmless: frozenset[str] = frozenset()
    handover: frozenset[str] = frozenset()


class Markup:
    """`feed` gives what is certain, `peek` what the held rest would be if the text ended here, `finish` ends it."""

    def __init__(self, *, names: Names) -> None:
        self.mentions: tuple[str, ...] = ()
        self._names = names
        self._held = ""
        self._fence: str | None = None
        self._is_line_start = True
        self._is_quote = False
        self._is_code_span = False
        self._newlines = 2
        self._before = ""

    def feed(self, text: str) -> str:
        self._held += text
        return self._drain(is_end=False)

    def paragraph(self) -> str:
        """Another piece of the answer begins: an open line or fence ends."""
        ended = self.finish()
        if self._newlines < 2:
            ended += "\n" * (2 - self._newlines)
        self._begin_line()
        self._newlines = 2
        return ended

    def peek(self, *, more: str = "") -> str:
        """What would come if the text ended here, or with these characters more. Changes nothing."""
        ahead = copy.copy(self)
        return ahead.feed(more) + ahead.finish()

    def finish(self) -> str:
        out = self._drain(is_end=True)
        if self._fence is not None:
            self._fence = None
            out += "```" if self._is_line_start else "\n```"
            self._is_line_start = False
            self._newlines = 0
        return out

    def _drain(self, *, is_end: bool) -> str:
        out: list[str] = []
        while self._held:
            line, newline, rest = self._held.partition("\n")
            if newline:
                self._held = rest
                out.append(self._line(line) + self._newline())
            else:
                out.append(self._open_line(line, is_end=is_end))
                break
        return "".join(out)

    def _open_line(self, line: str, *, is_end: bool) -> str:
        """A line whose end has not come: as much of it as can't change any more."""
        if is_end:
            self._held = ""
            return self._line(line)
        if self._is_line_start and len(line) <= FENCE_LINE_LIMIT and self._may_be_fence(line):
            return ""
        held = _HELD.search(line)
        sure = line if held is None else line[: held.start()]
        self._held = "" if held is None else held.group()
        return self._inline(sure)

    def _may_be_fence(self, line: str) -> bool:
        if self._fence is None:
            return _MAYBE_OPENING.fullmatch(line) is not None
        return not line.strip(" \t" + self._fence[0])

    def _line(self, line: str) -> str:
        """A whole line, or the rest of one."""
        if self._is_line_start:
            if self._fence is None:
                opening = _OPENING.fullmatch(line)
                if opening is not None:
                    return self._open_fence(opening)
            elif self._closes_fence(line):
                self._fence = None
                self._is_line_start = False
                self._newlines = 0
                return "```"
        return self._inline(line)

    def _open_fence(self, opening: re.Match[str]) -> str:
        self._fence = opening["ticks"]
        language = _LANGUAGE.match(opening["info"].strip())
        self._is_line_start = False
        self._newlines = 0
        return "```" + (language.group() if language else "")

    def _closes_fence(self, line: str) -> bool:
        fence, bare = self._fence or "", line.strip()
        return len(bare) >= len(fence) and not bare.strip(fence[0])

    def _inline(self, text: str) -> str:
        if not text:
            return ""
        if self._fence is not None:
            out = _CODE_TOKEN.sub(self._code_token, text)
        else:
            if self._is_line_start:
                self._is_quote = text.lstrip().startswith(">")
            out = _TOKEN.sub(self._token, text)
        self._before = text[-1]
        if out:
            self._is_line_start = False
            self._newlines = 0
        return out

    def _newline(self) -> str:
        """Outside of code at most one empty line stands between two others."""
        self._begin_line()
        if self._fence is None and self._newlines >= 2:
            return ""
        self._newlines += 1
        return "\n"

    def _begin_line(self) -> None:
        self._before = ""
        self._is_line_start = True
        self._is_quote = False
        self._is_code_span = False

    def _token(self, match: re.Match[str]) -> str:
        if match["ticks"]:
            self._is_code_span = not self._is_code_span
            return match["ticks"] if len(match["ticks"]) < 3 else "`"
        if match["name"]:
            before = match.string[match.start() - 1] if match.start() else self._before
            is_word = before.isalnum() or before in _INSIDE
            return self._mention(match["name"], is_code=self._is_code_span, is_spoken=not is_word)
        if match["blank"]:
            return ""
        return match.group() + BREAK

    def _code_token(self, match: re.Match[str]) -> str:
        if match["ticks"]:
            ticks = match["ticks"]
            return BREAK.join(ticks[at : at + 2] for at in range(0, len(ticks), 2))
        if match["blank"]:
            return ""
        return self._mention(match["name"], is_code=True, is_spoken=False)

    def _mention(self, written: str, *, is_code: bool, is_spoken: bool) -> str:
        name = written.rstrip("._-").lower()
        is_asked = is_spoken and not is_code and not self._is_quote
        if is_asked and name in self._names.handover and name not in self.mentions:
            self.mentions = (*self.mentions, name)
        if name in EVERYBODY or (name in self._names.harmless and not is_code):
            return f"@{BREAK}{written}"
        return f"@{written}"


def harmless(text: str, *, called: Collection[str] = ()) -> str:
    """One line or sentence of ours that quotes others: nobody but the `called` is mentioned, no picture and no quote is fetched."""
    spared = "".join(rf"(?!{re.escape(name)}(?![\w.-]*\w))" for name in called)
    broken = re.sub(f"@(?!{BREAK}){spared}", f"@{BREAK}", text).replace("![", f"!{BREAK}[")
    return re.sub(r"([?&])(?=msg=)", rf"\1{BREAK}", broken)
