"""What do people put on a message without changing its text: reactions, pins, stars, follows?"""

from gateway.devchat import emoji
from gateway.devchat.errors import not_allowed
from gateway.devchat.events import MessageChanged
from gateway.devchat.messages import require_access, say_system
from gateway.devchat.models import Room, User
from gateway.devchat.store import Store
from gateway.devchat.wire import Document, Moment


def react(store: Store, *, user: User, message: Document, reaction: str, is_wanted: bool | None) -> None:
    """`is_wanted` None toggles, as Rocket.Chat does when the caller leaves it out."""
    room = store.rooms[message["rid"]]
    shortcode = f":{reaction.strip(':')}:"
    if not emoji.is_known(shortcode):
        raise not_allowed("setReaction", "Invalid emoji provided.")
    require_access(store, user, room, "setReaction")
    if room.is_read_only and not store.may(user, "post-readonly", room):
        raise not_allowed("setReaction", "You can't send messages because the room is readonly.")
    if user.username in room.muted:
        raise not_allowed("setReaction", "You have been muted and cannot speak in this room")
    reactions = message.setdefault("reactions", {})
    names: list[str] = reactions.get(shortcode, {}).get("usernames", [])
    has_reacted = user.username in names
    wanted = not has_reacted if is_wanted is None else is_wanted
    if wanted != has_reacted:
        _set_reaction(reactions, shortcode, [name for name in names if name != user.username], user, wanted)
        store.touch_message(message)
    if not reactions:
        message.pop("reactions")
    if wanted != has_reacted:
        store.publish(MessageChanged(room, message))


def _set_reaction(reactions: Document, shortcode: str, others: list[str], user: User, wanted: bool) -> None:
    names = [*others, user.username] if wanted else others
    if names:
        reactions[shortcode] = {"usernames": names}
    else:
        reactions.pop(shortcode, None)


def pin(store: Store, *, user: User, message: Document) -> Document:
    """Pins, and returns the system message that tells the room."""
    room = store.rooms[message["rid"]]
    _check_pin(store, user, room)
    message["pinned"] = True
    message["pinnedAt"] = Moment(store.now())
    message["pinnedBy"] = {"_id": user.id, "username": user.username}
    store.touch_message(message)
    store.publish(MessageChanged(room, message))
    quote = {
        "text": message["msg"],
        "author_name": message["u"]["username"],
        "author_icon": f"/avatar/{message['u']['username']}",
        "ts": message["ts"],
        "attachments": message.get("attachments", []),
    }
    return say_system(store, room=room, kind="message_pinned", user=user, text="", extra={"attachments": [quote]})


def unpin(store: Store, *, user: User, message: Document) -> None:
    room = store.rooms[message["rid"]]
    _check_pin(store, user, room)
    if message.get("pinned"):
        message["pinned"] = False
        message["pinnedBy"] = {"_id": user.id, "username": user.username}
        store.touch_message(message)
        store.publish(MessageChanged(room, message))


def _check_pin(store: Store, user: User, room: Room) -> None:
    if user.id not in room.members or not store.may(user, "pin-message", room):
        raise not_allowed("pinMessage")


def star(store: Store, *, user: User, message: Document, is_starred: bool) -> None:
    room = store.rooms[message["rid"]]
    require_access(store, user, room, "starMessage")
    others = [entry for entry in message.get("starred", []) if entry["_id"] != user.id]
    message["starred"] = [*others, {"_id": user.id}] if is_starred else others
    store.touch_message(message)
    store.publish(MessageChanged(room, message))


def follow(store: Store, *, user: User, message: Document, follows: bool) -> None:
    room = store.rooms[message["rid"]]
    require_access(store, user, room, "followMessage")
    root = store.messages.get(str(message.get("tmid", "")), message)
    followers = [follower for follower in root.get("replies", []) if follower != user.id]
    root["replies"] = [*followers, user.id] if follows else followers
    store.touch_message(root)
    store.publish(MessageChanged(room, root))
