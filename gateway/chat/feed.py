"""The one way of the chat process into `messages`: everything that accounts hear and catch-up reads, in batches.

No timer: what comes while one batch is being committed is the next batch.
"""

import asyncio
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.chat.database import DatabaseDownError, DatabaseThread
from gateway.chat.pace import backoff
from gateway.ingest import Batch, Ingest, Outcome
from gateway.rocketchat.events import ChatMessage, Document

logger = logging.getLogger(__name__)

BATCH_MESSAGES: Final = 500
WAITING_MESSAGES: Final = 20_000
"""Live messages waiting to be stored; above it they are dropped, for catch-up reads them again."""

KNOWN_VERSIONS: Final = 50_000
"""Versions known to be stored, so that what several accounts hear, or catch-up reads again, costs nothing."""

SLOWEST_RETRY_S: Final = 5.0


@dataclass(slots=True)
class _Waiting:
    batch: Batch
    done: "asyncio.Future[Outcome] | None"


class Feed:
    """`run` stores; `offer` and `store` hand in. `counts` says what was skipped and why."""

    def __init__(self, *, database: DatabaseThread, ingest: Ingest) -> None:
        self._database = database
        self._ingest = ingest
        self.on_outcome: Callable[[Outcome], None] = lambda _: None
        self._live: OrderedDict[tuple[str, int], ChatMessage] = OrderedDict()
        self._others: deque[_Waiting] = deque()
        self._stored: OrderedDict[str, int] = OrderedDict()
        self._storing: dict[str, int] = {}
        self._wake = asyncio.Event()
        self.counts: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()

    def offer(self, message: ChatMessage) -> bool:
        """A live version. False: it was dropped because too many wait; its room needs a catch-up."""
        # Each account of a room hears it, and the first one's copy may be on its way into the database.
        if self.is_stored(message) or self._storing.get(message.rc_id) == message.updated:
            self.counts["known"] += 1
            return True
        if len(self._live) >= WAITING_MESSAGES:
            self.counts["dropped"] += 1
            return False
        self._live[message.rc_id, message.updated] = message
        self._awake()
        return True

    def set_aside(self, document: Document, *, reason: str) -> None:
        self._append(Batch(bad=((document, reason),)))

    def delete(self, rc_id: str) -> None:
        """A live deletion. Behind the live messages, which may hold the message itself."""
        self._append(Batch(deleted=(rc_id,)))

    async def store(self, batch: Batch) -> Outcome:
        """Returns once the batch is committed; for catch-up, whose cursor moves only then."""
        fresh = [message for message in batch.messages if not self.is_stored(message)]
        left = Batch(messages=fresh, deleted=batch.deleted, bad=batch.bad)
        if not len(left):
            return Outcome()
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._others.append(_Waiting(left, done))
        self._awake()
        return await done

    async def idle(self) -> None:
        """Returns once everything handed in so far is stored."""
        await self._idle.wait()

    def is_stored(self, message: ChatMessage) -> bool:
        """Whether this version, or a newer one, is committed as far as this process knows."""
        return self._stored.get(message.rc_id, -1) >= message.updated

    def unheard(self, messages: Iterable[ChatMessage], *, since: int, until: int) -> bool:
        """Whether one of these changed in that span (ms) without any of our connections having told us."""
        return any(
            since < one.updated < until and not self.is_stored(one) and not self._waits(one) for one in messages
        )

    async def run(self) -> None:
        """Until cancelled. What waits then is not lost: the next process catches up."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._live or self._others:
                await self._store_next()
            self._idle.set()

    def _append(self, batch: Batch) -> None:
        """Dropped above the bound: catch-up comes to it again."""
        if len(self._others) >= WAITING_MESSAGES:
            self.counts["dropped"] += 1
            return
        self._others.append(_Waiting(batch, None))
        self._awake()

    def _awake(self) -> None:
        self._idle.clear()
        self._wake.set()

    def _waits(self, message: ChatMessage) -> bool:
        return (message.rc_id, message.updated) in self._live

    async def _store_next(self) -> None:
        live = self._take_live()
        others = self._take_others(room=BATCH_MESSAGES - len(live))
        batch = Batch(
            messages=[*live, *(message for waiting in others for message in waiting.batch.messages)],
            deleted=[rc_id for waiting in others for rc_id in waiting.batch.deleted],
            bad=[item for waiting in others for item in waiting.batch.bad],
        )
        self._storing = {message.rc_id: message.updated for message in live}
        outcome = await self._until_stored(batch)
        self._storing = {}
        self._note(batch.messages, unknown=outcome.unknown)
        for waiting in others:
            if waiting.done is not None and not waiting.done.done():
                waiting.done.set_result(outcome)
        self.on_outcome(outcome)

    async def _until_stored(self, batch: Batch) -> Outcome:
        for wait in backoff(cap_s=SLOWEST_RETRY_S):
            try:
                return await self._database.run(partial(self._ingest.store, batch))
            except DatabaseDownError:
                self.counts["database_down"] += 1
                await asyncio.sleep(wait)
        raise AssertionError("backoff never ends")

    def _take_live(self) -> list[ChatMessage]:
        count = min(len(self._live), BATCH_MESSAGES)
        return [self._live.popitem(last=False)[1] for _ in range(count)]

    def _take_others(self, *, room: int) -> list[_Waiting]:
        """At least one, so that a stream of live messages never keeps catch-up waiting."""
        taken: list[_Waiting] = []
        while self._others and (not taken or room > 0):
            waiting = self._others.popleft()
            room -= len(waiting.batch)
            taken.append(waiting)
        return taken

    def _note(self, messages: Sequence[ChatMessage], *, unknown: set[str]) -> None:
        for message in messages:
            if message.rid not in unknown:
                known = self._stored.pop(message.rc_id, -1)
                self._stored[message.rc_id] = max(known, message.updated)
        while len(self._stored) > KNOWN_VERSIONS:
            self._stored.popitem(last=False)
