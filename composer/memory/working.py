"""What was said last in a room, and does Redis still know it?

Redis holds, per room, a list of the newest lines; an edit is the line again, a deletion the line without text. It is
believed only if it adds up to what Postgres has (`_fingerprint`), so losing or missing any write costs one query.
"""

import logging
from collections.abc import Iterable, Sequence

import msgspec
import redis
from django.conf import settings
from django.db import connection

from composer.breaker import Breaker
from composer.memory.lines import MAX_LINE_CHARS, Line, in_order, line_of, micros, read, spoken
from gateway.models import Message

logger = logging.getLogger(__name__)

KEEP_S = 7 * 86_400
"""A room that is silent this long is forgotten here."""

SLACK = 64
"""Lines kept beyond the window: newer than a question that had to wait, edits, deletions. The oldest fall out."""

SOCKET_TIMEOUT_S = 1.0

_Sum = tuple[int, int, int, int]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode
_breaker = Breaker(name="working memory", rest_s=5.0)
_client: "redis.Redis | None" = None


def append(*, room_id: int, messages: Iterable[Message]) -> None:
    """New messages of a room, after commit. Best effort: whatever fails here is found out by `window`."""
    lines = [_line_at_hand(message) for message in messages]
    append_lines(room_id=room_id, lines=[line for line in lines if line is not None])


def append_lines(*, room_id: int, lines: Sequence[Line]) -> None:
    """The same for lines that are at hand; one without text takes its message away. Best effort."""
    _push(room_id=room_id, lines=lines)


def update(*, message: Message) -> None:
    """An edited or deleted message, after commit. Best effort."""
    append(room_id=message.room_id, messages=[message])


def forget(*, room_id: int) -> None:
    """The room's list goes away; the next window is read from Postgres. Best effort."""
    if _breaker.is_closed():
        try:
            _connection().delete(_key(room_id))
            _breaker.succeeded()
        except redis.RedisError as error:
            _breaker.failed(reason=repr(error))


def window(*, room_id: int, before: Message, limit: int) -> list[Line]:
    """The last `limit` lines of the room up to and including `before`, in order."""
    known = _upto(_load(room_id=room_id), before=before, limit=limit)
    if known and _sum(known) == _fingerprint(room_id=room_id, before=before, limit=limit):
        return known
    return _rebuild(room_id=room_id, before=before, limit=limit)


def _rebuild(*, room_id: int, before: Message, limit: int) -> list[Line]:
    room = spoken(Message.objects.filter(room_id=room_id)).order_by("-ts", "-pk")
    newest = read(room[: limit + SLACK])
    _store(room_id=room_id, lines=newest[::-1])
    kept = _upto(in_order(newest), before=before, limit=limit)
    if len(kept) == limit or len(newest) < limit + SLACK:
        return kept
    # The question is older than all that Redis holds: it waited long for its bridge.
    return _upto(in_order(read(room.filter(ts__lte=before.ts)[: limit + SLACK])), before=before, limit=limit)


def thread(*, room_id: int, root: str, before: Message, limit: int) -> list[Line]:
    """A thread's first message and its last `limit` ones up to `before`: the room's window may have passed them."""
    if not root:
        return []
    said = spoken(Message.objects.filter(room_id=room_id, ts__lte=before.ts))
    last = read(said.filter(thread=root).order_by("-ts", "-pk")[:limit])
    first = read(said.filter(rc_id=root))
    return _upto(in_order([*first, *last]), before=before, limit=limit + 1)


def _upto(lines: Sequence[Line], *, before: Message, limit: int) -> list[Line]:
    last = (micros(before.ts), before.pk)
    return [line for line in lines if line.order <= last][-limit:]


def _line_at_hand(message: Message) -> Line | None:
    """A system message is no line; a deleted one is a line without text, which takes the older version away."""
    if message.system_type:
        return None
    for field in ("user", "agent"):
        if Message._meta.get_field(field).is_cached(message):  # type: ignore[union-attr]  # a relation
            sender = getattr(message, field)
            if sender is not None:
                return line_of(message=message, name=getattr(sender, "username", None) or sender.slug)
    # Without a name there is no line; `window` sees that it is missing and reads the room again.
    return None


# Postgres: what the window must add up to


def _fingerprint(*, room_id: int, before: Message, limit: int) -> _Sum:
    """Count, ids, revisions and lengths of the window's rows: an edit, a deletion or a late arrival changes it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(sum(id), 0),"
            " coalesce(sum((extract(epoch FROM rc_updated_at) * 1000000)::bigint), 0),"
            " coalesce(sum(least(char_length(text), %s)), 0)"
            " FROM (SELECT id, rc_updated_at, text FROM messages WHERE room_id = %s AND deleted_at IS NULL"
            " AND system_type = '' AND text <> '' AND (ts, id) <= (%s, %s) ORDER BY ts DESC, id DESC LIMIT %s) AS w",
            [MAX_LINE_CHARS, room_id, before.ts, before.pk, limit],
        )
        count, ids, revisions, lengths = cursor.fetchone()
    return (int(count), int(ids), int(revisions), int(lengths))


def _sum(lines: Sequence[Line]) -> _Sum:
    return (
        len(lines),
        sum(line.id for line in lines),
        sum(line.revision for line in lines),
        sum(len(line.text) for line in lines),
    )


# Redis: one list per room


def _push(*, room_id: int, lines: Sequence[Line]) -> None:
    if not lines or not _breaker.is_closed():
        return
    kept = settings.NEXUS_WORKING_MEMORY + SLACK
    try:
        with _connection().pipeline(transaction=True) as pipe:
            pipe.rpush(_key(room_id), *[_encode(line) for line in lines[-kept:]])
            pipe.ltrim(_key(room_id), -kept, -1)
            pipe.expire(_key(room_id), KEEP_S)
            pipe.execute()
        _breaker.succeeded()
    except redis.RedisError as error:
        _breaker.failed(reason=repr(error))


def _store(*, room_id: int, lines: Sequence[Line]) -> None:
    if not lines or not _breaker.is_closed():
        return
    try:
        with _connection().pipeline(transaction=True) as pipe:
            pipe.delete(_key(room_id))
            pipe.rpush(_key(room_id), *[_encode(line) for line in lines])
            pipe.expire(_key(room_id), KEEP_S)
            pipe.execute()
        _breaker.succeeded()
    except redis.RedisError as error:
        _breaker.failed(reason=repr(error))


def _load(*, room_id: int) -> list[Line]:
    if not _breaker.is_closed():
        return []
    try:
        raw = _connection().lrange(_key(room_id), 0, -1)
        _breaker.succeeded()
    except redis.RedisError as error:
        _breaker.failed(reason=repr(error))
        return []
    try:
        lines = in_order([_decode(item) for item in raw])  # type: ignore[union-attr]  # the client is not async
    except msgspec.MsgspecError as error:
        logger.warning("working memory unreadable", extra={"room": room_id, "error": repr(error)})
        return []
    return [line for line in lines if line.text]


def _key(room_id: int) -> str:
    return f"nexus:working:{room_id}"


def _connection() -> "redis.Redis":
    global _client
    if _client is None:
        _client = redis.Redis.from_url(
            f"{settings.NEXUS_REDIS_URL}/2",
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
        )
    return _client
