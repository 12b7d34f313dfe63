"""Plays whole turns of a real process through its adapter, as the runner does, but plainly."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nexus_bridge.adapters.base import Adapter, Turn
from nexus_bridge.events import AnyEvent, Done, Permission, Text
from nexus_bridge.process import Process

Decide = Callable[[Permission], bool]


class LiveCli:
    """One process; `ask` plays one turn of it."""

    def __init__(self, *, adapter: Adapter, process: Process, quiet_s: float) -> None:
        self.adapter = adapter
        self.process = process
        self.first_text_at = 0.0
        self._quiet_s = quiet_s or None

    @classmethod
    async def start(cls, adapter: Adapter) -> "LiveCli":
        spawn = adapter.spawn()
        process = await Process.start(spawn)
        process.write(adapter.start())
        return cls(adapter=adapter, process=process, quiet_s=spawn.quiet_ends_turn_s)

    async def ask(
        self, text: str, *, files: Sequence[Path] = (), decide: Decide = lambda _: False, interrupt_at: str = ""
    ) -> list[AnyEvent]:
        self.process.begin_turn()
        self.first_text_at = 0.0
        self.process.write(self.adapter.turn(Turn(text=text, files=tuple(files))))
        said: list[AnyEvent] = []
        while not any(isinstance(event, Done) for event in said):
            for event in await self._next():
                said.append(event)
                if isinstance(event, Text) and not self.first_text_at:
                    self.first_text_at = time.perf_counter()
                if isinstance(event, Permission):
                    self.process.write(self.adapter.answer(event.id, allow=decide(event), note="the room said no"))
                if interrupt_at and isinstance(event, Text) and interrupt_at in event.delta:
                    self.interrupt()
        return said

    def interrupt(self) -> None:
        frame = self.adapter.interrupt()
        if frame:
            self.process.write(frame)
        else:
            self.process.interrupt()

    async def _next(self) -> list[AnyEvent]:
        try:
            async with asyncio.timeout(self._quiet_s):
                data = await self.process.read()
        except TimeoutError:
            return self.adapter.quiet()
        if not data:
            code = await self.process.wait()
            return self.adapter.exited(code=code, stderr_tail=self.process.stderr_tail)
        said = self.adapter.feed(data)
        self.process.write(self.adapter.outgoing())
        return said


def text_of(said: list[AnyEvent]) -> str:
    return "".join(event.delta for event in said if isinstance(event, Text))


def done_of(said: list[AnyEvent]) -> Done:
    (done,) = [event for event in said if isinstance(event, Done)]
    return done
