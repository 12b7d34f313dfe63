"""One live CLI: its process, its adapter, and the background task that reads the one into the other."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from nexus_bridge.adapters.base import Adapter, Counting, Spawn
from nexus_bridge.adapters.base import Turn as AdapterTurn
from nexus_bridge.events import AnyEvent, Done
from nexus_bridge.orders import Stop
from nexus_bridge.process import StdinStuck
from nexus_bridge.room_files import hint
from nexus_bridge.turn import Turn

logger = logging.getLogger(__name__)

CLOSE_S: Final = 2.0
"""A CLI that was told to end by itself is killed after this long."""


class Process(Protocol):
    """What is wanted of a running CLI; `nexus_bridge.process.Process` is the real one."""

    async def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def close_stdin(self) -> None: ...
    def interrupt(self) -> None: ...
    def begin_turn(self) -> None: ...
    async def settle(self) -> None: ...
    async def wait(self) -> int: ...
    async def kill(self) -> None: ...
    async def gone(self) -> None: ...
    @property
    def awaits_input(self) -> bool: ...
    @property
    def memory_mib(self) -> int: ...
    @property
    def limit_hit(self) -> str: ...
    @property
    def stderr_tail(self) -> str: ...


StartProcess = Callable[[Spawn], Awaitable[Process]]


class LiveCli:
    """One process with its adapter, and the background task that reads it."""

    def __init__(self, *, adapter: Adapter, spawn: Spawn, process: Process, tools_token: str) -> None:
        self.adapter = adapter
        self.tools_token = tools_token
        self.turn: Turn | None = None
        self.exit_code: int | None = None
        self.used_at = 0.0
        self._spawn = spawn
        self._process = process
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._is_killed = False
        self._has_printed = False
        self._noise_told = 0
        self.write(adapter.start())
        self._reader = asyncio.create_task(self._read(), name="cli-reader")

    @property
    def is_gone(self) -> bool:
        return self._reader.done() or self._is_killed or self.exit_code is not None

    @property
    def is_spent(self) -> bool:
        """It was given one turn and end-of-file: it ends by itself."""
        return self._spawn.close_stdin_after_turn

    def begin(self, turn: Turn) -> None:
        self.turn = turn
        self._has_printed = False
        self._process.begin_turn()
        turn.begin(adapter=self.adapter, stdin=self)
        text = turn.prompt.prompt + ("" if turn.outbox is None else hint(turn.outbox))
        self.write(self.adapter.turn(AdapterTurn(text=text, files=tuple(turn.files))))
        if self._spawn.close_stdin_after_turn:
            self._process.close_stdin()

    def write(self, data: bytes) -> None:
        """A CLI that does not read what it is given fails its turn, not the bridge."""
        try:
            self._process.write(data)
        except StdinStuck as error:
            if self.turn is not None:
                self.turn.stop(
                    Stop(
                        invocation=self.turn.prompt.invocation,
                        outcome="failed",
                        reason="stdin_stuck",
                        message=str(error),
                    )
                )

    def interrupt(self) -> None:
        self._process.interrupt()

    @property
    def awaits_input(self) -> bool:
        return self._process.awaits_input

    @property
    def memory_mib(self) -> int:
        return self._process.memory_mib

    def set_paused(self, is_paused: bool) -> None:
        """Not reading fills the pipe, and the CLI blocks: that is all the backpressure there is."""
        if is_paused:
            self._may_read.clear()
        else:
            self._may_read.set()

    async def settle(self) -> None:
        """After a turn: what it left running ends, the CLI itself stays."""
        self.turn = None
        self.set_paused(False)
        self._warn_of_noise()
        await self._process.settle()

    async def close(self) -> None:
        """Let it end by itself for a moment, then make sure."""
        self._is_killed = True
        self.set_paused(False)
        self.write(self.adapter.close())
        self._process.close_stdin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """Returns when nothing of the tree is left."""
        self._is_killed = True
        self._warn_of_noise()
        await self._process.kill()
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _read(self) -> None:
        try:
            await self._read_to_end()
        except Exception:
            # An adapter that stumbles over its CLI's output must cost this turn alone.
            logger.exception("cli output not understood")
            if self.turn is not None:
                message = "The bridge could not read what the CLI said."
                invocation = self.turn.prompt.invocation
                self.turn.stop(Stop(invocation=invocation, outcome="failed", reason="adapter", message=message))

    async def _read_to_end(self) -> None:
        while data := await self._next_output():
            self._has_printed = True
            said = self.adapter.feed(data)
            self.write(self.adapter.outgoing())
            if self.turn is not None and said:
                self.turn.take(said)
            await self._may_read.wait()
        self.exit_code = await self._process.wait()
        if self.turn is not None:
            tail = self._process.stderr_tail
            if hit := self._process.limit_hit:
                tail += f"\nIt was ended because its processes took too much ({hit})."
            said = self.adapter.exited(code=self.exit_code, stderr_tail=tail)
            said = said or [Done(status="error", error_kind="crash", message=f"exit code {self.exit_code}")]
            self.turn.take([self._without_a_word(event) for event in said])

    def _without_a_word(self, event: AnyEvent) -> AnyEvent:
        """Exit code 0 and nothing printed is no crash, whatever the CLI: the room is told what it was."""
        if self.exit_code or self._has_printed or not isinstance(event, Done) or event.error_kind != "crash":
            return event
        return msgspec.structs.replace(event, error_kind="empty_output")

    def _warn_of_noise(self) -> None:
        """What the adapter could not read is not in the answer; the owner can see in the log that it was there."""
        if not isinstance(self.adapter, Counting) or (noise := self.adapter.noise) == self._noise_told:
            return
        unknown = sum(self.adapter.unknown.values())
        about = {"kind": self.adapter.kind, "lines": noise - self._noise_told, "unknown": unknown}
        logger.warning("adapter_parse", extra=about)
        self._noise_told = noise

    async def _next_output(self) -> bytes:
        """The next piece; on the way, a CLI that only stops talking when it is done is asked whether it is."""
        if not self._spawn.quiet_ends_turn_s:
            return await self._process.read()
        reading = asyncio.ensure_future(self._process.read())
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=self._spawn.quiet_ends_turn_s)
                if not reading.done() and self.turn is not None:
                    self.turn.take(self.adapter.quiet())
            return reading.result()
        finally:
            reading.cancel()
