"""Threads that own database connections: the hub's loop never touches Postgres itself."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

Result = TypeVar("Result")


class DatabaseThreads:
    """A few threads, each with a connection of its own that is thrown away as soon as it fails."""

    def __init__(self, *, name: str, count: int = 1) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, act: Callable[[], Result]) -> Result:
        """Raises what `act` raises. One try: only the caller knows whether a repeat is safe."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, _guarded, act)

    async def run_twice(self, act: Callable[[], Result]) -> Result:
        """For acts that may be repeated: after a restart of Postgres the first use of an old connection fails."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, _guarded_twice, act)

    async def close(self) -> None:
        """Close each thread's connection, then the threads. For the end of a process or of a test."""
        count = self._executor._max_workers  # noqa: SLF001 - one closing act per thread
        await asyncio.gather(*(self.run(connection.close) for _ in range(count)))
        self._executor.shutdown(wait=False)


def _guarded(act: Callable[[], Result]) -> Result:
    try:
        return act()
    except (OperationalError, InterfaceError):
        connection.close()
        raise


def _guarded_twice(act: Callable[[], Result]) -> Result:
    """Both tries in one thread: each thread has an old connection of its own."""
    try:
        return _guarded(act)
    except (OperationalError, InterfaceError):
        return _guarded(act)
