"""The endpoints that channels, private groups and direct rooms have in common, made once per family."""

from collections.abc import Callable

from gateway.devchat import room_settings, rooms
from gateway.devchat.errors import UnauthorizedError, not_allowed
from gateway.devchat.history import for_reader, history
from gateway.devchat.models import CHANNEL, DIRECT, PRIVATE
from gateway.devchat.permissions import MODERATOR
from gateway.devchat.rest.calls import Call, Options, get, post
from gateway.devchat.rest.rooms import find_room, named_users
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


INVITE_KEYS = ("roomId", "roomName", "userId", "username", "user", "userIds", "usernames")
INVITE = Schema({}, {key: "array" if key.endswith("s") else "string" for key in INVITE_KEYS})


def _create(kind: str, key: str) -> Callable[[Call], Document]:
    def create(call: Call) -> Document:
        if not call.store.may(call.user, f"create-{kind}"):
            raise UnauthorizedError
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


def _roles(kind: str) -> Callable[[Call], Document]:
    """Only members who hold a role in the room are listed."""

    def roles(call: Call) -> Document:
        held = [member.document() for member in find_room(call, kind=kind).members.values() if member.roles]
        return {"roles": [{key: member[key] for key in ("_id", "rid", "u", "roles")} for member in held]}

    return roles


def _moderators(kind: str) -> Callable[[Call], Document]:
    def moderators(call: Call) -> Document:
        held = [member.document() for member in find_room(call, kind=kind).members.values()]
        return {"moderators": [member["u"] for member in held if MODERATOR in member.get("roles", [])]}

    return moderators


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
            room_settings.set_topic(call.store, room=room, by=call.user, topic=text)
        elif field == "announcement":
            room_settings.set_announcement(call.store, room=room, by=call.user, announcement=text)
        else:
            room_settings.set_description(call.store, room=room, by=call.user, description=text)
        return {field: text}

    return change


def _rename(kind: str, key: str) -> Callable[[Call], Document]:
    def rename(call: Call) -> Document:
        room = find_room(call, kind=kind)
        room_settings.rename(call.store, room=room, by=call.user, name=call.text("name"))
        return {key: room.document()}

    return rename


def _set_read_only(kind: str, key: str) -> Callable[[Call], Document]:
    def change(call: Call) -> Document:
        room = find_room(call, kind=kind)
        room_settings.set_read_only(call.store, room=room, by=call.user, is_read_only=call.flag("readOnly"))
        return {key: room.document()}

    return change


def _archive(kind: str, *, is_archived: bool) -> Callable[[Call], Document]:
    def archive(call: Call) -> Document:
        room_settings.set_archived(call.store, room=find_room(call, kind=kind), by=call.user, is_archived=is_archived)
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
            room_settings.set_role(call.store, room=room, by=call.user, user=user, role=role, is_held=is_held)
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
        room_settings.set_encrypted(call.store, room=room, by=call.user, is_encrypted=call.flag("encrypted"))
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
        get(f"{family}.moderators")(_moderators(kind))
        get(f"{family}.info")(_info(kind, key))
        get(f"{family}.roles")(_roles(kind))
        post(f"{family}.invite", Options(schema=INVITE))(_invite(kind, key))
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
