"""Group commit: frames of all connections go into one transaction; what arrives meanwhile is the next one."""

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.db import DatabaseError, InterfaceError, OperationalError

from gateway import nudges
from gateway.hub import metrics
from gateway.hub.connection import Connection
from gateway.hub.threads import DatabaseThreads
from gateway.watch import traces
from nexus_bridge.protocol import Accepted, Ack, Drop, End, Error, Frame, Refused, Rewind
from runtime import chunks

logger = logging.getLogger(__name__)

MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
MAX_BATCH_FRAMES: Final = 4_000
MAX_CONNECTION_BYTES: Final = 512 * 1024
"""Uncommitted frames of one connection; twice what a bridge may have unacked. Beyond it: closed as slow."""

MAX_PROCESS_BYTES: Final = 64 * 1024 * 1024
"""Uncommitted frames of all connections. Beyond it, who sends next is closed; his journal has it all."""

FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Item:
    connection: Connection
    arrival: chunks.Arrival
    size: int


class Writer:
    """One per process. While Postgres is away frames are kept and nothing is acked."""

    def __init__(self) -> None:
        self._threads = DatabaseThreads(name="hub-writer")
        self._waiting: deque[Item] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, connection: Connection, frame: chunks.FromRun, *, size: int) -> None:
        """Take a frame whose content was checked. Too much at once closes the connection."""
        if connection.uncommitted + size > MAX_CONNECTION_BYTES or self._bytes + size > MAX_PROCESS_BYTES:
            connection.bye("slow", message="more output than can be stored now")
            return
        connection.uncommitted += size
        self._bytes += size
        arrival = chunks.Arrival(bridge_id=connection.bridge_id, session=connection.session, frame=frame)
        self._waiting.append(Item(connection, arrival, size))
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """The writer's loop, for as long as the process lives."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._store(self._next_batch())
            self._idle.set()

    async def settled(self) -> None:
        """Wait until everything taken so far is stored or given up."""
        await self._idle.wait()

    async def close(self) -> None:
        with contextlib.suppress(DatabaseError, InterfaceError):
            await self._threads.close()

    def _next_batch(self) -> list[Item]:
        batch: list[Item] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH_FRAMES and size < MAX_BATCH_BYTES:
            item = self._waiting.popleft()
            size += item.size
            batch.append(item)
        return batch

    async def _store(self, batch: list[Item]) -> None:
        """Until it is stored. A batch that fails for what is in it is split until the bad frame stands alone."""
        delay = FIRST_RETRY_S
        while True:
            try:
                stored = await self._threads.run(lambda: chunks.store(arrivals=[item.arrival for item in batch]))
            except (OperationalError, InterfaceError) as error:
                if _is_about_content(error):
                    await self._split(batch, error)
                    return
                logger.warning("chunks wait for the database", extra={"frames": len(batch), "error": repr(error)})
                await asyncio.sleep(delay * (0.5 + random.random() / 2))  # noqa: S311 - spread, not secrecy
                delay = min(LAST_RETRY_S, delay * 2)
            # Whatever else a frame may cause, it must not keep the frames of others from being stored.
            except Exception as error:  # noqa: BLE001 - told by _split
                await self._split(batch, error)
                return
            else:
                metrics.CHUNKS.inc(stored.chunk_count)
                metrics.BATCHES.inc()
                self._answer(batch, stored.answers)
                nudges.chat_now(agent_ids=list(stored.agent_ids))
                return

    async def _split(self, batch: list[Item], error: Exception) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])
            return
        item = batch[0]
        extra = {"bridge": item.connection.bridge_id, "invocation": item.arrival.frame.invocation}
        logger.error("frame can't be stored", extra=extra, exc_info=error)
        answer: Frame = Drop(invocation=item.arrival.frame.invocation, reason="the hub can't store this frame")
        try:
            answer = await self._threads.run_twice(lambda: chunks.give_up(arrival=item.arrival))
        except (DatabaseError, InterfaceError):
            logger.exception("run can't be given up", extra=extra)
        self._answer(batch, [answer])

    def _answer(self, batch: list[Item], answers: list[Frame | None]) -> None:
        acks: dict[tuple[Connection, int], Ack] = {}
        for item, answer in zip(batch, answers, strict=True):
            connection = item.connection
            connection.uncommitted -= item.size
            self._bytes -= item.size
            if isinstance(item.arrival.frame, Accepted | End | Refused):
                _tell(connection, item.arrival.frame)
            if isinstance(answer, Ack):
                acks[connection, answer.invocation] = answer
            elif answer is not None:
                # A rewind goes below what was acked a moment before; that ack must not follow it.
                acks.pop((connection, item.arrival.frame.invocation), None)
                self._answer_one(connection, answer)
        self._send_acks(acks.items())

    def _send_acks(self, acks: Iterable[tuple[tuple[Connection, int], Ack]]) -> None:
        """Acks are cumulative: the last one of each run is enough."""
        for (connection, invocation), ack in acks:
            connection.rewound.pop(invocation, None)
            connection.post(ack)

    def _answer_one(self, connection: Connection, answer: Frame) -> None:
        match answer:
            case Rewind():
                if connection.rewound.get(answer.invocation) != answer.seq:
                    connection.rewound[answer.invocation] = answer.seq
                    connection.post(answer)
            case Error():
                connection.bad_frame(answer)
            case _:
                connection.post(answer)


def _tell(connection: Connection, frame: Accepted | End | Refused) -> None:
    """The turning points of a run: a line each, and its span once it has ended."""
    extra = {"invocation": frame.invocation, "bridge": connection.bridge_id}
    match frame:
        case Accepted():
            connection.accepted[frame.invocation] = time.time()
            logger.info("run accepted", extra=extra)
        case Refused():
            logger.info("run refused", extra={**extra, "reason": frame.reason})
        case End():
            logger.info("run ended", extra={**extra, "outcome": frame.outcome})
            # Accepted on an earlier connection: what is known is that it has ended.
            began_at = connection.accepted.pop(frame.invocation, time.time())
            traces.record("hub.run", invocation_id=frame.invocation, began_at=began_at, outcome=frame.outcome)


def _is_about_content(error: Exception) -> bool:
    """Postgres calls its own limits (class 54) operational, but the same frame meets them every time."""
    return str(getattr(error.__cause__, "sqlstate", None) or "").startswith("54")
