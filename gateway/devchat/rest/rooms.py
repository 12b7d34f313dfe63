"""Rooms: channels, private groups, direct rooms, and the caller's subscriptions."""

from collections.abc import Callable

from gateway.devchat import rooms
from gateway.devchat.errors import ChatError, PlainError, Unauthorized, not_allowed
from gateway.devchat.history import for_reader, history
from gateway.devchat.models import CHANNEL, DIRECT, PRIVATE, Room, User
from gateway.devchat.rest.calls import Call, Options, get, post
from gateway.devchat.rest.schema import Schema
from gateway.devchat.wire import Document, moment_from

FAMILIES = (
    ("channels", CHANNEL, "channel"),
    ("groups", PRIVATE, "group"),
    ("im", DIRECT, "room"),
    ("dm", DIRECT, "room"),
)
CREATE = Schema(
    {"name": "string"},
    {
        "members": "array",
        "readOnly": "boolean",
        "extraData": "object",
        "customFields": "object",
        "excludeSelf": "boolean",
        "teams": "array",
    },
)


def find_room(call: Call, *, kind: str | None = None) -> Room:
    """The room a call names. Who may not see it is told the same as when there is none."""
    room_id, name = call.text("roomId"), call.text("roomName")
    if not room_id and not name:
        raise ChatError(
            "error-room-param-not-provided", 'The parameter "roomId" or "roomName" is required', {"method": call.route}
        )
    room = call.store.rooms.get(room_id) if room_id else call.store.room_named(name)
    if room is None or (kind is not None and room.t != kind):
        raise ChatError(
            "error-room-not-found",
            'The required "roomId" or "roomName" param provided does not match any '
            + ("group" if kind == PRIVATE else "channel"),
        )
    if room.t != CHANNEL and room.id and call.user.id not in room.members and not _sees_all_rooms(call):
        raise ChatError(
            "error-room-not-found", 'The required "roomId" or "roomName" param provided does not match any group'
        )
    return room


def _sees_all_rooms(call: Call) -> bool:
    return call.store.may(call.user, "view-room-administration")


def named_users(call: Call) -> list[User]:
    ids = _listed(call, "userIds") or [call.text("userId")]
    names = _listed(call, "usernames") or [call.text("username") or call.text("user")]
    found = [call.store.users.get(user_id) for user_id in ids if user_id]
    found += [call.store.user_named(name) for name in names if name]
    if not found:
        raise ChatError(
            "error-users-params-not-provided", 'Please provide "userId", "username", "userIds" or "usernames"'
        )
    known = [user for user in found if user is not None]
    if len(known) != len(found):
        raise ChatError("error-invalid-user", "The required user param provided does not match any users")
    return known


def _listed(call: Call, name: str) -> list[str]:
    value = call.body.get(name) if isinstance(call.body, dict) else None
    return [str(item) for item in value] if isinstance(value, list) else []


def _create(kind: str, key: str) -> Callable[[Call], Document]:
    def create(call: Call) -> Document:
        if not call.store.may(call.user, f"create-{kind}"):
            raise Unauthorized
        found = (call.store.user_named(str(name)) for name in call.body.get("members") or [])
        room = rooms.create_room(
            call.store,
            kind=kind,
            name=call.body["name"],
            creator=call.user,
            members=[user for user in found if user is not None],
            is_read_only=call.body.get("readOnly") is True,
        )
        return {key: room.document()}

    return create


def _invite(kind: str, key: str) -> Callable[[Call], Document]:
    def invite(call: Call) -> Document:
        room = find_room(call, kind=kind)
        rooms.invite(call.store, room=room, inviter=call.user, users=named_users(call))
        return {key: room.document()}

    return invite


def _kick(kind: str, key: str) -> Callable[[Call], Document]:
    def kick(call: Call) -> Document:
        room = find_room(call, kind=kind)
        for user in named_users(call):
            rooms.kick(call.store, room=room, by=call.user, user=user)
        return {key: room.document()}

    return kick


def _info(kind: str, key: str) -> Callable[[Call], Document]:
    def info(call: Call) -> Document:
        return {key: rooms.with_last_message(call.store, find_room(call, kind=kind))}

    return info


def _members(kind: str) -> Callable[[Call], Document]:
    def members(call: Call) -> Document:
        room = find_room(call, kind=kind)
        found = sorted((call.store.users[user_id] for user_id in room.members), key=lambda user: user.username)
        return call.page("members", [user.public() for user in found])

    return members


def _history(kind: str) -> Callable[[Call], Document]:
    def read(call: Call) -> Document:
        room = find_room(call, kind=kind)
        if not call.store.can_access(call.user, room):
            raise not_allowed("getChannelHistory")
        found = history(
            call.store,
            room=room,
            latest=moment_from(call.query.get("latest")),
            oldest=moment_from(call.query.get("oldest")),
            is_inclusive=call.flag("inclusive"),
            count=call.count(default=20),
            offset=call.number("offset", 0),
            shows_threads=call.flag("showThreadMessages") if "showThreadMessages" in call.query else None,
        )
        return {"messages": for_reader(found, call.user.id)}

    return read


def _messages(kind: str) -> Callable[[Call], Document]:
    def read(call: Call) -> Document:
        room = find_room(call, kind=kind)
        if not call.store.can_access(call.user, room):
            raise not_allowed("getChannelHistory")
        return call.page("messages", for_reader(call.store.newest_messages_of(room.id), call.user.id))

    return read


def _leave(kind: str, key: str) -> Callable[[Call], Document]:
    def leave(call: Call) -> Document:
        room = find_room(call, kind=kind)
        rooms.leave(call.store, room=room, user=call.user)
        return {key: room.document()}

    return leave


def _set_text(kind: str, field: str) -> Callable[[Call], Document]:
    def change(call: Call) -> Document:
        room, text = find_room(call, kind=kind), call.text(field)
        if field == "topic":
            rooms.set_topic(call.store, room=room, by=call.user, topic=text)
        elif field == "announcement":
            rooms.set_announcement(call.store, room=room, by=call.user, announcement=text)
        else:
            rooms.set_description(call.store, room=room, by=call.user, description=text)
        return {field: text}

    return change


def _rename(kind: str, key: str) -> Callable[[Call], Document]:
    def rename(call: Call) -> Document:
        room = find_room(call, kind=kind)
        rooms.rename(call.store, room=room, by=call.user, name=call.text("name"))
        return {key: room.document()}

    return rename


def _set_read_only(kind: str, key: str) -> Callable[[Call], Document]:
    def change(call: Call) -> Document:
        room = find_room(call, kind=kind)
        rooms.set_read_only(call.store, room=room, by=call.user, is_read_only=call.flag("readOnly"))
        return {key: room.document()}

    return change


def _archive(kind: str, *, is_archived: bool) -> Callable[[Call], Document]:
    def archive(call: Call) -> Document:
        rooms.set_archived(call.store, room=find_room(call, kind=kind), by=call.user, is_archived=is_archived)
        return {}

    return archive


def _delete(kind: str) -> Callable[[Call], Document]:
    def delete(call: Call) -> Document:
        rooms.delete_room(call.store, room=find_room(call, kind=kind), by=call.user)
        return {}

    return delete


def _set_role(kind: str, role: str, *, is_held: bool) -> Callable[[Call], Document]:
    def change(call: Call) -> Document:
        room = find_room(call, kind=kind)
        for user in named_users(call):
            rooms.set_role(call.store, room=room, by=call.user, user=user, role=role, is_held=is_held)
        return {}

    return change


def _open(kind: str, *, is_open: bool) -> Callable[[Call], Document]:
    def change(call: Call) -> Document:
        rooms.set_open(call.store, room=find_room(call, kind=kind), user=call.user, is_open=is_open)
        return {}

    return change


def _set_encrypted(kind: str, key: str) -> Callable[[Call], Document]:
    def change(call: Call) -> Document:
        room = find_room(call, kind=kind)
        rooms.set_encrypted(call.store, room=room, by=call.user, is_encrypted=call.flag("encrypted"))
        return {key: room.document()}

    return change


def _register_families() -> None:
    for family, kind, key in FAMILIES:
        get(f"{family}.members")(_members(kind))
        get(f"{family}.history")(_history(kind))
        get(f"{family}.messages")(_messages(kind))
        post(f"{family}.close")(_open(kind, is_open=False))
        post(f"{family}.open")(_open(kind, is_open=True))
        if kind == DIRECT:
            continue
        post(f"{family}.create", Options(schema=CREATE))(_create(kind, key))
        get(f"{family}.info")(_info(kind, key))
        post(f"{family}.invite")(_invite(kind, key))
        post(f"{family}.kick")(_kick(kind, key))
        post(f"{family}.leave")(_leave(kind, key))
        post(f"{family}.rename")(_rename(kind, key))
        post(f"{family}.setReadOnly")(_set_read_only(kind, key))
        post(f"{family}.setEncrypted")(_set_encrypted(kind, key))
        post(f"{family}.archive")(_archive(kind, is_archived=True))
        post(f"{family}.unarchive")(_archive(kind, is_archived=False))
        post(f"{family}.delete")(_delete(kind))
        for field in ("topic", "announcement", "description"):
            post(f"{family}.set{field.capitalize()}")(_set_text(kind, field))
        for role in ("owner", "moderator"):
            post(f"{family}.add{role.capitalize()}")(_set_role(kind, role, is_held=True))
            post(f"{family}.remove{role.capitalize()}")(_set_role(kind, role, is_held=False))


_register_families()


def _documents(call: Call, found: list[Room]) -> list[Document]:
    return [rooms.with_last_message(call.store, room) for room in found]


@get("channels.list")
def list_channels(call: Call) -> Document:
    if not call.store.may(call.user, "view-c-room"):
        raise Unauthorized
    return call.page("channels", _documents(call, [room for room in call.store.rooms.values() if room.t == CHANNEL]))


@get("channels.list.joined")
def list_joined(call: Call) -> Document:
    return call.page("channels", _documents(call, _own(call, CHANNEL)))


@get("groups.list")
def list_groups(call: Call) -> Document:
    return call.page("groups", _documents(call, _own(call, PRIVATE)))


@get("groups.listAll")
def list_all_groups(call: Call) -> Document:
    call.require("view-room-administration")
    return call.page("groups", _documents(call, [room for room in call.store.rooms.values() if room.t == PRIVATE]))


@get("im.list", Options(aliases=("dm.list",)))
def list_direct(call: Call) -> Document:
    return call.page("ims", _documents(call, _own(call, DIRECT)))


def _own(call: Call, kind: str) -> list[Room]:
    return [room for room in call.store.rooms_of(call.user) if room.t == kind]


@post(
    "im.create",
    Options(
        aliases=("dm.create",),
        schema=Schema({}, {"username": "string", "usernames": "string", "excludeSelf": "boolean"}),
    ),
)
def create_direct(call: Call) -> Document:
    names = [name.strip() for name in (call.text("usernames") or call.text("username")).split(",") if name.strip()]
    if not names:
        raise ChatError(
            "error-room-not-found",
            'The required "username" or "usernames" param provided does not match any direct message',
        )
    others = [call.store.user_named(name) for name in names]
    known = [user for user in others if user is not None]
    if len(known) != len(others):
        raise ChatError("error-invalid-user", "Invalid user", {"method": "createDirectMessage"})
    room = rooms.open_direct(call.store, creator=call.user, others=known, exclude_self=call.flag("excludeSelf"))
    return {"room": room.document() | {"rid": room.id}}


@post("channels.join", Options(aliases=("rooms.join",)))
def join_room(call: Call) -> Document:
    room = find_room(call)
    rooms.join(call.store, room=room, user=call.user)
    return {"channel": room.document()}


@post("rooms.leave")
def leave_room(call: Call) -> Document:
    rooms.leave(call.store, room=find_room(call), user=call.user)
    return {}


@get("rooms.get")
def get_rooms(call: Call) -> Document:
    since = moment_from(call.query.get("updatedSince")) or 0
    found = [room for room in call.store.rooms_of(call.user) if room.updated_at > since]
    return {"update": _documents(call, found), "remove": []}


@get("rooms.info")
def room_info(call: Call) -> Document:
    room_id, name = call.text("roomId"), call.text("roomName")
    room = call.store.rooms.get(room_id) if room_id else call.store.room_named(name)
    if room is None:
        raise ChatError(
            "error-room-not-found", 'The required "roomId" or "roomName" param provided does not match any channel'
        )
    if not call.store.can_access(call.user, room):
        raise ChatError("error-not-allowed", "Not Allowed")
    return {"room": rooms.with_last_message(call.store, room)}


@get("rooms.adminRooms")
def admin_rooms(call: Call) -> Document:
    call.require("view-room-administration")
    return call.page("rooms", _documents(call, list(call.store.rooms.values())))


@post("rooms.muteUser")
def mute_user(call: Call) -> Document:
    rooms.mute(call.store, room=find_room(call), by=call.user, username=call.text("username"), is_muted=True)
    return {}


@post("rooms.unmuteUser")
def unmute_user(call: Call) -> Document:
    rooms.mute(call.store, room=find_room(call), by=call.user, username=call.text("username"), is_muted=False)
    return {}


@post("rooms.saveRoomSettings")
def save_room_settings(call: Call) -> Document:
    room = call.store.rooms.get(call.text("rid"))
    if room is None:
        raise ChatError("error-invalid-room", "Invalid room", {"method": "saveRoomSettings"})
    if "encrypted" in call.body:
        rooms.set_encrypted(call.store, room=room, by=call.user, is_encrypted=call.flag("encrypted"))
    if "roomTopic" in call.body:
        rooms.set_topic(call.store, room=room, by=call.user, topic=call.text("roomTopic"))
    if "readOnly" in call.body:
        rooms.set_read_only(call.store, room=room, by=call.user, is_read_only=call.flag("readOnly"))
    return {"rid": room.id}


@get("subscriptions.get")
def get_subscriptions(call: Call) -> Document:
    since = moment_from(call.query.get("updatedSince")) or 0
    held = (room.members[call.user.id] for room in call.store.rooms_of(call.user))
    return {"update": [item.document() for item in held if item.updated_at > since], "remove": []}


@get("subscriptions.getOne")
def get_subscription(call: Call) -> Document:
    room = call.store.rooms.get(call.text("roomId"))
    subscription = room.members.get(call.user.id) if room else None
    return {"subscription": subscription.document() if subscription else None}


@post("subscriptions.read")
def read_room(call: Call) -> Document:
    room = call.store.rooms.get(call.text("rid") or call.text("roomId"))
    if room is None:
        raise PlainError("error-invalid-subscription")
    rooms.mark_read(call.store, room=room, user=call.user)
    return {}
