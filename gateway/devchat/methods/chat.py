"""Messages over the socket: send, edit, delete, react, read."""

from typing import Any

from gateway.devchat import history, marks, messages
from gateway.devchat.ddp import Session
from gateway.devchat.drafts import check_restriction
from gateway.devchat.errors import ChatError, PlainError, not_allowed
from gateway.devchat.events import UserNotice
from gateway.devchat.methods.registry import me, method
from gateway.devchat.models import User
from gateway.devchat.wire import Document, Moment, moment_from, random_id

# 8.x takes these keys of a message and no others.
MESSAGE_KEYS = frozenset(
    (
        *("_id", "rid", "msg", "tmid", "tshow", "ts", "t", "bot", "content", "e2e", "e2eMentions", "customFields"),
        *("federation", "groupable", "sentByEmail"),
    )
)
CLOCK_SKEW_REPLACED_MS, CLOCK_SKEW_REFUSED_MS = 10_000, 60_000


@method("sendMessage")
def _send_message(session: Session, params: list[Any]) -> Document | None:
    store, user = session.host.store, me(session)
    draft = dict(params[0])
    if set(draft) - MESSAGE_KEYS or not isinstance(draft.get("rid"), str):
        raise ChatError("400", "Match failed")
    check_restriction(store)
    draft["ts"] = _server_time(session, draft.get("ts"))
    try:
        room = messages.room_for_posting(store, draft["rid"])
        return messages.send(store, user=user, room=room, draft=draft)
    except (ChatError, PlainError) as error:
        if isinstance(error, ChatError) and error.code in ("error-not-allowed", "400"):
            raise
        _whisper(session, user, draft["rid"], str(error))
        return None


def _server_time(session: Session, claimed: Any) -> int:
    now = session.host.store.now()
    ts = moment_from(claimed)
    skew = abs(now - ts) if ts is not None else CLOCK_SKEW_REPLACED_MS + 1
    if ts is not None and skew > CLOCK_SKEW_REFUSED_MS:
        raise ChatError("error-message-ts-out-of-sync", "Message timestamp is out of sync", {"method": "sendMessage"})
    return ts if ts is not None and skew <= CLOCK_SKEW_REPLACED_MS else now


def _whisper(session: Session, user: User, room_id: str, text: str) -> None:
    """An ephemeral message that only this user sees: how the server reports a refused post."""
    now = Moment(session.host.store.now())
    note: Document = {
        "_id": random_id(),
        "rid": room_id,
        "msg": text,
        "ts": now,
        "u": {"_id": "rocket.cat", "username": "rocket.cat"},
        "private": True,
        "_updatedAt": now,
    }
    session.host.store.publish(UserNotice(user.id, "message", [note]))


@method("updateMessage")
def _update_message(session: Session, params: list[Any]) -> None:
    store, draft = session.host.store, params[0]
    check_restriction(store)
    message = store.messages.get(str(draft["_id"]))
    if message is None:
        raise ChatError("error-not-allowed", "Not allowed", {"method": "updateMessage"})
    messages.update(store, user=me(session), message=message, text=str(draft.get("msg") or ""))


@method("deleteMessage")
def _delete_message(session: Session, params: list[Any]) -> None:
    message = session.host.store.messages.get(str(params[0]["_id"]))
    if message is None:
        raise not_allowed("deleteMessage")
    messages.delete(session.host.store, user=me(session), message=message)


@method("setReaction")
def _set_reaction(session: Session, params: list[Any]) -> None:
    reaction, message_id, *rest = params
    message = session.host.store.messages.get(str(message_id))
    if message is None:
        raise not_allowed("setReaction")
    wanted = rest[0] if rest and isinstance(rest[0], bool) else None
    marks.react(session.host.store, user=me(session), message=message, reaction=str(reaction), is_wanted=wanted)


@method("loadMissedMessages")
def _load_missed(session: Session, params: list[Any]) -> Any:
    store = session.host.store
    room = store.rooms.get(str(params[0]))
    if room is None or not store.can_access(me(session), room):
        return False
    return history.missed(store, room=room, since=moment_from(params[1]) or 0)


@method("loadHistory")
def _load_history(session: Session, params: list[Any]) -> Any:
    rid, end, limit, _, shows_threads = [*params, None, None, None, None][:5]
    store, user = session.host.store, me(session)
    room = store.rooms.get(str(rid))
    if room is None or not store.can_access(user, room):
        return False
    found = history.history(
        store,
        room=room,
        latest=moment_from(end),
        count=int(limit or history.DEFAULT_HISTORY_COUNT),
        shows_threads=shows_threads is not False,
    )
    return {"messages": history.for_reader(found, user.id), "unreadNotLoaded": 0}


@method("getThreadMessages")
def _thread_messages(session: Session, params: list[Any]) -> list[Document]:
    store, user = session.host.store, me(session)
    root = store.messages.get(str(params[0]["tmid"]))
    if root is None or not store.can_access(user, store.rooms[root["rid"]]):
        raise not_allowed("getThreadMessages")
    return history.for_reader([root, *history.thread(store, root_id=root["_id"])], user.id)


@method("getSingleMessage")
def _single_message(session: Session, params: list[Any]) -> Document | None:
    store, user = session.host.store, me(session)
    message = store.messages.get(str(params[0]))
    if message is None or not store.can_access(user, store.rooms[message["rid"]]):
        return None
    return history.for_reader([message], user.id)[0]


@method("messages/get")
def _messages_get(session: Session, params: list[Any]) -> Document:
    options = params[1]
    return history.sync(
        session.host.store,
        user=me(session),
        room_id=str(params[0]),
        last_update=moment_from(options.get("lastUpdate")),
        kind=options.get("type"),
        next_cursor=options.get("next"),
        previous_cursor=options.get("previous"),
        count=int(options.get("count") or 20),
    )
