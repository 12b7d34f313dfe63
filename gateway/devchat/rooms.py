"""How do rooms come to be, and how do people come in and go?"""

from gateway.devchat.errors import ChatError, not_allowed
from gateway.devchat.events import Occurrence, RoomChanged, SubscriptionChanged
from gateway.devchat.messages import say_system
from gateway.devchat.models import CHANNEL, DIRECT, PRIVATE, Room, Subscription, User
from gateway.devchat.permissions import OWNER
from gateway.devchat.store import Store
from gateway.devchat.wire import Document, random_id

MAX_DIRECT_USERS = 8


def create_room(
    store: Store,
    *,
    kind: str,
    name: str,
    creator: User,
    members: list[User],
    is_read_only: bool = False,
    is_default: bool = False,
    room_id: str | None = None,
    title: str = "",
    parent_id: str = "",
) -> Room:
    check_room_name(store, name)
    now = store.now()
    room = Room(
        id=room_id or random_id(),
        t=kind,
        name=name,
        creator_id=creator.id,
        creator_username=creator.username,
        created_at=now,
        updated_at=now,
        fname=title or name,
        parent_id=parent_id,
        is_read_only=is_read_only,
        is_default=is_default,
    )
    store.add_room(room)
    _add_member(store, room, creator, roles=[OWNER])
    for member in members:
        if member.id not in room.members:
            _add_member(store, room, member)
    store.publish(Occurrence("roomCreated", room, creator))
    return room


def create_discussion(store: Store, *, parent: Room, title: str, creator: User, members: list[User]) -> Room:
    """A room of its own below another one, which is told of it."""
    kind = PRIVATE if parent.t != CHANNEL else CHANNEL
    room = create_room(
        store, kind=kind, name=random_id(), creator=creator, members=members, title=title, parent_id=parent.id
    )
    extra = {"drid": room.id, "dcount": 0}
    say_system(store, room=parent, kind="discussion-created", user=creator, text=title, extra=extra)
    return room


def check_room_name(store: Store, name: str) -> None:
    valid = name and all(sign.isalnum() or sign in "-_." for sign in name)
    if not valid:
        raise ChatError("error-invalid-room-name", f"{name} is not a valid room name", {"channel_name": name})
    if store.room_named(name):
        raise ChatError(
            "error-duplicate-channel-name",
            f"A channel with name '{name}' exists",
            {"function": "createRoom", "channel_name": name},
        )


def open_direct(store: Store, *, creator: User, others: list[User], exclude_self: bool = False) -> Room:
    """The direct room of these users; the same one at every call."""
    if not store.may(creator, "create-d"):
        raise not_allowed("createDirectMessage")
    users = {user.id: user for user in others} if exclude_self else {user.id: user for user in [creator, *others]}
    if len(users) > MAX_DIRECT_USERS:
        raise ChatError("error-direct-message-max-user-exceeded", f"You cannot add more than {MAX_DIRECT_USERS} users")
    user_ids = sorted(users)
    room = _direct_of(store, user_ids)
    if room is None:
        room = _create_direct(store, creator, [users[user_id] for user_id in user_ids])
    elif creator.id in users and creator.id not in room.members:
        _add_member(store, room, creator)
    return room


def _direct_of(store: Store, user_ids: list[str]) -> Room | None:
    if len(user_ids) <= 2:
        return store.rooms.get("".join(user_ids))
    rooms = (room for room in store.rooms.values() if room.t == DIRECT)
    return next((room for room in rooms if room.user_ids == user_ids), None)


def _create_direct(store: Store, creator: User, users: list[User]) -> Room:
    now = store.now()
    room = Room(
        id="".join(user.id for user in users) if len(users) <= 2 else random_id(),
        t=DIRECT,
        name="",
        creator_id=creator.id,
        creator_username=creator.username,
        created_at=now,
        updated_at=now,
        user_ids=[user.id for user in users],
        usernames=[user.username for user in users],
    )
    store.add_room(room)
    for user in users:
        _add_member(store, room, user)
    return room


def _add_member(store: Store, room: Room, user: User, roles: list[str] | None = None) -> Subscription:
    now = store.now()
    name, shown = _names_for(store, room, user)
    subscription = Subscription(
        id=random_id(),
        rid=room.id,
        t=room.t,
        user_id=user.id,
        username=user.username,
        user_name=user.name,
        name=name,
        fname=shown,
        created_at=now,
        updated_at=now,
        roles=roles or [],
        last_seen_at=now if roles else None,
    )
    room.members[user.id] = subscription
    room.updated_at = now
    store.changes += 1
    store.publish(SubscriptionChanged("inserted", subscription))
    store.publish(RoomChanged("inserted", room, (user.id,)))
    return subscription


def _names_for(store: Store, room: Room, user: User) -> tuple[str, str]:
    if room.t != DIRECT:
        return room.name, room.fname or room.name
    others = [store.users[user_id] for user_id in room.user_ids if user_id != user.id and user_id in store.users]
    others = others or [user]
    return ", ".join(other.username for other in others), ", ".join(other.name for other in others)


def join(store: Store, *, room: Room, user: User) -> None:
    if room.t != CHANNEL or not store.grants.allows("view-c-room", user.roles):
        raise not_allowed("joinRoom")
    if user.id in room.members:
        return
    _add_member(store, room, user)
    say_system(store, room=room, kind="uj", user=user, text=user.username)
    store.publish(Occurrence("roomJoined", room, user))


def invite(store: Store, *, room: Room, inviter: User, users: list[User]) -> None:
    if room.t == DIRECT or not _may_add(store, room, inviter):
        raise not_allowed("addUsersToRoom")
    for user in users:
        if user.id in room.members:
            continue
        _add_member(store, room, user)
        say_system(store, room=room, kind="au", user=inviter, text=user.username)


def _may_add(store: Store, room: Room, inviter: User) -> bool:
    anywhere = "add-user-to-any-p-room" if room.t == PRIVATE else "add-user-to-any-c-room"
    if store.may(inviter, anywhere):
        return True
    return inviter.id in room.members and store.may(inviter, "add-user-to-joined-room", room)


def leave(store: Store, *, room: Room, user: User) -> None:
    if user.id not in room.members:
        raise ChatError("error-user-not-in-room", "You are not in this room", {"method": "leaveRoom"})
    if room.t == DIRECT:
        raise not_allowed("leaveRoom")
    _refuse_last_owner(room, user)
    say_system(store, room=room, kind="ul", user=user, text=user.username)
    _remove_member(store, room, user)
    store.publish(Occurrence("roomLeft", room, user))


def _refuse_last_owner(room: Room, user: User) -> None:
    owners = [member for member in room.members.values() if OWNER in member.roles]
    if len(owners) == 1 and owners[0].user_id == user.id and len(room.members) > 1:
        raise ChatError(
            "error-you-are-last-owner",
            "You are the last owner. Please set new owner before leaving the room.",
            {"method": "leaveRoom"},
        )


def kick(store: Store, *, room: Room, by: User, user: User) -> None:
    if room.t == DIRECT or not store.may(by, "remove-user", room):
        raise not_allowed("removeUserFromRoom")
    if user.id not in room.members:
        raise ChatError("error-user-not-in-room", "User is not in this room", {"method": "removeUserFromRoom"})
    _remove_member(store, room, user)
    say_system(store, room=room, kind="ru", user=by, text=user.username)


def _remove_member(store: Store, room: Room, user: User) -> None:
    room.updated_at = store.now()
    _end_membership(store, room, user.id)


def _end_membership(store: Store, room: Room, user_id: str) -> None:
    subscription = room.members.pop(user_id)
    store.left.setdefault(user_id, []).append((store.now(), subscription.id))
    store.changes += 1
    store.publish(SubscriptionChanged("removed", subscription))
    store.publish(RoomChanged("removed", room, (user_id,)))


def delete_room(store: Store, *, room: Room, by: User) -> None:
    if not store.may(by, "delete-p" if room.t == PRIVATE else "delete-c", room):
        raise not_allowed("eraseRoom")
    for user_id in list(room.members):
        _end_membership(store, room, user_id)
    store.remove_room(room)


def mark_read(store: Store, *, room: Room, user: User) -> None:
    subscription = room.members.get(user.id)
    if subscription is None:
        raise ChatError("error-invalid-subscription", "Invalid subscription", {"method": "readMessages"})
    subscription.last_seen_at = subscription.updated_at = store.now()
    subscription.unread = subscription.user_mentions = subscription.group_mentions = 0
    subscription.alert = False
    subscription.open = True
    store.changes += 1
    store.publish(SubscriptionChanged("updated", subscription))


def set_open(store: Store, *, room: Room, user: User, is_open: bool) -> None:
    subscription = room.members.get(user.id)
    if subscription is None:
        raise ChatError("error-invalid-subscription", "Invalid subscription", {"method": "hideRoom"})
    subscription.open = is_open
    subscription.updated_at = store.now()
    store.changes += 1
    store.publish(SubscriptionChanged("updated", subscription))


def with_last_message(store: Store, room: Room) -> Document:
    return room.document(store.messages.get(room.last_message_id))
