"""What does the stand-in remember of users, rooms and subscriptions, and how do they look to clients?"""

from dataclasses import dataclass, field

from gateway.devchat.permissions import BOT
from gateway.devchat.wire import Document, Moment

CHANNEL, PRIVATE, DIRECT = "c", "p", "d"


@dataclass(slots=True)
class Token:
    hashed: str
    kind: str  # "login" or "personal"
    created_at: int
    expires_at: int | None = None
    name: str = ""
    last_token_part: str = ""
    bypass_two_factor: bool = False


@dataclass(slots=True)
class User:
    id: str
    username: str
    name: str
    email: str
    roles: list[str]
    created_at: int
    updated_at: int
    password: str = ""
    verified: bool = False
    email_two_factor: bool = False
    active: bool = True
    type: str = "user"
    status: str = "offline"
    status_text: str = ""
    avatar_etag: str = ""
    avatar_type: str = ""
    tokens: list[Token] = field(default_factory=list)

    @property
    def is_bot(self) -> bool:
        return BOT in self.roles

    def author(self) -> Document:
        return {"_id": self.id, "username": self.username, "name": self.name}

    def public(self) -> Document:
        document: Document = {
            "_id": self.id,
            "username": self.username,
            "name": self.name,
            "type": self.type,
            "active": self.active,
            "status": self.status,
            "utcOffset": 0,
            "nameInsensitive": self.name.lower(),
        }
        if self.status_text:
            document["statusText"] = self.status_text
        if self.avatar_etag:
            document["avatarETag"] = self.avatar_etag
        return document

    def full(self) -> Document:
        """What the user himself and people with `view-full-other-user-info` see."""
        return self.public() | {
            "roles": list(self.roles),
            "emails": [{"address": self.email, "verified": self.verified}] if self.email else [],
            "createdAt": Moment(self.created_at),
            "_updatedAt": Moment(self.updated_at),
            "statusConnection": self.status,
            "settings": {"preferences": {}},
        }


@dataclass(slots=True)
class Subscription:
    """One user's membership of one room."""

    id: str
    rid: str
    t: str
    user_id: str
    username: str
    user_name: str
    name: str
    fname: str
    created_at: int
    updated_at: int
    open: bool = True
    unread: int = 0
    alert: bool = False
    user_mentions: int = 0
    group_mentions: int = 0
    last_seen_at: int | None = None
    last_reply_at: int | None = None
    roles: list[str] = field(default_factory=list)
    unread_threads: list[str] = field(default_factory=list)

    def document(self) -> Document:
        document: Document = {
            "_id": self.id,
            "rid": self.rid,
            "t": self.t,
            "name": self.name,
            "fname": self.fname,
            "open": self.open,
            "unread": self.unread,
            "alert": self.alert,
            "userMentions": self.user_mentions,
            "groupMentions": self.group_mentions,
            "tunread": list(self.unread_threads),
            "ts": Moment(self.created_at),
            "_updatedAt": Moment(self.updated_at),
            "u": {"_id": self.user_id, "username": self.username, "name": self.user_name},
        }
        if self.roles:
            document["roles"] = list(self.roles)
        if self.last_seen_at is not None:
            document["ls"] = Moment(self.last_seen_at)
        if self.last_reply_at is not None:
            document["lr"] = Moment(self.last_reply_at)
        return document


@dataclass(slots=True)
class Room:
    id: str
    t: str
    name: str
    creator_id: str
    creator_username: str
    created_at: int
    updated_at: int
    fname: str = ""
    topic: str = ""
    description: str = ""
    announcement: str = ""
    is_read_only: bool = False
    is_archived: bool = False
    is_encrypted: bool = False
    is_default: bool = False
    parent_id: str = ""
    message_count: int = 0
    last_message_at: int | None = None
    last_message_id: str = ""
    muted: list[str] = field(default_factory=list)
    user_ids: list[str] = field(default_factory=list)  # of a direct room, also after somebody hid it
    usernames: list[str] = field(default_factory=list)
    members: dict[str, Subscription] = field(default_factory=dict)

    def document(self, last_message: Document | None = None) -> Document:
        document: Document = {
            "_id": self.id,
            "t": self.t,
            "ts": Moment(self.created_at),
            "msgs": self.message_count,
            "usersCount": len(self.members),
            "u": {"_id": self.creator_id, "username": self.creator_username},
            "ro": self.is_read_only,
            "sysMes": True,
            "default": self.is_default,
            "_updatedAt": Moment(self.updated_at),
        }
        if self.t == DIRECT:
            document |= {"uids": list(self.user_ids), "usernames": list(self.usernames)}
        else:
            document |= {"name": self.name, "fname": self.fname or self.name}
        document |= {key: value for key, value in self._optional().items() if value}
        if self.last_message_at is not None:
            document["lm"] = Moment(self.last_message_at)
        if last_message is not None:
            document["lastMessage"] = last_message
        return document

    def _optional(self) -> Document:
        return {
            "prid": self.parent_id,
            "topic": self.topic,
            "description": self.description,
            "announcement": self.announcement,
            "archived": self.is_archived,
            "encrypted": self.is_encrypted,
            "muted": list(self.muted),
        }
