"""Which messages does memory not know yet? Writes them to mem0-api, oldest first, until none is left or time is up.

`messages.remembered_at` is the only record of what is done: a trigger empties it when a message's text changes or goes,
so that edits are replaced and deletions removed by the same way. Everything here may be repeated.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
from django.conf import settings
from django.db import connection

from composer.breaker import Breaker
from composer.memory import client, facts, forgetting, scopes
from composer.memory.client import MemoryRefusedError, MemoryUnreachableError
from composer.memory.lines import MAX_LINE_CHARS, micros
from gateway import redaction
from gateway.models import Message, Room

logger = logging.getLogger(__name__)

BATCH = 50
TIME_S = 20.0
"""One task's share; what is left is for the next one."""

TIMEOUT_S = 30.0
"""A batch may go through a slow embedder."""

_FAILED = 500
_POISON = (413, 422, _FAILED)
"""Answers that may be about what was sent, not about mem0-api's own state."""

STEP = 20
"""Memories re-embedded or learned from by one call."""

TRIES = 3
MAX_STUMBLES = 1_000
_stumbles: dict[int, int] = {}
"""How often mem0-api failed over a message that was alone."""

_LOCK = 0x6E787265  # "nxre": one writer at a time, whatever the number of workers
_breaker = Breaker(name="mem0-api (writing)")


class _Result(msgspec.Struct):
    msg: int
    state: str
    reason: str = ""


class _Reply(msgspec.Struct):
    results: list[_Result]


class _Progress(msgspec.Struct):
    done: int
    left: bool
    trouble: str = ""


class RememberError(RuntimeError):
    """mem0-api could not take a batch; its messages stay unremembered."""


class PoisonError(RememberError):
    """mem0-api is there but stumbles over something in this very batch; `is_about_it`: and says so."""

    def __init__(self, text: str, *, is_about_it: bool) -> None:
        super().__init__(text)
        self.is_about_it = is_about_it


def remember(*, clock: Callable[[], float] = time.monotonic) -> int:
    """Returns how many messages are dealt with. Ends quietly when memory is away: the sweep asks again."""
    end = clock() + TIME_S
    try:
        with _only_writer() as is_ours:
            if not is_ours:
                return 0
            forgetting.work(clock=clock)
            facts.delete_expired()
            return _until(end, clock=clock)
    finally:
        client.close()


def _until(end: float, *, clock: Callable[[], float]) -> int:
    done_count = 0
    while clock() < end and _breaker.is_closed():
        try:
            dealt_with = _one_batch()
            if not dealt_with:
                _afterwards(end, clock=clock)
        except RememberError as error:
            _breaker.failed(reason=str(error))
            break
        _breaker.succeeded()
        done_count += dealt_with
        if not dealt_with:
            break
    return done_count


def _afterwards(end: float, *, clock: Callable[[], float]) -> None:
    """When all is stored: memories of another embedder get new vectors, and a model learns from what is new."""
    _work_off("/reembed", end, clock=clock)
    if settings.NEXUS_MEM0_LLM_URL:
        _work_off("/learn", end, clock=clock)
        facts.adopt_learned()


def _work_off(path: str, end: float, *, clock: Callable[[], float]) -> None:
    while clock() < end:
        content = _call("POST", path, {"limit": STEP})
        try:
            progress = msgspec.json.decode(content, type=_Progress)
        except msgspec.MsgspecError as error:
            raise RememberError("its answer is not understood") from error
        if progress.trouble:
            logger.warning("memory does not get on", extra={"path": path, "reason": progress.trouble[:200]})
        if progress.trouble or not progress.left:
            return


def _one_batch() -> int:
    rows = list(
        Message.objects.filter(remembered_at=None).select_related("room", "user", "agent").order_by("pk")[:BATCH]
    )
    scope_of = _Scopes()
    gone = [row for row in rows if not _is_worth(row)]
    said = [row for row in rows if _is_worth(row)]
    done = _add_all(said, scope_of) if said else set()
    # Only what was said before can be in memory; a system message never was.
    for row in gone:
        if not row.system_type:
            _call("DELETE", f"/memories?msg={row.pk}")
    dealt_with = [row for row in rows if row.pk in done or not _is_worth(row)]
    _mark(dealt_with)
    return len(dealt_with)


def _is_worth(row: Message) -> bool:
    return row.deleted_at is None and not row.system_type and bool(row.text.strip())


def _add_all(rows: Sequence[Message], scope_of: "_Scopes") -> set[int]:
    """The ids that are dealt with. A message that mem0-api stumbles over alone is left out, and the rest goes on.

    Where it stumbles over every one of several, it is not the messages that are ill.
    """
    bad: list[tuple[Message, PoisonError]] = []
    done = _add_halves(rows, scope_of, bad)
    for row, error in bad:
        if not done and not _is_given_up(row, error):
            raise error
        logger.warning("message is not remembered", extra={"about": row.pk, "reason": str(error)})
        _stumbles.pop(row.pk, None)
    return done | {row.pk for row, _ in bad}


def _is_given_up(row: Message, error: PoisonError) -> bool:
    """Alone, or among none but bad ones: what is wrong with it mem0-api must have said, or it must fail time and again."""
    if error.is_about_it:
        return True
    if len(_stumbles) > MAX_STUMBLES:
        _stumbles.clear()
    _stumbles[row.pk] = _stumbles.get(row.pk, 0) + 1
    return _stumbles[row.pk] >= TRIES


def _add_halves(rows: Sequence[Message], scope_of: "_Scopes", bad: list[tuple[Message, "PoisonError"]]) -> set[int]:
    try:
        return _add(rows, scope_of)
    except PoisonError as error:
        if len(rows) == 1:
            bad.append((rows[0], error))
            return set()
        middle = len(rows) // 2
        return _add_halves(rows[:middle], scope_of, bad) | _add_halves(rows[middle:], scope_of, bad)


def _add(rows: Sequence[Message], scope_of: "_Scopes") -> set[int]:
    body = {"memories": [_memory(row, scope=scope_of(row.room)) for row in rows]}
    content = _call("POST", "/memories", body)
    try:
        results = msgspec.json.decode(content, type=_Reply, strict=False).results
    except msgspec.MsgspecError as error:
        raise RememberError("its answer is not understood") from error
    if {result.msg for result in results} != {row.pk for row in rows}:
        raise RememberError("it answered for other messages than it was given")
    for result in results:
        if result.state == "refused":
            logger.warning("memory refused a message", extra={"about": result.msg, "reason": result.reason[:200]})
    # Its room's scope has changed since it was read: it comes again with the new one.
    return {result.msg for result in results if result.state != "elsewhere"}


def _memory(row: Message, *, scope: str) -> dict[str, object]:
    speaker = row.user.username if row.user is not None else row.agent.slug if row.agent is not None else ""
    return {
        "msg": row.pk,
        "scope": scope,
        # A token that somebody typed goes when he deletes the message; in a memory it would come up again in other rooms.
        "text": redaction.masked(row.text)[:MAX_LINE_CHARS],
        "actor": speaker,
        "role": "user" if row.user_id else "assistant",
        "at": row.ts.isoformat(),
        "rev": micros(row.rc_updated_at),
    }


def _mark(rows: Sequence[Message]) -> None:
    """Remembered, unless it changed meanwhile: then it comes again."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE messages SET remembered_at = now() FROM unnest(%s::bigint[], %s::timestamptz[]) AS done(id, seen)"
            " WHERE messages.id = done.id AND messages.rc_updated_at = done.seen",
            [[row.pk for row in rows], [row.rc_updated_at for row in rows]],
        )


def _call(method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
    try:
        return client.call(method, path, body, timeout_s=TIMEOUT_S)
    except MemoryRefusedError as error:
        text = f"{error}: {error.text}"
        if error.status in _POISON:
            raise PoisonError(text, is_about_it=error.status != _FAILED) from error
        raise RememberError(text) from error
    except MemoryUnreachableError as error:
        raise RememberError(str(error)) from error


class _Scopes:
    """Scopes of a batch's rooms; a DM's needs its members."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def __call__(self, room: Room) -> str:
        if room.pk not in self._known:
            self._known[room.pk] = scopes.of_talk(room_id=room.pk, rid=room.rid, kind=room.kind)
        return self._known[room.pk]


@contextmanager
def _only_writer() -> Iterator[bool]:
    """A lock of this database session: gone with it, however the worker ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
