"""Live CLI processes: one per agent and session key, kept for the next turn, stopped when idle, crowded out, or too much together."""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from nexus_bridge.live_cli import LiveCli

logger = logging.getLogger(__name__)

MEMORY_CHECK_S: Final = 5.0
"""So often the memory of all is looked at while one of them is idle."""

Key = tuple[str, str]


class Pool:
    """Hands out a live CLI per key. One key has one turn at a time; the session sees to that."""

    def __init__(
        self, *, max_live: int, idle_stop_s: float, memory_mib: int, busy: Callable[[], Collection[LiveCli]]
    ) -> None:
        """`memory_mib` is for all together, 0 is no cap; `busy` are those that are at a turn now."""
        self._max_live = max_live
        self._idle_stop_s = idle_stop_s
        self._memory_mib = memory_mib
        self._busy = busy
        self._memory_timer: asyncio.TimerHandle | None = None
        self._live: dict[Key, LiveCli] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._closing: dict[asyncio.Task[None], Key] = {}

    def __len__(self) -> int:
        return len(self._live)

    async def take(self, key: Key, *, tools_token: str) -> LiveCli | None:
        """The idle CLI of this key, if it may serve a turn with this tools token; it is the caller's from here on."""
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        cli = self._live.pop(key, None)
        if cli is not None and (cli.is_gone or cli.tools_token != tools_token):
            self._close(key, cli)
            cli = None
        await self._wait_until_closed(key)
        return cli

    def put(self, key: Key, cli: LiveCli) -> None:
        """Its turn is over: keep it for the next one."""
        if cli.is_gone or cli.is_spent:
            self._close(key, cli)
            return
        loop = asyncio.get_running_loop()
        cli.used_at = loop.time()
        self._live[key] = cli
        self._timers[key] = loop.call_later(self._idle_stop_s, self._stop, key)
        if self._memory_timer is not None:
            self._memory_timer.cancel()
        self._watch_memory()

    def make_room(self) -> None:
        """Before another one starts: stop those idle longest. Busy ones are bounded by the lanes, not here."""
        while self._live and len(self._live) + len(self._busy()) >= self._max_live:
            self._stop(self._idle_longest())
        self._save_memory()

    def _idle_longest(self) -> Key:
        return min(self._live, key=lambda key: self._live[key].used_at)

    def _watch_memory(self) -> None:
        """As long as one is idle: busy ones grow, idle ones do at times."""
        self._save_memory()
        is_needed = self._memory_mib and self._live
        loop = asyncio.get_running_loop()
        self._memory_timer = loop.call_later(MEMORY_CHECK_S, self._watch_memory) if is_needed else None

    def _save_memory(self) -> None:
        """Over the cap those idle longest end; busy ones count, and go on: each tree has a limit of its own."""
        if not self._memory_mib or not self._live:
            return
        sizes = {key: cli.memory_mib for key, cli in self._live.items()}
        total = sum(sizes.values()) + sum(cli.memory_mib for cli in self._busy())
        while self._live and total > self._memory_mib:
            oldest = self._idle_longest()
            logger.info("idle cli ended for memory", extra={"agent": oldest[0], "mib": sizes[oldest], "of_mib": total})
            total -= sizes[oldest]
            self._stop(oldest)

    async def close(self) -> None:
        if self._memory_timer is not None:
            self._memory_timer.cancel()
            self._memory_timer = None
        for key in list(self._live):
            self._stop(key)
        while self._closing:
            await asyncio.wait(list(self._closing))

    def _stop(self, key: Key) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        if (cli := self._live.pop(key, None)) is not None:
            self._close(key, cli)

    def _close(self, key: Key, cli: LiveCli) -> None:
        task = asyncio.create_task(cli.close(), name="cli-close")
        self._closing[task] = key
        task.add_done_callback(lambda done: self._closing.pop(done, None))

    async def _wait_until_closed(self, key: Key) -> None:
        """Two processes of one CLI session would write the same session file."""
        if closing := [task for task, of in self._closing.items() if of == key]:
            await asyncio.wait(closing)
