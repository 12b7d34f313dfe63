"""What is the state of the workspace, and how is it found? Indexes only; the rules stand beside it."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway.devchat.events import Event
from gateway.devchat.models import CHANNEL, Room, User
from gateway.devchat.permissions import Grants
from gateway.devchat.switches import Switches
from gateway.devchat.wire import Document, Moment, now_ms

# The log of updates per room holds stale entries of edited messages; past this share it is rewritten.
STALE_FACTOR = 4


@dataclass(slots=True)
class RoomLog:
    """One room's messages in order of posting, and the order in which they last changed."""

    message_ids: list[str] = field(default_factory=list)
    update_times: list[int] = field(default_factory=list)
    update_ids: list[str] = field(default_factory=list)
    deleted: list[tuple[int, str]] = field(default_factory=list)  # (time, message id), oldest first


class Store:
    """Users, rooms and messages by id and by name. Knows no socket; `publish` is set by whoever listens."""

    def __init__(self, *, clock: Callable[[], int] = now_ms, switches: Switches | None = None) -> None:
        self.now = clock
        self.switches = switches or Switches()
        self.grants = Grants()
        self.users: dict[str, User] = {}
        self.rooms: dict[str, Room] = {}
        self.messages: dict[str, Document] = {}
        self.logs: dict[str, RoomLog] = {}
        self.integrations: dict[str, Document] = {}
        self.files: dict[str, Document] = {}
        # Per user, the subscriptions that ended: (time, subscription id), oldest first.
        self.left: dict[str, list[tuple[int, str]]] = {}
        # Per user, when a wrong password was last tried; the login forgets them.
        self.failed_logins: dict[str, list[int]] = {}
        self.publish: Callable[[Event], None] = lambda _event: None
        self.changes = 0
        self._usernames: dict[str, str] = {}
        self._room_names: dict[str, str] = {}
        self._tokens: dict[str, str] = {}
        self._last_update = 0

    # users

    def add_user(self, user: User) -> None:
        self.users[user.id] = user
        self._usernames[user.username.lower()] = user.id
        for token in user.tokens:
            self._tokens[token.hashed] = user.id
        self.changes += 1

    def remove_user(self, user: User) -> None:
        self.users.pop(user.id, None)
        self._usernames.pop(user.username.lower(), None)
        for token in user.tokens:
            self._tokens.pop(token.hashed, None)
        self.changes += 1

    def rename_user(self, user: User, username: str) -> None:
        self._usernames.pop(user.username.lower(), None)
        user.username = username
        self._usernames[username.lower()] = user.id
        self.changes += 1

    def user_named(self, username: str) -> User | None:
        user_id = self._usernames.get(username.lower())
        return self.users.get(user_id) if user_id else None

    def user_by_email(self, email: str) -> User | None:
        return next((user for user in self.users.values() if user.email == email), None)

    def index_token(self, hashed: str, user_id: str) -> None:
        self._tokens[hashed] = user_id
        self.changes += 1

    def forget_token(self, hashed: str) -> None:
        self._tokens.pop(hashed, None)
        self.changes += 1

    def user_of_token(self, hashed: str) -> User | None:
        user_id = self._tokens.get(hashed)
        return self.users.get(user_id) if user_id else None

    def may(self, user: User, permission: str, room: Room | None = None) -> bool:
        if self.grants.allows(permission, user.roles):
            return True
        member = room.members.get(user.id) if room else None
        return bool(member and member.roles) and self.grants.allows(permission, member.roles if member else ())

    def can_access(self, user: User, room: Room) -> bool:
        return user.id in room.members or (room.t == CHANNEL and self.grants.allows("view-c-room", user.roles))

    # rooms

    def add_room(self, room: Room) -> None:
        self.rooms[room.id] = room
        self.logs.setdefault(room.id, RoomLog())
        if room.name:
            self._room_names[room.name.lower()] = room.id
        self.changes += 1

    def rename_room(self, room: Room, name: str) -> None:
        self._room_names.pop(room.name.lower(), None)
        room.name = room.fname = name
        self._room_names[name.lower()] = room.id
        self.changes += 1

    def remove_room(self, room: Room) -> None:
        for message_id in self.logs.pop(room.id, RoomLog()).message_ids:
            self.messages.pop(message_id, None)
        self.rooms.pop(room.id, None)
        self._room_names.pop(room.name.lower(), None)
        self.changes += 1

    def room_named(self, name: str) -> Room | None:
        room_id = self._room_names.get(name.lower())
        return self.rooms.get(room_id) if room_id else None

    def rooms_of(self, user: User) -> Iterator[Room]:
        return (room for room in self.rooms.values() if user.id in room.members)

    # messages

    def add_message(self, message: Document) -> None:
        self.messages[message["_id"]] = message
        self.logs[message["rid"]].message_ids.append(message["_id"])
        self.touch_message(message)

    def touch_message(self, message: Document) -> None:
        """Every change of a document goes through here: `_updatedAt` never runs backwards."""
        self._last_update = max(self.now(), self._last_update)
        message["_updatedAt"] = Moment(self._last_update)
        log = self.logs[message["rid"]]
        log.update_times.append(self._last_update)
        log.update_ids.append(message["_id"])
        if len(log.update_ids) > 1_000 and len(log.update_ids) > STALE_FACTOR * len(log.message_ids):
            self._rewrite_updates(log)
        self.changes += 1

    def drop_message(self, message: Document) -> None:
        self.messages.pop(message["_id"], None)
        log = self.logs[message["rid"]]
        log.message_ids.remove(message["_id"])
        log.deleted.append((self.now(), message["_id"]))
        self.changes += 1

    def messages_of(self, room_id: str) -> Iterator[Document]:
        """Oldest first."""
        return (self.messages[message_id] for message_id in self.logs[room_id].message_ids)

    def newest_messages_of(self, room_id: str) -> Iterator[Document]:
        return (self.messages[message_id] for message_id in reversed(self.logs[room_id].message_ids))

    def updated_after(self, room_id: str, after: int) -> Iterator[Document]:
        """Messages whose last change is later than `after`, in the order of those changes."""
        log = self.logs[room_id]
        for index in range(bisect_right(log.update_times, after), len(log.update_ids)):
            message = self.messages.get(log.update_ids[index])
            if message is not None and message["_updatedAt"] == log.update_times[index]:
                yield message

    def _rewrite_updates(self, log: RoomLog) -> None:
        # Oldest first, one entry per message: what `updated_after` reads stays the same.
        kept: dict[str, int] = {}
        for time, message_id in zip(log.update_times, log.update_ids, strict=True):
            message = self.messages.get(message_id)
            if message is not None and message["_updatedAt"] == time:
                kept.pop(message_id, None)
                kept[message_id] = time
        log.update_ids, log.update_times = list(kept), list(kept.values())
