"""What does memory say to the question? Asks mem0-api in the background and never waits longer than its limit.

Memory is one channel of several: it names messages and scores them. What a prompt gets are our own rows, looked up in the
question's room, so a wrong, stale or poisoned answer can at worst name a message that the room may read anyway.
"""

import contextvars
import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

import msgspec
from django.conf import settings

from composer.breaker import Breaker
from composer.memory import client
from composer.memory.client import MemoryUnreachableError
from composer.memory.lines import Line

LIMIT = 100
"""Memories asked for."""

GIVE_UP_S = 2.0
MAX_QUERY_CHARS = 2_000
MAX_ID = 2**63 - 1
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
class Heard:
    """How well messages fit, by their number. `trouble` says why memory was not heard; a late one `is_late`, not away."""

    scores: Mapping[int, float]
    trouble: str = ""
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Recalled:
    """Lines by falling fit. `trouble` says why memory was not heard, if it was not."""

    lines: Sequence[Line]
    trouble: str = ""
    is_late: bool = False


class Pending:
    """A question to memory that is under way."""

    def __init__(self, *, future: "Future[list[Hit]] | None", deadline: float) -> None:
        self._future = future
        self._deadline = deadline

    def hear(self, *, own_id: int) -> Heard:
        """What memory says by the deadline. `own_id` is the question's."""
        if self._future is None:
            return Heard({}, "memory is resting after a failure")
        try:
            hits = self._future.result(timeout=max(0.0, self._deadline - time.monotonic()))
        except FutureTimeoutError:
            return Heard({}, "memory did not answer in time", is_late=True)
        except MemoryUnreachableError as error:
            return Heard({}, str(error))
        scores: dict[int, float] = {}
        for hit in hits[: LIMIT * 2]:
            # A number that no row of ours can have is nobody's message, and Postgres would not even compare it.
            if math.isfinite(hit.score) and 0 < hit.msg <= MAX_ID:
                scores[hit.msg] = max(hit.score, scores.get(hit.msg, hit.score))
        scores.pop(own_id, None)
        return Heard(scores)


def knows_meanings() -> bool:
    """Whether memory can know more than the words do; hashed letters hardly can."""
    return bool(settings.NEXUS_EMBEDDER_URL or settings.NEXUS_MEM0_LLM_URL)


def start(*, query: str, scope: str) -> Pending:
    """Ask memory in a thread; the caller does the rest of its work meanwhile and then calls `hear`."""
    deadline = time.monotonic() + settings.NEXUS_RECALL_TIMEOUT_S
    if not _breaker.is_closed() or not _busy.acquire(blocking=False):
        return Pending(future=None, deadline=deadline)
    # A late answer harms nobody, so the call may take longer than a prompt waits.
    answer_by = max(deadline, time.monotonic() + GIVE_UP_S)
    here = contextvars.copy_context()
    future = _executor().submit(here.run, _search, query=query[:MAX_QUERY_CHARS], scope=scope, deadline=answer_by)
    future.add_done_callback(_ended)
    return Pending(future=future, deadline=deadline)


def _ended(future: "Future[list[Hit]]") -> None:
    _busy.release()
    error = future.exception()
    if error is None:
        _breaker.succeeded()
    else:
        _breaker.failed(reason=str(error))


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
