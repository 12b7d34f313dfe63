"""What happens to a message: sent, edited, deleted, reacted to, pinned; and who is told?"""

from gateway.devchat.drafts import check_draft, draft_text, system_types
from gateway.devchat.errors import ChatError, PlainError, action_not_allowed, not_allowed
from gateway.devchat.events import MessageChanged, Occurrence, RoomNotice, SubscriptionChanged
from gateway.devchat.mentions import find_channels, find_mentions, find_urls, quoted_attachments, syntax_tree
from gateway.devchat.models import DIRECT, Room, User
from gateway.devchat.store import Store
from gateway.devchat.wire import Document, Moment, random_id

KEPT_OF_DRAFT = (
    "alias",
    "avatar",
    "emoji",
    "attachments",
    "blocks",
    "customFields",
    "bot",
    "groupable",
    "t",
    "content",
    "e2e",
    "file",
    "files",
    "federation",
)


def send(store: Store, *, user: User, room: Room, draft: Document) -> Document | None:
    """Stores and announces a message; None when its `_id` is already there, whoever wrote that one."""
    check_draft(store, user=user, room=room, draft=draft)
    return post(store, user=user, room=room, draft=draft)


def post(store: Store, *, user: User, room: Room, draft: Document) -> Document | None:
    """As `send`, without asking: for what integrations answer."""
    message_id = draft.get("_id") or random_id()
    if message_id in store.messages:
        return None
    message = _compose(store, user, room, draft, message_id)
    store.add_message(message)
    _count(store, room, message)
    _mark_unread(store, room, message)
    _reply_to_thread(store, room, message)
    store.publish(MessageChanged(room, message))
    store.publish(Occurrence("fileUploaded" if "file" in message else "sendMessage", room, user, message))
    return message


def _compose(store: Store, user: User, room: Room, draft: Document, message_id: str) -> Document:
    text = draft_text(draft).replace("\0", "")
    message: Document = {
        "_id": message_id,
        "rid": room.id,
        "msg": text,
        "ts": Moment(draft.get("ts") or store.now()),
        "u": user.author(),
    }
    message |= {key: draft[key] for key in KEPT_OF_DRAFT if draft.get(key) is not None}
    thread = store.messages.get(str(draft.get("tmid") or ""))
    if thread is not None and thread["rid"] == room.id:
        message["tmid"] = thread.get("tmid", thread["_id"])  # nesting is flattened to the root
        if draft.get("tshow") is True:
            message["tshow"] = True
    _parse(store, user, message)
    return message


def _parse(store: Store, user: User, message: Document) -> None:
    text = message["msg"]
    message["mentions"] = find_mentions(store, text)
    message["channels"] = find_channels(store, text)
    message["urls"] = find_urls(text)
    message["md"] = syntax_tree(text)
    quotes = quoted_attachments(store, text=text, reader=user, site_url=store.switches.site_url)
    if quotes:
        message["attachments"] = quotes + message.get("attachments", [])


def say_system(
    store: Store, *, room: Room, kind: str, user: User, text: str, extra: Document | None = None
) -> Document:
    """A message the server writes itself; it fires no webhook and marks nothing unread."""
    message: Document = {
        "_id": random_id(),
        "rid": room.id,
        "t": kind,
        "msg": text,
        "ts": Moment(store.now()),
        "u": user.author(),
        "groupable": False,
        "mentions": [],
        "channels": [],
        "urls": [],
    }
    message |= extra or {}
    store.add_message(message)
    _count(store, room, message)
    store.publish(MessageChanged(room, message))
    return message


def _count(store: Store, room: Room, message: Document) -> None:
    room.message_count += 1
    room.updated_at = store.now()
    if "tmid" not in message or message.get("tshow"):
        room.last_message_at = int(message["ts"])
        room.last_message_id = message["_id"]


def _mark_unread(store: Store, room: Room, message: Document) -> None:
    if "tmid" in message and not message.get("tshow"):
        return  # a thread's followers are marked with the thread
    mentioned = {mention["_id"] for mention in message["mentions"]}
    everybody = not mentioned.isdisjoint(("all", "here"))
    for user_id, subscription in room.members.items():
        if user_id == message["u"]["_id"]:
            continue
        is_mentioned = user_id in mentioned
        changed = not subscription.alert or not subscription.open
        subscription.alert = subscription.open = True
        if is_mentioned or everybody or room.t == DIRECT:
            subscription.unread += 1
            subscription.user_mentions += is_mentioned
            subscription.group_mentions += everybody
            changed = True
        if changed:
            subscription.updated_at = store.now()
            store.publish(SubscriptionChanged("updated", subscription))


def _reply_to_thread(store: Store, room: Room, message: Document) -> None:
    root = store.messages.get(message.get("tmid", ""))
    if root is None:
        return
    followers = root.setdefault("replies", [])
    mentioned = (mention["_id"] for mention in message["mentions"])
    for user_id in (root["u"]["_id"], message["u"]["_id"], *mentioned):
        if user_id in store.users and user_id not in followers:
            followers.append(user_id)
    root["tcount"] = root.get("tcount", 0) + 1
    root["tlm"] = message["ts"]
    _mark_followers(store, room, followers, message)
    store.touch_message(root)
    store.publish(MessageChanged(room, root))


def _mark_followers(store: Store, room: Room, followers: list[str], message: Document) -> None:
    for user_id in followers:
        subscription = room.members.get(user_id)
        if subscription is None or user_id == message["u"]["_id"]:
            continue
        subscription.last_reply_at = subscription.updated_at = int(message["ts"])
        subscription.alert = True
        if message["tmid"] not in subscription.unread_threads:
            subscription.unread_threads.append(message["tmid"])
        store.publish(SubscriptionChanged("updated", subscription))


def update(
    store: Store, *, user: User, message: Document, text: str, custom_fields: Document | None = None
) -> Document:
    """Edits the text. The same text again changes nothing and tells nobody."""
    room = store.rooms[message["rid"]]
    _check_edit(store, user, room, message)
    text = text.replace("\0", "")
    if not text.strip() and not message.get("attachments"):
        raise ChatError("error-invalid-message", "Message is empty")
    if text == message["msg"] and custom_fields is None:
        return message
    quotes = [part for part in message.get("attachments", []) if "message_link" in part]
    if quotes:
        message["attachments"] = [part for part in message["attachments"] if "message_link" not in part]
    message["msg"] = text
    if custom_fields is not None:
        message["customFields"] = custom_fields
    _parse(store, user, message)
    message["editedAt"] = Moment(store.now())
    message["editedBy"] = {"_id": user.id, "username": user.username}
    store.touch_message(message)
    store.publish(MessageChanged(room, message))
    store.publish(Occurrence("sendMessage", room, user, message, is_edit=True))
    return message


def _check_edit(store: Store, user: User, room: Room, message: Document) -> None:
    require_access(store, user, room, "updateMessage")
    is_own = message["u"]["_id"] == user.id
    if message.get("t") == "rm" or message.get("t") in system_types():
        raise action_not_allowed("Message_editing", "Message editing not allowed")
    if not is_own and not store.may(user, "edit-message", room):
        raise action_not_allowed("Message_editing", "Message editing not allowed")
    limit_ms = store.switches.edit_block_minutes * 60_000
    is_late = limit_ms and store.now() - message["ts"] > limit_ms
    if is_late and not store.may(user, "bypass-time-limit-edit-and-delete", room):
        raise ChatError("error-message-editing-blocked", "Message editing is blocked", {"method": "updateMessage"})


def delete(store: Store, *, user: User, message: Document) -> None:
    room = store.rooms[message["rid"]]
    _check_delete(store, user, room, message)
    if store.switches.shows_deleted_status or message.get("tcount"):
        _leave_tombstone(store, user, room, message)
        return
    store.drop_message(message)
    room.message_count -= 1
    if room.last_message_id == message["_id"]:
        newest = next(store.newest_messages_of(room.id), None)
        room.last_message_id = newest["_id"] if newest else ""
    _forget_reply(store, room, message)
    store.publish(RoomNotice(room, "deleteMessage", [{"_id": message["_id"]}]))


def _check_delete(store: Store, user: User, room: Room, message: Document) -> None:
    require_access(store, user, room, "deleteMessage")
    is_own = message["u"]["_id"] == user.id
    allowed = store.may(user, "force-delete-message", room) or store.may(user, "delete-message", room)
    if not allowed and not (is_own and store.may(user, "delete-own-message", room)):
        raise action_not_allowed("Delete_message", "Not allowed")


def _leave_tombstone(store: Store, user: User, room: Room, message: Document) -> None:
    for key in ("attachments", "reactions", "file", "files", "blocks", "pinned", "pinnedAt", "pinnedBy"):
        message.pop(key, None)
    message |= {"t": "rm", "msg": "", "md": [], "mentions": [], "channels": [], "urls": []}
    message["editedAt"] = Moment(store.now())
    message["editedBy"] = {"_id": user.id, "username": user.username}
    store.touch_message(message)
    store.publish(MessageChanged(room, message))


def _forget_reply(store: Store, room: Room, message: Document) -> None:
    root = store.messages.get(message.get("tmid", ""))
    if root is None or not root.get("tcount"):
        return
    root["tcount"] -= 1
    if not root["tcount"]:
        for key in ("tcount", "tlm", "replies"):
            root.pop(key, None)
    store.touch_message(root)
    store.publish(MessageChanged(room, root))


def require_access(store: Store, user: User, room: Room, method: str) -> None:
    if not store.can_access(user, room):
        raise not_allowed(method)


def room_for_posting(store: Store, room_id: str) -> Room:
    room = store.rooms.get(room_id)
    if room is None:
        raise PlainError("error-invalid-room")
    return room
