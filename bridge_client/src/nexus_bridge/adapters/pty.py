"""Any program that only speaks to a terminal: the prompt goes in as text, what it prints comes back as text.

Options, all optional:
- `mode`: "oneshot" (one process per turn, its exit ends the turn) or "repl" (one process, many turns)
- `submit`: how a prompt ends: "eof" (Ctrl-D; for oneshot) or "enter" (for repl)
- `enter`: "lf" or "cr", what Enter sends; `paste` = "bracketed" keeps line breaks where Enter would submit
- `tty`: "raw" or "lines" (the kernel's line discipline, for programs that need it; lines are cut at 4000 bytes)
- `ready`: a regular expression for the whole line of the REPL's own input prompt; `idle_ms`: or the silence that
  ends a turn
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal

from nexus_bridge.adapters.base import Capabilities, Profile, Spawn, Turn
from nexus_bridge.adapters.screens import Screen
from nexus_bridge.environment import clean_env
from nexus_bridge.errors import BridgeError
from nexus_bridge.events import AnyEvent, Done, Text
from nexus_bridge.rendering import LineRenderer
from nexus_bridge.strip import clean

END_OF_FILE: Final = "\x04"
LINE_BYTES: Final = 4000
"""The kernel gives a program in line mode 4095 bytes per line at most and drops the rest."""

QUESTION_QUIET_S: Final = 5.0
"""So long nothing after what looks like a question at the terminal, or an editor: it waits for what won't come."""

MAX_HELD_LINE: Final = 2_000
"""A line that long is no input prompt of a REPL; it is said at once."""

_ASKS: Final = re.compile(
    r"(?:pass(?:word|phrase|code).{0,40}:|[\[(]y(?:es)?/n(?:o)?(?:/[^\])]*)?[\])].{0,10}|press (?:enter|any key).{0,40})\s*\Z",
    re.IGNORECASE,
)
_COMMAND_SIGNS: Final = ("/", "!", "@", "#", ":", ".")
"""What programs take for commands of theirs at the start of input."""

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "mode": ("oneshot", "repl"),
    "submit": ("eof", "enter"),
    "enter": ("lf", "cr"),
    "paste": ("", "bracketed"),
    "tty": ("raw", "lines"),
}


class BadOption(BridgeError):
    """An option of a pty agent that can't be; the text names it and what it may be."""


class PtyAdapter:
    """The whole of the terminal's output of one turn is the answer."""

    kind: ClassVar[str] = "pty"
    capabilities: ClassVar[Capabilities] = Capabilities(deltas=True, interrupt=True)

    def __init__(self, *, profile: Profile) -> None:
        self._profile = profile
        options = profile.options
        self._is_repl = _choice(options, "mode") == "repl"
        self._submits_by_eof = _choice(options, "submit", default="enter" if self._is_repl else "eof") == "eof"
        self._enter = "\r" if _choice(options, "enter") == "cr" else "\n"
        self._is_pasting = _choice(options, "paste") == "bracketed"
        self._tty: Literal["raw", "lines"] = "lines" if _choice(options, "tty") == "lines" else "raw"
        self._ready = _pattern(options.get("ready", ""))
        self._idle_s = _milliseconds(options.get("idle_ms", "0"))
        if self._is_repl and self._ready is None and not self._idle_s:
            raise BadOption('A pty agent with mode = "repl" needs `ready` or `idle_ms`, to know when a turn is over.')
        self._renderer = LineRenderer()
        self._screen = Screen()
        self._is_open = False
        self._has_said = False
        self._was_interrupted = False
        self._is_ready = self._ready is None
        self._waiting_turn = b""
        self._outgoing = b""
        self._line = ""

    @classmethod
    def version_argv(cls, command: Sequence[str]) -> Sequence[str]:
        return [*command, "--version"]

    def spawn(self) -> Spawn:
        if not self._profile.command:
            raise BadOption("A pty agent needs `command`: the program to run, as a list.")
        return Spawn(
            argv=self._profile.command,
            env=clean_env(inherited=self._profile.inherited, extra=self._profile.env),
            cwd=self._profile.workdir,
            transport="pty",
            tty=self._tty,
            quiet_ends_turn_s=self._idle_s or QUESTION_QUIET_S,
        )

    def start(self) -> bytes:
        return b""

    def turn(self, turn: Turn) -> bytes:
        self._is_open = True
        self._has_said = False
        self._was_interrupted = False
        self._line = ""
        self._screen = Screen()
        data = self._typed(_data(turn))
        if self._is_ready:
            self._is_ready = self._ready is None
            return data
        self._waiting_turn = data
        return b""

    def feed(self, data: bytes) -> list[AnyEvent]:
        self._screen.feed(data)
        return self._take(self._renderer.feed(data))

    def quiet(self) -> list[AnyEvent]:
        if not self._is_open:
            return []
        if _ASKS.search(self._line):
            message = f"It asks for input at its terminal, where nobody sits: {self._line.strip()[-200:]}"
            return self._end(Done(status="error", error_kind="needs_input", message=message))
        if self._is_repl and self._idle_s and self._has_said:
            return self._end(Done(status="ok"))
        if self._screen.is_filled:
            message = (
                "It opened a program that fills the screen, an editor perhaps, and waits for keys where nobody sits."
            )
            return self._end(Done(status="error", error_kind="needs_input", message=message))
        return []

    def outgoing(self) -> bytes:
        data, self._outgoing = self._outgoing, b""
        return data

    def answer(self, permission: str, *, allow: bool, note: str) -> bytes:
        return b""

    def interrupt(self) -> bytes:
        self._was_interrupted = True
        return b""

    def close(self) -> bytes:
        return END_OF_FILE.encode()

    def exited(self, *, code: int, stderr_tail: str) -> list[AnyEvent]:
        last = self._take(self._renderer.finish())
        if not self._is_open:
            return last
        return [*last, *self._end(self._verdict(code=code, why=stderr_tail.strip()))]

    def _verdict(self, *, code: int, why: str) -> Done:
        if self._was_interrupted:
            return Done(status="interrupted")
        if code != 0 or self._is_repl:
            shown = why or self._line.strip()
            message = f"The program ended with exit code {code}. {shown[-500:]}".rstrip()
            return Done(status="error", error_kind="crash", message=message)
        if not self._has_said:
            return Done(
                status="error", error_kind="empty_output", message="The program ended without saying anything."
            )
        return Done(status="ok")

    def _take(self, text: str) -> list[AnyEvent]:
        """Text of an open turn is the answer; before it, a REPL's greeting."""
        if self._ready is not None:
            return self._take_held(text, ready=self._ready)
        self._line = (self._line + text).rpartition("\n")[2][-MAX_HELD_LINE:]
        return self._say(text)

    def _take_held(self, text: str, *, ready: re.Pattern[str]) -> list[AnyEvent]:
        """The line being printed may become the REPL's input prompt, so it waits for its end."""
        whole, line_end, self._line = (self._line + text).rpartition("\n")
        said = self._say(whole + line_end)
        if not ready.fullmatch(self._line):
            if len(self._line) > MAX_HELD_LINE:
                said += self._say(self._line)
                self._line = ""
            return said
        self._line = ""
        if self._waiting_turn:  # it was not ready when the turn came: what it said until now is its greeting
            self._outgoing, self._waiting_turn = self._waiting_turn, b""
            return []
        self._is_ready = True
        return [*said, *self._end(Done(status="ok"))] if self._is_open else []

    def _say(self, text: str) -> list[AnyEvent]:
        if not text or not self._is_open or self._waiting_turn:
            return []
        self._has_said = self._has_said or not text.isspace()
        return [Text(delta=text)]

    def _end(self, done: Done) -> list[AnyEvent]:
        self._is_open = False
        rest: list[AnyEvent] = self._say(self._line) if self._ready is not None else []
        self._line = ""
        return [*rest, done]

    def _typed(self, text: str) -> bytes:
        if self._tty == "lines":
            text = "\n".join(_folded(line) for line in text.split("\n"))
        if self._submits_by_eof:
            return f"{text}\n{END_OF_FILE}".encode()
        if self._is_pasting:
            return f"\x1b[200~{text}\x1b[201~{self._enter}".encode()
        return f"{text.replace(chr(10), ' ')}{self._enter}".encode()


def _data(turn: Turn) -> str:
    """The prompt as text that no program takes for keys or commands of its own."""
    text = clean(turn.text).rstrip("\n")
    if turn.files:
        text += "\n" + "\n".join(f"File: {clean(str(path))}" for path in turn.files)
    return f"\u200b{text}" if text.startswith(_COMMAND_SIGNS) else text


def _folded(line: str) -> str:
    """A line of more bytes than the kernel takes, in several."""
    pieces, size, start = [], 0, 0
    for position, character in enumerate(line):
        size += len(character.encode())
        if size > LINE_BYTES:
            pieces.append(line[start:position])
            start, size = position, len(character.encode())
    return "\n".join([*pieces, line[start:]])


def _choice(options: Mapping[str, str], name: str, *, default: str = "") -> str:
    allowed = _CHOICES[name]
    value = options.get(name, default or allowed[0])
    if value not in allowed:
        raise BadOption(
            f'Option `{name}` of a pty agent is "{value}"; it may be {" or ".join(filter(None, allowed))}.'
        )
    return value


def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as problem:
        raise BadOption(f"Option `ready` of a pty agent is no regular expression: {problem}.") from problem


def _milliseconds(text: str) -> float:
    if not text.isdecimal():
        raise BadOption(f'Option `idle_ms` of a pty agent is "{text}"; it must be a whole number.')
    return int(text) / 1000
