"""Reads what rooms said while nobody listened: pages of what changed, oldest first, then what was deleted.

Only this moves a room's cursor, and only past what is committed. Each room is read by one account at a time.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from gateway.chat import cursors
from gateway.chat.cursors import Cursor
from gateway.chat.database import DatabaseDownError, DatabaseThread
from gateway.chat.feed import Feed
from gateway.ingest import Batch
from gateway.rocketchat.events import moment
from gateway.rocketchat.rest import (
    Page,
    RateLimitedError,
    RefusedError,
    RestClient,
    UnauthorizedError,
    UnreachableError,
)

logger = logging.getLogger(__name__)

OVERLAP_MS: Final = 60_000
PAGE: Final = 100
EVERY_S: Final = 60.0
FRESH_S: Final = 40.0
"""A round passes over a room that another process has caught up this recently."""

WORKERS: Final = 4
RETRY_S: Final = 5.0
REST_FACTOR: Final = 2.0
LONGEST_REST_S: Final = 10.0
"""Each reading reads the overlap again. In a busy room webhook nudges come all the time, so a room is left alone twice as
long as its last reading took.
"""

UNHEARD_AFTER_MS: Final = 10_000
"""A live event this late has not come: the connection that should have brought it is only half alive."""


class Reader(Protocol):
    """An account that is in the room and reads it."""

    @property
    def rest(self) -> RestClient: ...
    @property
    def ready_ms(self) -> int: ...


class CatchUp:
    """`request` asks for a room; `run` does it. Requests for a room that waits already are one."""

    def __init__(
        self,
        *,
        feed: Feed,
        database: DatabaseThread,
        reader_of: Callable[[str], Reader | None],
        on_unauthorized: Callable[[Reader, str], None],
        on_refused: Callable[[Reader, str], None],
        on_unheard: Callable[[Reader], None],
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._feed = feed
        self._database = database
        self._reader_of = reader_of
        self._on_unauthorized = on_unauthorized
        self._on_refused = on_refused
        self._on_unheard = on_unheard
        self._now_ms = now_ms
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._forced: set[str] = set()
        self._waiting: set[str] = set()
        self._running: set[str] = set()
        self._rest_until: dict[str, float] = {}
        self._pause_until = 0.0

    def request(self, rid: str, *, is_forced: bool = True) -> None:
        """`is_forced`: also when another process has just done it."""
        if is_forced:
            self._forced.add(rid)
        if rid not in self._waiting:
            self._waiting.add(rid)
            self._queue.put_nowait(rid)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(), name=f"catch up {number}")

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            rid = await self._queue.get()
            self._waiting.discard(rid)
            wait_s = RETRY_S / 10 if rid in self._running else self._rest_until.get(rid, 0.0) - loop.time()
            if wait_s > 0:
                self._later(rid, wait_s)
                continue
            self._running.add(rid)
            began = loop.time()
            try:
                await self._one(rid)
            finally:
                self._running.discard(rid)
                self._rest_until[rid] = loop.time() + min(REST_FACTOR * (loop.time() - began), LONGEST_REST_S)

    async def _one(self, rid: str) -> None:
        reader = self._reader_of(rid)
        is_forced = rid in self._forced
        self._forced.discard(rid)
        if reader is None:
            return
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._pause_until - loop.time()))
        try:
            await self._catch_up(rid, reader, is_forced=is_forced)
        except UnauthorizedError as error:
            self._on_unauthorized(reader, str(error))
        except RefusedError as error:
            logger.info("catch-up refused", extra={"room": rid, "reason": str(error)})
            self._on_refused(reader, rid)
        except RateLimitedError as error:
            self._pause_until = loop.time() + error.wait_s
            self._later(rid, error.wait_s)
        except (UnreachableError, DatabaseDownError) as error:
            logger.warning("catch-up failed", extra={"room": rid, "reason": str(error)[:200]})
            self._later(rid, RETRY_S)
        # Outermost: one room that can't be read must not end the catching-up of all others.
        except Exception:
            logger.exception("catch-up failed", extra={"room": rid})
            self._later(rid, EVERY_S)

    def _later(self, rid: str, wait_s: float) -> None:
        asyncio.get_running_loop().call_later(wait_s, self.request, rid)

    async def _catch_up(self, rid: str, reader: Reader, *, is_forced: bool) -> None:
        cursor = await self._database.run(partial(cursors.read, rid=rid))
        if cursor is None or (not is_forced and cursor.age_s < FRESH_S and cursor.dirty_at is None):
            return
        started_ms = self._now_ms()
        await self._changes(rid, reader, cursor, started_ms=started_ms)
        await self._deletions(rid, reader, cursor, started_ms=started_ms)
        await self._database.run(partial(cursors.finish, cursor=cursor))

    async def _changes(self, rid: str, reader: Reader, cursor: Cursor, *, started_ms: int) -> None:
        """The chat's own cursor skips what shares a page's last millisecond, so ours goes back by one."""
        after = max(0, cursor.updated_to - OVERLAP_MS - 1)
        is_unheard = False
        while True:
            page = await reader.rest.changed(rid=rid, after_ms=after, count=PAGE)
            until = started_ms - UNHEARD_AFTER_MS
            is_unheard |= self._feed.unheard(page.messages, since=reader.ready_ms, until=until)
            await self._keep(cursor, page, started_ms=started_ms)
            if page.next is None:
                break
            if page.next - 1 <= after:
                await self._keep(cursor, await self._all_at(rid, reader, after_ms=after), started_ms=started_ms)
                break
            after = page.next - 1
        if is_unheard and reader.ready_ms:
            self._on_unheard(reader)

    async def _keep(self, cursor: Cursor, page: Page, *, started_ms: int) -> None:
        await self._feed.store(Batch(messages=page.messages, bad=page.bad))
        if page.messages:
            # A message from the future must not carry the cursor past what is still to come.
            newest = min(max(message.updated for message in page.messages), started_ms)
            await self._database.run(partial(cursors.move, room_id=cursor.room_id, updated_to=newest))

    async def _all_at(self, rid: str, reader: Reader, *, after_ms: int) -> Page:
        """More messages share one millisecond than fit a page: only the unbounded form gets past it."""
        page, _ = await reader.rest.changed_since(rid=rid, since=_iso(after_ms))
        return page

    async def _deletions(self, rid: str, reader: Reader, cursor: Cursor, *, started_ms: int) -> None:
        after = max(0, cursor.deleted_to - OVERLAP_MS - 1)
        while True:
            found, following = await reader.rest.deleted(rid=rid, after_ms=after, count=PAGE)
            if following is not None and following - 1 <= after:
                following = None
                _, found = await reader.rest.changed_since(rid=rid, since=_iso(after))
            if found:
                await self._feed.store(Batch(deleted=[one.rc_id for one in found]))
                newest = min(max(one.at for one in found), started_ms)
                await self._database.run(partial(cursors.move, room_id=cursor.room_id, deleted_to=newest))
            if following is None:
                break
            after = following - 1


def _iso(ms: int) -> str:
    return moment(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
