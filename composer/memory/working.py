"""What was said last in a room, and does Redis still know it?

Redis holds, per room, a hash of the newest lines by message id. It is believed only if it adds up to what Postgres has
(`Window.proof`), so losing or missing any write costs one query.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import LiteralString, NamedTuple, cast

import msgspec
import redis
from django.conf import settings

from composer.breaker import Breaker
from composer.memory.lines import MAX_LINE_CHARS, SPOKEN, Line, Moment, in_order, line_of, select
from gateway.models import Message
from gateway.sql import Ask, Rows

logger = logging.getLogger(__name__)

KEEP_S = 7 * 86_400
"""A room that is silent this long is forgotten here."""

SLACK = 64
"""Lines kept beyond the window: said after a question that had to wait."""

OVERFULL = 4
"""A room that grows to so many windows without a prompt is dropped: the next prompt reads it from Postgres."""

SOCKET_TIMEOUT_S = 1.0

_FINGERPRINT: LiteralString = (
    "SELECT count(*), coalesce(sum(id), 0),"
    " coalesce(sum((extract(epoch FROM rc_updated_at) * 1000000)::bigint), 0),"
    " coalesce(sum(least(char_length(text), %s)), 0) FROM"
    " (SELECT m.id, m.rc_updated_at, m.text FROM messages m WHERE m.room_id = %s AND m.deleted_at IS NULL"
    " AND m.system_type = '' AND m.text <> '' AND (m.ts, m.id) <= (%s, %s) ORDER BY m.ts DESC, m.id DESC LIMIT %s) AS w"
)

_Sum = tuple[int, int, int, int]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Line]).decode

_ALL_IN_ONE = "return table.concat(redis.call('HVALS', KEYS[1]), ',')"
"""The hash as one string: redis-py takes a millisecond to read 260 of them one by one."""

_ADD_COMMANDS = 4

_breaker = Breaker(name="working memory", rest_s=5.0)
_client: "redis.Redis | None" = None


def append(*, room_id: int, messages: Iterable[Message]) -> None:
    """New or changed messages of a room, after commit. Best effort: whatever fails here is found out by `window`."""
    lines = [_line_at_hand(message) for message in messages]
    append_lines(room_id=room_id, lines=[line for line in lines if line is not None])


def append_lines(*, room_id: int, lines: Sequence[Line]) -> None:
    """The same for lines at hand. A line without text takes its message away. Best effort."""
    append_rooms(lines={room_id: lines})


def append_rooms(*, lines: Mapping[int, Sequence[Line]]) -> None:
    """The same for many rooms in one round trip."""
    rooms = [room_id for room_id, of_room in lines.items() if of_room]
    if not rooms or not _breaker.is_closed():
        return
    try:
        with _connection().pipeline(transaction=False) as pipe:
            for room_id in rooms:
                _add(pipe, key=_key(room_id), lines=lines[room_id])
            lengths = pipe.execute()[_ADD_COMMANDS - 1 :: _ADD_COMMANDS]
        for room_id, known_count in zip(rooms, lengths, strict=True):
            if known_count > settings.NEXUS_WORKING_MEMORY * OVERFULL:
                _connection().delete(_key(room_id))
        _breaker.succeeded()
    except redis.RedisError as error:
        _breaker.failed(reason=repr(error))


def _add(pipe: "redis.client.Pipeline", *, key: str, lines: Sequence[Line]) -> None:
    """Always _ADD_COMMANDS commands, the length last: a field that never exists stands for "none"."""
    said = {str(line.id): _encode(line) for line in lines if line.text}
    gone = [str(line.id) for line in lines if not line.text]
    pipe.hdel(key, *(gone or ["none"]))
    if said:
        pipe.hset(key, mapping=said)
    else:
        pipe.hdel(key, "none")
    pipe.expire(key, KEEP_S)
    pipe.hlen(key)


def update(*, message: Message) -> None:
    """An edited or deleted message, after commit. Best effort."""
    append(room_id=message.room_id, messages=[message])


def forget(*, room_id: int) -> None:
    """The room's lines go away; the next window is read from Postgres. Best effort."""
    if _breaker.is_closed():
        try:
            _connection().delete(_key(room_id))
            _breaker.succeeded()
        except redis.RedisError as error:
            _breaker.failed(reason=repr(error))


class Held(NamedTuple):
    """What Redis has of a room, in order. Whether that is all shows a Window."""

    room_id: int
    lines: Sequence[Line]


def held(*, room_id: int) -> Held:
    return Held(room_id, _load(room_id=room_id))


class Window:
    """The last `limit` lines of a room up to and including `before`: what Redis holds, and the proof that it is all."""

    def __init__(self, *, held: Held, before: Moment, limit: int) -> None:
        self._held = held
        self._before = before
        self._limit = limit
        self.believed: Sequence[Line] = _upto(held.lines, before=before, limit=limit)
        """As good as `lines`, but for what is not yet proven."""
        self.proof = Ask(_FINGERPRINT, [MAX_LINE_CHARS, held.room_id, before.at, before.id, limit], _as_sum)

    def lines(self) -> Sequence[Line]:
        """In order. Read from Postgres where the proof fails."""
        room_id, known = self._held
        if not self.believed or _sum(self.believed) != self.proof.answer():
            return _rebuild(room_id=room_id, before=self._before, limit=self._limit)
        if len(known) > self._limit + 2 * SLACK:
            _drop(room_id=room_id, lines=known[: -(self._limit + SLACK)])
        return self.believed


def window(*, room_id: int, before: Moment, limit: int) -> Sequence[Line]:
    """The last `limit` lines of the room up to and including `before`, in order."""
    return Window(held=held(room_id=room_id), before=before, limit=limit).lines()


def thread(*, room_id: int, root: str, before: Moment, limit: int) -> list[Line]:
    """A thread's first message and its last `limit` ones up to `before`: the room's window may have passed them."""
    if not root:
        return []
    last = select(
        f"m.room_id = %s AND m.thread = %s AND m.ts <= %s AND {SPOKEN} ORDER BY m.ts DESC, m.id DESC LIMIT %s",
        [room_id, root, before.at, limit],
    )
    first = select(f"m.rc_id = %s AND m.room_id = %s AND {SPOKEN}", [root, room_id])
    return _upto(in_order([*first, *last]), before=before, limit=limit + 1)


def _rebuild(*, room_id: int, before: Moment, limit: int) -> list[Line]:
    newest = select(f"m.room_id = %s AND {SPOKEN} ORDER BY m.ts DESC, m.id DESC LIMIT %s", [room_id, limit + SLACK])
    _store(room_id=room_id, lines=newest)
    kept = _upto(in_order(newest), before=before, limit=limit)
    if len(kept) == limit or len(newest) < limit + SLACK:
        return kept
    # The question is older than all that Redis holds: it waited long for its bridge.
    older = select(
        f"m.room_id = %s AND (m.ts, m.id) <= (%s, %s) AND {SPOKEN} ORDER BY m.ts DESC, m.id DESC LIMIT %s",
        [room_id, before.at, before.id, limit],
    )
    return older[::-1]


def _upto(lines: Sequence[Line], *, before: Moment, limit: int) -> list[Line]:
    return [line for line in lines if (line.ts, line.id) <= before][-limit:]


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


def _as_sum(rows: Rows) -> _Sum:
    """Count, ids, revisions and lengths of the window's rows: an edit, a deletion or a late arrival changes it."""
    ((count, ids, revisions, lengths),) = rows
    return (int(count), int(ids), int(revisions), int(lengths))


def _sum(lines: Sequence[Line]) -> _Sum:
    return (
        len(lines),
        sum([line.id for line in lines]),
        sum([line.revision for line in lines]),
        sum([len(line.text) for line in lines]),
    )


# Redis: one hash per room


def _store(*, room_id: int, lines: Sequence[Line]) -> None:
    if not lines or not _breaker.is_closed():
        return
    try:
        with _connection().pipeline(transaction=True) as pipe:
            pipe.delete(_key(room_id))
            pipe.hset(_key(room_id), mapping={str(line.id): _encode(line) for line in lines})
            pipe.expire(_key(room_id), KEEP_S)
            pipe.execute()
        _breaker.succeeded()
    except redis.RedisError as error:
        _breaker.failed(reason=repr(error))


def _drop(*, room_id: int, lines: Sequence[Line]) -> None:
    try:
        _connection().hdel(_key(room_id), *[str(line.id) for line in lines])
    except redis.RedisError as error:
        _breaker.failed(reason=repr(error))


def _load(*, room_id: int) -> list[Line]:
    if not _breaker.is_closed():
        return []
    try:
        raw = cast("bytes", _connection().eval(_ALL_IN_ONE, 1, _key(room_id)))
        _breaker.succeeded()
    except redis.RedisError as error:
        _breaker.failed(reason=repr(error))
        return []
    try:
        return in_order(_decode(b"[" + raw + b"]"))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.warning("working memory unreadable", extra={"room": room_id, "error": repr(error)})
        return []


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
