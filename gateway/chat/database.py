"""The chat process's way to Postgres: one thread with one connection, so that asyncio never waits in a query."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

T = TypeVar("T")


class DatabaseDownError(Exception):
    """Postgres did not do it, for now; whether a commit happened is not known, so ask again by key."""


class DatabaseThread:
    """Steps run one after the other. The connection that failed is closed; the next step opens a new one."""

    def __init__(self, *, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, step: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _guarded, step)

    def close(self) -> None:
        """After the last step; its connection is closed in its own thread."""
        self._pool.submit(_disconnect)
        self._pool.shutdown(wait=True)


def _disconnect() -> None:
    """Named here so that the connection is looked up in its own thread; each thread has another one."""
    connection.close()


def _guarded(step: Callable[[], T]) -> T:
    try:
        return step()
    except (OperationalError, InterfaceError) as error:
        connection.close()
        logger.warning("the database did not answer", extra={"error": type(error).__name__})
        raise DatabaseDownError(str(error)) from error
    except DatabaseError:
        connection.close()
        raise
