"""Which DDP methods can clients call, and what does each do?"""

from collections.abc import Callable
from typing import Any

from gateway.devchat import accounts, history, marks, messages, rooms
from gateway.devchat.ddp import Method, Session
from gateway.devchat.drafts import check_restriction
from gateway.devchat.errors import ChatError, NotLoggedInError, PlainError, not_allowed
from gateway.devchat.events import RoomNotice, UserNotice
from gateway.devchat.models import CHANNEL, DIRECT, PRIVATE, Room, User
from gateway.devchat.wire import Document, Moment, moment_from, random_id

METHODS: dict[str, Method] = {}
# 8.x takes these keys of a message and no others.
MESSAGE_KEYS = frozenset(
    (
        *("_id", "rid", "msg", "tmid", "tshow", "ts", "t", "bot", "content", "e2e", "e2eMentions", "customFields"),
        *("federation", "groupable", "sentByEmail"),
    )
)
CLOCK_SKEW_REPLACED_MS, CLOCK_SKEW_REFUSED_MS = 10_000, 60_000
ACTIVITIES = frozenset({"user-typing", "user-recording", "user-uploading"})
LOGGED_OUT = "You've been logged out by the server. Please log in again."


def method(name: str) -> Callable[[Method], Method]:
    def register(function: Method) -> Method:
        METHODS[name] = function
        return function

    return register


def _me(session: Session) -> User:
    if session.user is None:
        raise ChatError("error-invalid-user", "Invalid user")
    return session.user


@method("login")
def _login(session: Session, params: list[Any]) -> Document:
    options = params[0]
    code = ""
    if "totp" in options:
        code, options = str(options["totp"].get("code", "")), options["totp"]["login"]
    user, secret, kind = _log_in(session, options, code)
    token = next(token for token in user.tokens if token.hashed == accounts.hash_token(secret))
    session.set_user(user, token.hashed)
    session.send(
        {
            "msg": "added",
            "collection": "users",
            "id": user.id,
            "fields": {"username": user.username, "name": user.name},
        }
    )
    expires_at = token.expires_at or session.host.store.now() + accounts.LOGIN_LIFETIME_MS
    return {"id": user.id, "token": secret, "tokenExpires": Moment(expires_at), "type": kind}


def _log_in(session: Session, options: Document, code: str) -> tuple[User, str, str]:
    store = session.host.store
    if "resume" in options:
        try:
            user, _ = accounts.resume(store, str(options["resume"]))
        except NotLoggedInError:
            raise ChatError("403", LOGGED_OUT) from None
        return user, str(options["resume"]), "resume"
    subject = options["user"]
    login = str(subject.get("username") or subject.get("email") or "")
    try:
        user, secret = accounts.log_in(store, login=login, digest=digest_of(options.get("password")), code=code)
    except NotLoggedInError:
        raise ChatError("403", "User not found") from None
    return user, secret, "password"


def digest_of(password: Any) -> str:
    """Passwords come plain or as {digest, algorithm}."""
    if isinstance(password, dict):
        return str(password.get("digest", ""))
    return accounts.password_digest(str(password or ""))


@method("logout")
def _logout(session: Session, _params: list[Any]) -> None:
    user, hashed = session.user, session.hashed_token
    session.set_user(None, None)
    token = next((token for token in user.tokens if token.hashed == hashed), None) if user else None
    if user is not None and token is not None:
        accounts.drop_token(session.host.store, user, token)


@method("sendMessage")
def _send_message(session: Session, params: list[Any]) -> Document | None:
    store, user = session.host.store, _me(session)
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
    messages.update(store, user=_me(session), message=message, text=str(draft.get("msg") or ""))


@method("deleteMessage")
def _delete_message(session: Session, params: list[Any]) -> None:
    message = session.host.store.messages.get(str(params[0]["_id"]))
    if message is None:
        raise not_allowed("deleteMessage")
    messages.delete(session.host.store, user=_me(session), message=message)


@method("setReaction")
def _set_reaction(session: Session, params: list[Any]) -> None:
    reaction, message_id, *rest = params
    message = session.host.store.messages.get(str(message_id))
    if message is None:
        raise not_allowed("setReaction")
    wanted = rest[0] if rest and isinstance(rest[0], bool) else None
    marks.react(session.host.store, user=_me(session), message=message, reaction=str(reaction), is_wanted=wanted)


@method("rooms/get")
def _rooms_get(session: Session, params: list[Any]) -> Any:
    store = session.host.store
    found = list(store.rooms_of(_me(session)))
    return _since(params, [rooms.with_last_message(store, room) for room in found])


@method("subscriptions/get")
def _subscriptions_get(session: Session, params: list[Any]) -> Any:
    user = _me(session)
    return _since(params, [room.members[user.id].document() for room in session.host.store.rooms_of(user)])


def _since(params: list[Any], documents: list[Document]) -> Any:
    since = moment_from(params[0]) if params else None
    if since is None:
        return documents
    return {"update": [document for document in documents if document["_updatedAt"] > since], "remove": []}


@method("getRoomIdByNameOrId")
def _room_id(session: Session, params: list[Any]) -> str:
    return _find_room(session, str(params[0]), "getRoomIdByNameOrId").id


@method("getRoomNameById")
def _room_name(session: Session, params: list[Any]) -> str:
    return _find_room(session, str(params[0]), "getRoomNameById").name


@method("getRoomByTypeAndName")
def _room_by_type(session: Session, params: list[Any]) -> Document:
    return _find_room(session, str(params[1]), "getRoomByTypeAndName").document()


def _find_room(session: Session, name_or_id: str, caller: str) -> Room:
    store, user = session.host.store, _me(session)
    room = store.rooms.get(name_or_id) or store.room_named(name_or_id)
    if room is None or not store.can_access(user, room):
        raise not_allowed(caller)
    return room


@method("joinRoom")
def _join_room(session: Session, params: list[Any]) -> bool:
    room = session.host.store.rooms.get(str(params[0]))
    if room is None:
        raise ChatError("error-invalid-room", "Invalid room", {"method": "joinRoom"})
    rooms.join(session.host.store, room=room, user=_me(session))
    return True


@method("leaveRoom")
def _leave_room(session: Session, params: list[Any]) -> None:
    rooms.leave(session.host.store, room=_find_room(session, str(params[0]), "leaveRoom"), user=_me(session))


@method("createDirectMessage")
def _create_direct(session: Session, params: list[Any]) -> Document:
    store, user = session.host.store, _me(session)
    others = [store.user_named(str(name)) for name in params]
    known = [other for other in others if other is not None]
    if len(known) != len(others):
        raise ChatError("error-invalid-user", "Invalid user", {"method": "createDirectMessage"})
    room = rooms.open_direct(store, creator=user, others=known)
    return room.document() | {"rid": room.id}


@method("createChannel")
def _create_channel(session: Session, params: list[Any]) -> Document:
    return _create_room(session, params, CHANNEL)


@method("createPrivateGroup")
def _create_group(session: Session, params: list[Any]) -> Document:
    return _create_room(session, params, PRIVATE)


def _create_room(session: Session, params: list[Any], kind: str) -> Document:
    store, user = session.host.store, _me(session)
    if not store.may(user, f"create-{kind}"):
        raise not_allowed("createRoom")
    named = [store.user_named(str(name)) for name in (params[1] if len(params) > 1 else [])]
    members = [member for member in named if member is not None]
    room = rooms.create_room(store, kind=kind, name=str(params[0]), creator=user, members=members)
    return {"rid": room.id, "name": room.name, "t": room.t}


@method("loadMissedMessages")
def _load_missed(session: Session, params: list[Any]) -> Any:
    store = session.host.store
    room = store.rooms.get(str(params[0]))
    if room is None or not store.can_access(_me(session), room):
        return False
    return history.missed(store, room=room, since=moment_from(params[1]) or 0)


@method("loadHistory")
def _load_history(session: Session, params: list[Any]) -> Any:
    rid, end, limit, _, shows_threads = [*params, None, None, None, None][:5]
    store, user = session.host.store, _me(session)
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
    store, user = session.host.store, _me(session)
    root = store.messages.get(str(params[0]["tmid"]))
    if root is None or not store.can_access(user, store.rooms[root["rid"]]):
        raise not_allowed("getThreadMessages")
    return history.for_reader([root, *history.thread(store, root_id=root["_id"])], user.id)


@method("getSingleMessage")
def _single_message(session: Session, params: list[Any]) -> Document | None:
    store, user = session.host.store, _me(session)
    message = store.messages.get(str(params[0]))
    if message is None or not store.can_access(user, store.rooms[message["rid"]]):
        return None
    return history.for_reader([message], user.id)[0]


@method("messages/get")
def _messages_get(session: Session, params: list[Any]) -> Document:
    options = params[1]
    return history.sync(
        session.host.store,
        user=_me(session),
        room_id=str(params[0]),
        last_update=moment_from(options.get("lastUpdate")),
        kind=options.get("type"),
        next_cursor=options.get("next"),
        previous_cursor=options.get("previous"),
        count=int(options.get("count") or 20),
    )


@method("readMessages")
def _read_messages(session: Session, params: list[Any]) -> None:
    room = _find_room(session, str(params[0]), "readMessages")
    rooms.mark_read(session.host.store, room=room, user=_me(session))


@method("UserPresence:online")
def _online(session: Session, _params: list[Any]) -> None:
    accounts.set_status(session.host.store, _me(session), status="online")


@method("UserPresence:away")
def _away(session: Session, _params: list[Any]) -> None:
    accounts.set_status(session.host.store, _me(session), status="away")


@method("UserPresence:setDefaultStatus")
def _default_status(session: Session, params: list[Any]) -> None:
    accounts.set_status(session.host.store, _me(session), status=str(params[0]))


@method("getUserRoles")
def _user_roles(session: Session, _params: list[Any]) -> list[Document]:
    admins = (user for user in session.host.store.users.values() if "admin" in user.roles)
    return [{"_id": user.id, "username": user.username, "roles": user.roles} for user in admins]


@method("public-settings/get")
def _public_settings(session: Session, _params: list[Any]) -> list[Document]:
    return [{"_id": "Message_MaxAllowedSize", "value": session.host.store.switches.max_message_size}]


@method("stream-notify-room")
def _write_room_event(session: Session, params: list[Any]) -> None:
    """What the rule does not allow is ignored, with an ordinary empty result."""
    event, *args = params
    room_id, _, name = str(event).partition("/")
    room = session.host.store.rooms.get(room_id)
    if room is None or name != "user-activity" or not _is_own_activity(session, room, args):
        return
    session.host.store.publish(RoomNotice(room, name, args, from_session=session.id))


def _is_own_activity(session: Session, room: Room, args: list[Any]) -> bool:
    user = session.user
    if user is None or not session.host.store.can_access(user, room):
        return False
    if len(args) < 2 or args[0] != user.username or not isinstance(args[1], list):
        return False
    return all(activity in ACTIVITIES for activity in args[1])


@method("stream-notify-user")
def _write_user_event(session: Session, params: list[Any]) -> None:
    event, *args = params
    user_id, _, name = str(event).partition("/")
    if (
        session.user is not None
        and name in ("otr", "webrtc", "uiInteraction")
        and _shares_direct_room(session, user_id)
    ):
        session.host.broker.emit_written("notify-user", str(event), args)


def _shares_direct_room(session: Session, user_id: str) -> bool:
    me = session.user.id if session.user else ""
    return any(room.t == DIRECT and {me, user_id} <= set(room.user_ids) for room in session.host.store.rooms.values())
