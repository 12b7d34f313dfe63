"""Which messages does a reader get back: history by time, sync by change, threads, search?"""

from collections.abc import Iterable, Iterator
from itertools import islice

from gateway.devchat.errors import ChatError, PlainError, not_allowed
from gateway.devchat.models import PRIVATE, Room, User
from gateway.devchat.store import Store
from gateway.devchat.wire import Document, Moment

DEFAULT_HISTORY_COUNT = 20
UPDATED, DELETED = "UPDATED", "DELETED"


def for_reader(messages: Iterable[Document], user_id: str) -> list[Document]:
    """Stars are private: everybody sees only his own."""
    return [_without_others_stars(message, user_id) for message in messages]


def _without_others_stars(message: Document, user_id: str) -> Document:
    if "starred" not in message:
        return message
    return message | {"starred": [star for star in message["starred"] if star["_id"] == user_id]}


def readable_room(store: Store, *, user: User, room_id: str, method: str) -> Room:
    room = store.rooms.get(room_id)
    if room is None or not store.can_access(user, room):
        raise not_allowed(method)
    return room


def history(
    store: Store,
    *,
    room: Room,
    latest: int | None = None,
    oldest: int | None = None,
    is_inclusive: bool = False,
    count: int = DEFAULT_HISTORY_COUNT,
    offset: int = 0,
    shows_threads: bool | None = None,
) -> list[Document]:
    """By `ts`, newest first. Groups show thread replies unless told otherwise, other rooms don't."""
    with_threads = room.t == PRIVATE if shows_threads is None else shows_threads
    found = (
        message
        for message in store.newest_messages_of(room.id)
        if _is_within(message["ts"], oldest, latest, is_inclusive)
        and (with_threads or "tmid" not in message or message.get("tshow"))
    )
    return sorted(islice(found, offset, offset + count if count else None), key=lambda item: item["ts"], reverse=True)


def _is_within(ts: int, oldest: int | None, latest: int | None, is_inclusive: bool) -> bool:
    if is_inclusive:
        return (oldest is None or ts >= oldest) and (latest is None or ts <= latest)
    return (oldest is None or ts > oldest) and (latest is None or ts < latest)


def missed(store: Store, *, room: Room, since: int) -> list[Document]:
    """All messages posted later than `since`, newest first."""
    return [message for message in store.newest_messages_of(room.id) if message["ts"] > since]


def sync(
    store: Store,
    *,
    user: User,
    room_id: str,
    last_update: int | None,
    kind: str | None,
    next_cursor: str | None,
    previous_cursor: str | None,
    count: int,
) -> Document:
    room = readable_room(store, user=user, room_id=room_id, method="messages/get")
    _check_sync(last_update, kind, next_cursor, previous_cursor)
    if last_update is not None:
        return {
            "updated": _changed_since(store, room, last_update),
            "deleted": _deleted_since(store, room, last_update),
        }
    if next_cursor is None and previous_cursor is None:
        # Falls through to the room's history, whose answer has no `updated`.
        return {"updated": [], "deleted": []}
    rows = _rows(store, room, kind or UPDATED, next_cursor, previous_cursor, count + 1)
    key = "_updatedAt" if kind == UPDATED else "_deletedAt"
    cursor = _cursors(rows, count, key, is_forward=next_cursor is not None)
    page = rows[:count]
    return {
        "updated": page if kind == UPDATED else [],
        "deleted": page if kind == DELETED else [],
        "cursor": cursor,
    }


def _check_sync(last_update: int | None, kind: str | None, after: str | None, before: str | None) -> None:
    if kind and kind not in (UPDATED, DELETED):
        raise ChatError("error-type-param-not-supported", 'The "type" parameter must be either "UPDATED" or "DELETED"')
    if (after or before) and not kind:
        raise ChatError(
            "error-type-param-required",
            'The "type" parameter is required when using the "next" or "previous" parameters',
        )
    if after and before:
        raise ChatError("error-cursor-conflict", 'You cannot provide both "next" and "previous" parameters')
    if (after or before) and last_update is not None:
        raise ChatError(
            "error-cursor-and-lastUpdate-conflict",
            'The attributes "next", "previous" and "lastUpdate" cannot be used together',
        )


def _changed_since(store: Store, room: Room, since: int) -> list[Document]:
    return sorted(store.updated_after(room.id, since), key=lambda message: message["ts"], reverse=True)


def _deleted_since(store: Store, room: Room, since: int) -> list[Document]:
    return [_trace(time, message_id) for time, message_id in reversed(store.logs[room.id].deleted) if time > since]


def _trace(time: int, message_id: str) -> Document:
    return {"_id": message_id, "_deletedAt": Moment(time)}


def _rows(store: Store, room: Room, kind: str, after: str | None, before: str | None, limit: int) -> list[Document]:
    if after is not None:
        return list(islice(_after(store, room, kind, _cursor_time(after)), limit))
    bound = _cursor_time(before or "")
    key = "_updatedAt" if kind == UPDATED else "_deletedAt"
    rows = [row for row in _after(store, room, kind, -1) if row[key] < bound]
    return rows[::-1][:limit]


def _after(store: Store, room: Room, kind: str, time: int) -> Iterator[Document]:
    if kind == UPDATED:
        return store.updated_after(room.id, time)
    return (_trace(at, message_id) for at, message_id in store.logs[room.id].deleted if at > time)


def _cursor_time(cursor: str) -> int:
    try:
        return int(cursor)
    except ValueError:
        raise PlainError("Invalid Date") from None


def _cursors(rows: list[Document], count: int, key: str, *, is_forward: bool) -> Document:
    """As the server computes them: `rows` holds one more than asked for when there is a further page."""
    if not rows:
        return {"next": None, "previous": None}
    last_shown = str(int(rows[-2][key])) if len(rows) > count else None
    first = str(int(rows[0][key]))
    return {"next": last_shown, "previous": first} if is_forward else {"next": first, "previous": last_shown}


def thread(store: Store, *, root_id: str) -> list[Document]:
    root = store.messages.get(root_id)
    if root is None:
        return []
    return [message for message in store.messages_of(root["rid"]) if message.get("tmid") == root_id]


def threads_of(store: Store, *, room: Room) -> list[Document]:
    roots = [message for message in store.messages_of(room.id) if message.get("tcount")]
    return sorted(roots, key=lambda message: message["tlm"], reverse=True)


def search(store: Store, *, room: Room, text: str) -> list[Document]:
    needle = text.casefold()
    return [message for message in store.newest_messages_of(room.id) if needle in message["msg"].casefold()]
