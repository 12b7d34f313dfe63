"""Rooms: channels, private groups, direct rooms, and the caller's subscriptions."""

from gateway.devchat import room_settings, rooms
from gateway.devchat.errors import ChatError, PlainError, UnauthorizedError
from gateway.devchat.models import CHANNEL, DIRECT, PRIVATE, Room, User
from gateway.devchat.rest.calls import Call, Options, get, post
from gateway.devchat.rest.schema import Schema
from gateway.devchat.wire import Document, Moment, moment_from


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


def _documents(call: Call, found: list[Room]) -> list[Document]:
    return [rooms.with_last_message(call.store, room) for room in found]


@get("channels.list")
def list_channels(call: Call) -> Document:
    if not call.store.may(call.user, "view-c-room"):
        raise UnauthorizedError
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
        schema=Schema(
            {},
            {"username": "string", "usernames": "string", "excludeSelf": "boolean"},
            one_of=("username", "usernames"),
        ),
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


@post(
    "channels.join",
    Options(aliases=("rooms.join",), schema=Schema({}, {"joinCode": "string"}, one_of=("roomId", "roomName"))),
)
def join_room(call: Call) -> Document:
    room = find_room(call)
    rooms.join(call.store, room=room, user=call.user)
    return {"channel": room.document()}


DISCUSSION = Schema(
    {"prid": "string", "t_name": "string"},
    {"users": "array", "pmid": "string", "reply": "string", "encrypted": "boolean", "topic": "string"},
)


@post("rooms.createDiscussion", Options(schema=DISCUSSION))
def create_discussion(call: Call) -> Document:
    parent = call.store.rooms.get(call.text("prid"))
    if parent is None or not call.store.can_access(call.user, parent):
        raise ChatError("error-invalid-room", "Invalid room", {"method": "DiscussionCreation"})
    call.require("start-discussion")
    found = (call.store.user_named(str(name)) for name in call.body.get("users") or [])
    room = rooms.create_discussion(
        call.store,
        parent=parent,
        title=call.text("t_name"),
        creator=call.user,
        members=[user for user in found if user is not None],
    )
    return {"discussion": room.document() | {"rid": room.id}}


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
    term = call.text("filter").lower()
    found = [room for room in call.store.rooms.values() if term in room.name.lower()]
    return call.page("rooms", _documents(call, found))


@post("rooms.muteUser")
def mute_user(call: Call) -> Document:
    room_settings.mute(call.store, room=find_room(call), by=call.user, username=call.text("username"), is_muted=True)
    return {}


@post("rooms.unmuteUser")
def unmute_user(call: Call) -> Document:
    room_settings.mute(call.store, room=find_room(call), by=call.user, username=call.text("username"), is_muted=False)
    return {}


@post("rooms.saveRoomSettings")
def save_room_settings(call: Call) -> Document:
    room = call.store.rooms.get(call.text("rid"))
    if room is None:
        raise ChatError("error-invalid-room", "Invalid room", {"method": "saveRoomSettings"})
    if "encrypted" in call.body:
        room_settings.set_encrypted(call.store, room=room, by=call.user, is_encrypted=call.flag("encrypted"))
    if "roomTopic" in call.body:
        room_settings.set_topic(call.store, room=room, by=call.user, topic=call.text("roomTopic"))
    if "readOnly" in call.body:
        room_settings.set_read_only(call.store, room=room, by=call.user, is_read_only=call.flag("readOnly"))
    return {"rid": room.id}


@get("subscriptions.get")
def get_subscriptions(call: Call) -> Document:
    since = moment_from(call.query.get("updatedSince")) or 0
    held = (room.members[call.user.id] for room in call.store.rooms_of(call.user))
    ended = call.store.left.get(call.user.id, []) if since else []
    return {
        "update": [item.document() for item in held if item.updated_at > since],
        "remove": [{"_id": gone, "_deletedAt": Moment(time)} for time, gone in ended if time > since],
    }


@get("subscriptions.getOne")
def get_subscription(call: Call) -> Document:
    room = call.store.rooms.get(call.text("roomId"))
    subscription = room.members.get(call.user.id) if room else None
    return {"subscription": subscription.document() if subscription else None}


@post("subscriptions.read", Options(schema=Schema({}, {"readThreads": "boolean"}, one_of=("rid", "roomId"))))
def read_room(call: Call) -> Document:
    room = call.store.rooms.get(call.text("rid") or call.text("roomId"))
    if room is None:
        raise PlainError("error-invalid-subscription")
    rooms.mark_read(call.store, room=room, user=call.user)
    return {}
