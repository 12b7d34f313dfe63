"""What a person sees in the bridge's terminal: one line per event, and on a tty a line of what runs now."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TextIO

from nexus_bridge import events
from nexus_bridge.events import Permission
from nexus_bridge.orders import Add, Decide, Ending, Kill, Pause, Resume, Start, Stop
from nexus_bridge.packing import Packed
from nexus_bridge.protocol import Prompt

LOCAL_ANSWER_S: Final = 600.0
_COLOURS: Final = {"good": "32", "bad": "31", "quiet": "2", "loud": "1", "ask": "33"}


@dataclass(slots=True)
class _Shown:
    prompt: Prompt
    began_at: float
    chars: int = 0
    tools: list[str] = field(default_factory=list)


class View:
    """Writes to one stream. Texts from elsewhere are made printable first: a name must not move the cursor."""

    def __init__(
        self,
        *,
        out: TextIO = sys.stdout,
        shows_prompts: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._out = out
        self._shows_prompts = shows_prompts
        self._now = now
        self._is_tty = out.isatty()
        self._runs: dict[int, _Shown] = {}
        self._has_status = False
        self._hub = ""
        self._asking = asyncio.Lock()

    # What the client tells

    def starting(self, *, hub: str, agents: Sequence[str]) -> None:
        self._hub = hub
        self._line(f"nexus-bridge for {', '.join(agents)}, connecting to {hub}")

    def connected(self, *, session: str) -> None:
        self._line(f"connected to {self._hub} (session {printable(session)})", "good")

    def disconnected(self, *, reason: str, retry_in_s: float) -> None:
        self._line(f"not connected: {printable(reason)}; trying again in {retry_in_s:.0f} s", "bad")

    def ordered(self, order: Start | Stop | Kill | Decide | Add | Pause | Resume) -> None:
        match order:
            case Start():
                self._started(order.prompt)
            case Stop():
                self._line(f"{self._name(order.invocation)}: stopping, {printable(order.reason)}", "bad")
            case Kill():
                self._line(f"{self._name(order.invocation)}: killed, {printable(order.reason)}", "bad")
            case Add():
                self._line(f"{self._name(order.invocation)}: {printable(order.by) or 'somebody'} adds words", "ask")
            case Decide():
                said = "allowed" if order.allow else "denied"
                self._line(f"{self._name(order.invocation)}: {said} by {printable(order.by) or 'the hub'}", "ask")
            case Pause():
                self._line(f"{self._name(order.invocation)}: waiting for the hub to take what was said", "quiet")
            case Resume():
                self._line(f"{self._name(order.invocation)}: goes on", "quiet")

    def said(self, invocation: int, chunks: Sequence[Packed]) -> None:
        shown = self._runs.get(invocation)
        for kind, payload in chunks:
            if shown is not None:
                shown.chars += len(payload)
            if kind in {"tool_call", "permission", "notice"}:
                self._event(invocation, payload)

    def ended(self, invocation: int, ending: Ending) -> None:
        name = self._name(invocation)
        shown = self._runs.pop(invocation, None)
        took = f" after {self._now() - shown.began_at:.0f} s, {len(shown.tools)} tool calls" if shown else ""
        why = f": {printable(ending.message or ending.reason)}" if ending.outcome != "done" else ""
        self._line(f"{name}: {ending.outcome}{took}{why}", "good" if ending.outcome == "done" else "bad")

    def tell(self, text: str) -> None:
        self._line(printable(text), "bad")

    # What runs now

    def status(self) -> None:
        """Rewrite the last line of a tty; nothing anywhere else."""
        if not self._is_tty:
            return
        self._clear_status()
        if self._runs:
            parts = [
                f"#{number} {shown.prompt.agent} {self._now() - shown.began_at:.0f} s"
                for number, shown in self._runs.items()
            ]
            self._write(_coloured(f"  running: {', '.join(parts)}"[:200], "quiet"))
            self._has_status = True

    async def keep_status(self) -> None:
        while self._is_tty:
            self.status()
            await asyncio.sleep(1.0)

    # Lines

    def _started(self, prompt: Prompt) -> None:
        self._runs[prompt.invocation] = _Shown(prompt=prompt, began_at=self._now())
        who = printable(prompt.asker.username or prompt.asker.name)
        where = "a direct chat" if prompt.room.kind == "dm" else f"#{printable(prompt.room.name)}"
        self._line(f"#{prompt.invocation}: {who} in {where} asks {prompt.agent}", "loud")
        if self._shows_prompts:
            for line in prompt.prompt.splitlines():
                self._line(f"    {printable(line)}", "quiet")

    def _event(self, invocation: int, payload: str) -> None:
        name = self._name(invocation)
        match events.decode(payload):
            case events.ToolCall(name=tool, title=title):
                if (shown := self._runs.get(invocation)) is not None:
                    shown.tools.append(tool)
                self._line(f"{name}: {printable(title or tool)[:160]}", "quiet")
            case events.Permission(name=tool, title=title, detail=detail):
                self._line(
                    f"{name}: asks the room to allow {printable(tool)}: {printable(detail or title)[:300]}", "ask"
                )
            case events.Notice(text=text, level=level):
                self._line(f"{name}: {printable(text)[:300]}", "quiet" if level == "info" else "bad")

    def _name(self, invocation: int) -> str:
        shown = self._runs.get(invocation)
        return f"#{invocation} {shown.prompt.agent}" if shown else f"#{invocation}"

    def _line(self, text: str, colour: str = "") -> None:
        self._clear_status()
        clock = time.strftime("%H:%M:%S", time.localtime(self._now()))
        self._write(f"{clock} {_coloured(text, colour) if self._is_tty and colour else text}\n")

    def _clear_status(self) -> None:
        if self._has_status:
            self._write("\r\x1b[K")
            self._has_status = False

    def _write(self, text: str) -> None:
        # A terminal that was closed, or a reader that has left, must not take the bridge with it.
        with contextlib.suppress(OSError):
            self._out.write(text)
            self._out.flush()

    # Questions

    async def ask(self, agent: str, question: Permission) -> bool:
        """Of the person at this terminal. Without one, or without an answer, it is no."""
        if not (self._is_tty and sys.stdin.isatty()):
            self._line(f"{agent}: {printable(question.name)} needs an answer at a terminal; denied", "bad")
            return False
        async with self._asking:  # one question on the screen at a time
            return await self._ask(agent, question)

    async def _ask(self, agent: str, question: Permission) -> bool:
        self._line(f"{agent} wants to use {printable(question.name)}:", "ask")
        for line in (question.detail or question.title).splitlines():
            self._line(f"    {printable(line)}")
        self._line("allow it? [y/N]", "ask")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOCAL_ANSWER_S):
                return (await _read_line()).strip().lower() in {"y", "yes"}
        return False


async def _read_line() -> str:
    """One line of stdin, without a thread that could not be stopped."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        if not answer.done():
            answer.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin, read)
    try:
        return await answer
    finally:
        loop.remove_reader(sys.stdin)


def printable(text: str) -> str:
    """In one line, without anything that a terminal would obey or that would turn its direction."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _coloured(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"
