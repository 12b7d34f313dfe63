"""Which older messages bear on the question? Asks memory in the background and never waits longer than its limit.

Memory is one channel: it names messages and scores them. What a prompt gets are our own rows, looked up again in the
question's room, so a wrong, stale or poisoned answer can at worst name a message that the room may read anyway.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

import msgspec
from django.conf import settings

from composer.breaker import Breaker
from composer.memory import client
from composer.memory.client import MemoryUnreachableError
from composer.memory.lines import SPOKEN, Line, Moment, select

LIMIT = 24
"""Memories asked for."""

MAX_QUERY_CHARS = 2_000
THREADS = 4
"""Calls at once per worker process; a call that hangs keeps one until its socket gives up. Above it nobody asks."""

_breaker = Breaker(name="mem0-api")
_pool: "ThreadPoolExecutor | None" = None
_busy = threading.BoundedSemaphore(THREADS)


class Hit(msgspec.Struct, frozen=True):
    """A memory's source message and how well it fits."""

    msg: int
    score: float = 0.0


class _Reply(msgspec.Struct):
    results: list[Hit]


@dataclass(frozen=True, slots=True)
class Recalled:
    """Lines by falling score. `trouble` says why memory was not heard, if it was not."""

    lines: Sequence[Line]
    trouble: str = ""


class Pending:
    """A question to memory that is under way."""

    def __init__(self, *, future: "Future[list[Hit]] | None", deadline: float) -> None:
        self._future = future
        self._deadline = deadline

    def take(self, *, room_id: int, before: Moment) -> Recalled:
        """Wait until the deadline at most, and look the messages up in this room."""
        if self._future is None:
            return Recalled((), "memory is resting after a failure")
        try:
            hits = self._future.result(timeout=max(0.0, self._deadline - time.monotonic()))
        except FutureTimeoutError:
            _breaker.failed(reason="timeout")
            return Recalled((), "memory did not answer in time")
        except MemoryUnreachableError as error:
            _breaker.failed(reason=str(error))
            return Recalled((), str(error))
        _breaker.succeeded()
        return Recalled(own_rows(hits=hits, room_id=room_id, before=before))


def start(*, query: str, scope: str) -> Pending:
    """Ask memory in a thread; the caller does the rest of its work meanwhile and then calls `take`."""
    deadline = time.monotonic() + settings.NEXUS_RECALL_TIMEOUT_S
    if not _breaker.is_closed() or not _busy.acquire(blocking=False):
        return Pending(future=None, deadline=deadline)
    future = _executor().submit(_search, query=query[:MAX_QUERY_CHARS], scope=scope, deadline=deadline)
    future.add_done_callback(lambda _: _busy.release())
    return Pending(future=future, deadline=deadline)


def own_rows(*, hits: Sequence[Hit], room_id: int, before: Moment) -> list[Line]:
    """The named messages that are in this room, said before the question and not deleted; best first."""
    scores: dict[int, float] = {}
    for hit in hits[: LIMIT * 2]:
        scores[hit.msg] = max(hit.score, scores.get(hit.msg, hit.score))
    scores.pop(before.id, None)
    if not scores:
        return []
    lines = select(
        f"m.id = ANY(%s::bigint[]) AND m.room_id = %s AND (m.ts, m.id) <= (%s, %s) AND {SPOKEN}",
        [list(scores), room_id, before.at, before.id],
    )
    return sorted(lines, key=lambda line: (-scores[line.id], line.order))


def _search(*, query: str, scope: str, deadline: float) -> list[Hit]:
    body = {"query": query, "scope": scope, "limit": LIMIT}
    content = client.call("POST", "/search", body, timeout_s=max(0.01, deadline - time.monotonic()))
    try:
        return msgspec.json.decode(content, type=_Reply, strict=False).results
    except msgspec.MsgspecError as error:
        raise MemoryUnreachableError("memory's answer is not understood") from error


def _executor() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="recall")
    return _pool
