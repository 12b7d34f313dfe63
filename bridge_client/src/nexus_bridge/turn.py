"""One turn of a CLI, from its prompt to its `Done`: what it said, what it asked, how long it may take, how it is stopped.

A turn knows its CLI by two calls (`write`, `interrupt`) and its session by three (`Listener`); time is asyncio's.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from nexus_bridge import events
from nexus_bridge.adapters.base import Adapter, Steerable
from nexus_bridge.events import AnyEvent, Done, Notice, Permission
from nexus_bridge.orders import Add, Decide, Ending, Kill, Stop
from nexus_bridge.packing import Cleaner, Packed, Packer
from nexus_bridge.protocol import Outcome, Prompt, Usage
from nexus_bridge.questions import AskLocally, Questions
from nexus_bridge.settings import Agent, Limits

logger = logging.getLogger(__name__)

PACK_S: Final = 0.04
"""Chunks leave at most this often; the first after a silence leaves at once."""

PACK_CHARS: Final = 24 * 1024
"""More than this does not wait: it fills a frame, and a CLI that pours is to meet the window soon."""

OBEY_S: Final = 3.0
"""A CLI that was asked to stop is killed after this long."""

MAX_MESSAGE: Final = 2_000
"""Characters of what a CLI says of its failure."""


class Listener(Protocol):
    """The session, as a turn sees it."""

    def spool(self, invocation: int, chunks: Sequence[Packed]) -> None: ...

    def cli_session(self, invocation: int, id: str) -> None: ...  # noqa: A002 - the CLI's word


class Stdin(Protocol):
    """The process, as a turn sees it."""

    def write(self, data: bytes) -> None: ...

    def interrupt(self) -> None: ...

    @property
    def awaits_input(self) -> bool: ...


class Turn:
    """`take` events until `is_over`; `watch` returns when it is, or when the turn must be stopped."""

    def __init__(
        self,
        *,
        prompt: Prompt,
        agent: Agent,
        limits: Limits,
        listener: Listener,
        cleaner: Callable[[], Cleaner],
        ask_locally: AskLocally,
    ) -> None:
        self.prompt = prompt
        self.agent = agent
        self.done: Done | None = None
        self.order: Stop | Kill | None = None
        self.is_paused = False
        self.usage = Usage()
        self._listener = listener
        self._wall_s = min(limits.wall_s, prompt.limits.wall_s)
        self._idle_s = min(limits.idle_s, prompt.limits.idle_s)
        output_bytes = min(limits.output_bytes, prompt.limits.output_bytes)
        self._packer = Packer(output_bytes=output_bytes, cleaner=cleaner)
        self._loop = asyncio.get_running_loop()
        self._started_at = self._active_at = self._loop.time()
        self._flushed_at = 0.0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._questions = Questions(
            prompt=prompt, agent=agent, wait_s=limits.permission_s, turn=self, ask_locally=ask_locally
        )
        self._added: set[int] = set()
        self._adapter: Adapter | None = None
        self._stdin: Stdin | None = None
        self.files: Sequence[Path] = ()
        self.outbox: Path | None = None

    # The CLI's side

    def begin(self, *, adapter: Adapter, stdin: Stdin) -> None:
        """From here on answers and interrupts have somewhere to go."""
        self._adapter = adapter
        self._stdin = stdin
        self._active_at = self._loop.time()

    def steer(self, order: Add) -> None:
        """What somebody adds reaches the CLI at once, each once; before it has its prompt, and after its end, never."""
        if order.id in self._added or self.done is not None or self._stdin is None:
            return
        self._added.add(order.id)
        if not isinstance(self._adapter, Steerable):
            self._packer.add(Notice(level="warning", text="This CLI takes nothing more while it works."))
        else:
            by = f"{order.by} adds: " if order.by else ""
            self._stdin.write(self._adapter.steer(by + order.text))
            self._packer.add(Notice(text="Something was added."))
        self._flush()

    def take(self, said: Sequence[AnyEvent]) -> None:
        """What the CLI said. After its `Done` nothing of this turn counts."""
        self._active_at = self._loop.time()
        for event in said:
            if self.done is not None:
                return
            self._take_one(event)
        if self.done is not None:
            self._changed.set()
        else:
            self._flush_soon()

    def _take_one(self, event: AnyEvent) -> None:
        match event:
            case Done():
                self.done = event
                if event.error_kind == "session":
                    return  # nothing ran; the runner starts the CLI afresh
            case Permission():
                self._questions.ask(event)
                return
            case events.Session():
                self._listener.cli_session(self.prompt.invocation, event.id)
            case events.Usage():
                self._count(event)
        self._packer.add(event)

    def _count(self, usage: events.Usage) -> None:
        cost = (self.usage.cost_usd or 0.0) + max(usage.cost_usd, 0.0) if usage.cost_usd is not None else None
        self.usage = Usage(
            input_tokens=self.usage.input_tokens + max(usage.input_tokens, 0),
            output_tokens=self.usage.output_tokens + max(usage.output_tokens, 0),
            cached_tokens=self.usage.cached_tokens + max(usage.cached_tokens, 0),
            cost_usd=self.usage.cost_usd if cost is None else cost,
        )

    def renew(self) -> None:
        """The CLI forgot the session it was to resume: the same turn again, in a new process."""
        self.done = None
        self._adapter = self._stdin = None

    # Output

    def _flush_soon(self) -> None:
        wait = self._flushed_at + PACK_S - self._loop.time()
        if wait <= 0 or self._packer.pending_chars >= PACK_CHARS:
            self._flush()
        elif self._flush_timer is None:
            self._flush_timer = self._loop.call_later(wait, self._flush)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        chunks = self._packer.take()
        if chunks:
            self._flushed_at = self._loop.time()
            self._listener.spool(self.prompt.invocation, chunks)

    def add(self, told: Sequence[AnyEvent]) -> None:
        """What the bridge itself has to say behind the CLI's last word."""
        for event in told:
            self._packer.add(event)

    def close(self) -> None:
        """Everything that was said is spooled; questions nobody answered are let go."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._questions.close()
        chunks = self._packer.finish()
        if chunks:
            self._listener.spool(self.prompt.invocation, chunks)

    # Its questions

    def say(self, event: AnyEvent) -> None:
        self._packer.add(event)
        self._flush()

    def answer(self, permission: str, *, allow: bool, note: str) -> None:
        self._active_at = self._loop.time()
        self._changed.set()
        if self._adapter is not None and self._stdin is not None:
            self._stdin.write(self._adapter.answer(permission, allow=allow, note=note))

    def decide(self, order: Decide) -> None:
        """A person at the hub answered."""
        if self.done is None:
            self._questions.decide(order)

    # Its end

    def stop(self, order: Stop | Kill) -> None:
        """The first stop counts; a kill always does."""
        if self.order is None or isinstance(order, Kill):
            self.order = order
        self._changed.set()

    def set_paused(self, is_paused: bool) -> None:
        """While the hub does not take what was said, the CLI's silence is our doing."""
        self.is_paused = is_paused
        self._active_at = self._loop.time()
        self._changed.set()

    async def ordered_before(self, work: "asyncio.Future[Any]") -> bool:
        """Wait for what comes before the CLI; True when a stop came first."""
        while not work.done() and self.order is None:
            self._changed.clear()
            changed = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait({work, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
        return not work.done()

    async def watch(self) -> None:
        """Until the turn is done, stopped, or over a limit (which is a stop of its own)."""
        while self.done is None and self.order is None:
            self._questions.expire()
            if (broken := self._broken_limit()) is not None:
                self.order = broken
                return
            await self._wait_for_change(self._next_deadline() - self._loop.time())

    async def obey(self) -> bool:
        """After a stop: ask the CLI, and say whether it ended its turn in time."""
        if self.done is None and self._adapter is not None and self._stdin is not None:
            if data := self._adapter.interrupt():
                self._stdin.write(data)
            else:
                self._stdin.interrupt()
            until = self._loop.time() + OBEY_S
            while self.done is None and isinstance(self.order, Stop) and self._loop.time() < until:
                await self._wait_for_change(until - self._loop.time())
        return self.done is not None

    async def _wait_for_change(self, timeout: float) -> None:  # noqa: ASYNC109 - the deadline is the point
        self._changed.clear()
        try:
            async with asyncio.timeout(max(0.0, timeout)):
                await self._changed.wait()
        except TimeoutError:
            return

    def _broken_limit(self) -> Stop | None:
        now = self._loop.time()
        if now >= self._started_at + self._wall_s:
            message = f"It ran longer than {self._wall_s:.0f} s and was stopped."
            return self._stop_for("wall_timeout", message)
        if self._may_idle_out and now >= self._active_at + self._idle_s:
            return self._silent()
        return None

    def _silent(self) -> Stop:
        """Over the idle limit. What reads its input will not say more: nobody types there."""
        silence = f"It said nothing for {self._idle_s:.0f} s"
        if self._stdin is not None and self._stdin.awaits_input:
            return self._stop_for("needs_input", f"{silence}: it waits for input, and nobody can type there.")
        return self._stop_for("idle_timeout", f"{silence} and was stopped.")

    def _stop_for(self, reason: str, message: str) -> Stop:
        return Stop(invocation=self.prompt.invocation, outcome="failed", reason=reason, message=message)

    @property
    def _may_idle_out(self) -> bool:
        return not self._questions and not self.is_paused

    def _next_deadline(self) -> float:
        deadlines = [self._started_at + self._wall_s, *self._questions.deadlines()]
        if self._may_idle_out:
            deadlines.append(self._active_at + self._idle_s)
        return min(deadlines)

    def ending(self, *, exit_code: int | None) -> Ending:
        """How the hub is told."""
        done, order = self.done, self.order
        if done is not None and done.status == "ok":
            return Ending(outcome="done", exit_code=exit_code, usage=self.usage)
        if isinstance(order, Stop):
            return Ending(
                outcome=order.outcome,
                reason=order.reason,
                message=order.message,
                exit_code=exit_code,
                usage=self.usage,
            )
        if done is None:
            return Ending(outcome="interrupted", reason="killed", exit_code=exit_code, usage=self.usage)
        outcome: Outcome = "interrupted" if done.status == "interrupted" else "failed"
        return Ending(
            outcome=outcome,
            reason=done.error_kind or done.status,
            message=self._packer.clean(done.message)[:MAX_MESSAGE],
            exit_code=exit_code,
            usage=self.usage,
        )
