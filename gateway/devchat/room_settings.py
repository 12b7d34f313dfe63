"""What can be changed about a room that exists: its texts, name, rules and roles?"""

from gateway.devchat.errors import ChatError, not_allowed
from gateway.devchat.events import Occurrence, RoomChanged, SubscriptionChanged
from gateway.devchat.messages import say_system
from gateway.devchat.models import DIRECT, Room, User
from gateway.devchat.rooms import check_room_name
from gateway.devchat.store import Store


def set_topic(store: Store, *, room: Room, by: User, topic: str) -> None:
    _require_edit(store, room, by)
    room.topic = topic
    _announce_change(store, room)
    say_system(store, room=room, kind="room_changed_topic", user=by, text=topic)


def set_announcement(store: Store, *, room: Room, by: User, announcement: str) -> None:
    _require_edit(store, room, by)
    room.announcement = announcement
    _announce_change(store, room)
    say_system(store, room=room, kind="room_changed_announcement", user=by, text=announcement)


def set_description(store: Store, *, room: Room, by: User, description: str) -> None:
    _require_edit(store, room, by)
    room.description = description
    _announce_change(store, room)
    say_system(store, room=room, kind="room_changed_description", user=by, text=description)


def set_read_only(store: Store, *, room: Room, by: User, is_read_only: bool) -> None:
    if not store.may(by, "set-readonly", room):
        raise not_allowed("saveRoomSettings")
    room.is_read_only = is_read_only
    _announce_change(store, room)
    kind = "room-set-read-only" if is_read_only else "room-removed-read-only"
    say_system(store, room=room, kind=kind, user=by, text="")


def rename(store: Store, *, room: Room, by: User, name: str) -> None:
    _require_edit(store, room, by)
    if name == room.name:
        return
    check_room_name(store, name)
    store.rename_room(room, name)
    for subscription in room.members.values():
        subscription.name = subscription.fname = name
        subscription.updated_at = store.now()
        store.publish(SubscriptionChanged("updated", subscription))
    _announce_change(store, room)
    say_system(store, room=room, kind="r", user=by, text=name)


def set_archived(store: Store, *, room: Room, by: User, is_archived: bool) -> None:
    if not store.may(by, "archive-room", room):
        raise not_allowed("archiveRoom")
    room.is_archived = is_archived
    _announce_change(store, room)
    say_system(store, room=room, kind="room-archived" if is_archived else "room-unarchived", user=by, text="")
    if is_archived:
        store.publish(Occurrence("roomArchived", room, by))


def set_role(store: Store, *, room: Room, by: User, user: User, role: str, is_held: bool) -> None:
    if not store.may(by, f"set-{role}", room):
        raise not_allowed(f"addRoom{role.capitalize()}")
    subscription = room.members.get(user.id)
    if subscription is None:
        raise ChatError("error-user-not-in-room", "User is not in this room")
    roles = [held for held in subscription.roles if held != role]
    subscription.roles = [*roles, role] if is_held else roles
    subscription.updated_at = store.now()
    store.publish(SubscriptionChanged("updated", subscription))
    kind = "subscription-role-added" if is_held else "subscription-role-removed"
    say_system(store, room=room, kind=kind, user=by, text=user.username, extra={"role": role})


def mute(store: Store, *, room: Room, by: User, username: str, is_muted: bool) -> None:
    if not store.may(by, "mute-user", room):
        raise not_allowed("muteUserInRoom")
    room.muted = [name for name in room.muted if name != username] + ([username] if is_muted else [])
    _announce_change(store, room)
    say_system(store, room=room, kind="user-muted" if is_muted else "user-unmuted", user=by, text=username)


def set_encrypted(store: Store, *, room: Room, by: User, is_encrypted: bool) -> None:
    _require_edit(store, room, by)
    room.is_encrypted = is_encrypted
    _announce_change(store, room)
    kind = "room_e2e_enabled" if is_encrypted else "room_e2e_disabled"
    say_system(store, room=room, kind=kind, user=by, text=by.username)


def _require_edit(store: Store, room: Room, by: User) -> None:
    if room.t == DIRECT or not store.may(by, "edit-room", room):
        raise not_allowed("saveRoomSettings", "Editing room is not allowed")


def _announce_change(store: Store, room: Room) -> None:
    room.updated_at = store.now()
    store.changes += 1
    store.publish(RoomChanged("updated", room, tuple(room.members)))
