"""What does a chat document say? Reads Rocket.Chat's JSON, from REST or DDP, into typed values, or says what is wrong."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

Document = dict[str, Any]
"""JSON as the chat sends it: its keys are Rocket.Chat's, so no narrower type holds."""

MAX_FRAME_CHARS = 1024 * 1024
MAX_TEXT_CHARS = 200_000
"""Rocket.Chat's own limit is 5,000 by default; what is longer than this is cut."""

MAX_NAME_CHARS = 200
MAX_MENTIONS = 100
MAX_REACTIONS = 200
LAST_MS = 4_102_444_800_000
"""The year 2100: no chat time is later."""

_ID = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_decode = msgspec.json.Decoder().decode


class BadDocumentError(ValueError):
    """A document that can't be used; `reason` is one word per cause, for counters and for the row set aside."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One version of one message. Times are milliseconds since 1970. `mentions` are user ids, `pinned_by` is a username."""

    rc_id: str
    rid: str
    user_id: str
    username: str
    name: str
    text: str
    ts: int
    updated: int
    thread: str = ""
    system_type: str = ""
    edited: int | None = None
    edited_by: str = ""
    mentions: tuple[str, ...] = ()
    reactions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attachments: tuple[Document, ...] = ()
    is_by_program: bool = False
    is_ephemeral: bool = False
    is_encrypted: bool = False
    is_imported: bool = False
    is_pinned: bool = False
    pinned_by: str = ""

    @property
    def is_tombstone(self) -> bool:
        return self.system_type == "rm"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRoom:
    """A room as its document or a subscription shows it. `kind` is Rocket.Chat's letter: c, p, d, l."""

    rid: str
    kind: str
    name: str = ""
    title: str = ""
    topic: str = ""
    is_archived: bool = False
    is_read_only: bool = False
    is_encrypted: bool = False
    user_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSubscription:
    """One account's membership of one room; `since` is when it joined."""

    rid: str
    kind: str
    name: str
    title: str
    since: int
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMember:
    user_id: str
    username: str
    name: str


def read_json(text: str | bytes) -> Any:
    """Any JSON, also with lone surrogates, which JavaScript writes and strict parsers refuse. Raises BadDocumentError."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    try:
        return _without_surrogates(json.loads(text, parse_constant=_refuse))
    except (ValueError, RecursionError):
        raise BadDocumentError("not_json") from None


def message(document: object) -> ChatMessage:
    """Raises BadDocumentError when what a message must have is missing or of another kind."""
    if not isinstance(document, dict):
        raise BadDocumentError("message_not_object")
    sender = document.get("u")
    if not isinstance(sender, dict):
        raise BadDocumentError("message_without_u")
    get = document.get
    ts = _time(get("ts"), "ts")
    text = get("msg")
    edited = get("editedAt")
    editor = get("editedBy")
    pinner = get("pinnedBy")
    mentions = get("mentions")
    reactions = get("reactions")
    system_type = get("t")
    rc_id = _id(get("_id"), "_id")
    username = _name(sender.get("username"))
    return ChatMessage(
        rc_id=rc_id,
        rid=_id(get("rid"), "rid"),
        user_id=_id(sender.get("_id"), "u_id"),
        username=username,
        name=_name(sender.get("name")) or username,
        text=_text(text) if text else "",
        ts=ts,
        updated=_time(get("_updatedAt"), "updated_at") if get("_updatedAt") is not None else ts,
        thread=_thread(get("tmid"), rc_id),
        system_type=_name(system_type)[:60] if system_type else "",
        edited=_time(edited, "edited_at") if edited is not None else None,
        edited_by=_name(editor.get("_id")) if isinstance(editor, dict) else "",
        mentions=_mentions(mentions) if mentions else (),
        reactions=_reactions(reactions) if reactions else {},
        attachments=_attachments(document),
        is_by_program=bool(get("bot")),
        is_ephemeral=get("private") is True or get("_hidden") is True,
        is_encrypted="content" in document or system_type == "e2e",
        is_imported=bool(get("imported")),
        is_pinned=get("pinned") is True,
        pinned_by=_name(pinner.get("username")) if isinstance(pinner, dict) else "",
    )


def room(document: object) -> ChatRoom:
    if not isinstance(document, dict):
        raise BadDocumentError("room_not_object")
    get = document.get
    user_ids = get("uids")
    return ChatRoom(
        rid=_id(get("_id"), "rid"),
        kind=_name(get("t")),
        name=_name(get("name"))[:300],
        title=_name(get("fname"))[:300],
        topic=_text(get("topic"))[:2_000] if isinstance(get("topic"), str) else "",
        is_archived=get("archived") is True,
        is_read_only=get("ro") is True,
        is_encrypted=get("encrypted") is True,
        user_ids=tuple(item for item in user_ids if isinstance(item, str)) if isinstance(user_ids, list) else (),
    )


def subscription(document: object) -> ChatSubscription:
    if not isinstance(document, dict):
        raise BadDocumentError("subscription_not_object")
    roles = document.get("roles")
    return ChatSubscription(
        rid=_id(document.get("rid"), "rid"),
        kind=_name(document.get("t")),
        name=_name(document.get("name")),
        title=_name(document.get("fname")),
        since=_time(document["ts"], "ts") if document.get("ts") is not None else 0,
        roles=tuple(item for item in roles if isinstance(item, str)) if isinstance(roles, list) else (),
    )


def member(document: object) -> ChatMember:
    if not isinstance(document, dict):
        raise BadDocumentError("member_not_object")
    username = _name(document.get("username"))
    return ChatMember(
        user_id=_id(document.get("_id"), "_id"), username=username, name=_name(document.get("name")) or username
    )


def time_ms(value: object) -> int:
    """EJSON date, ISO text or a number of milliseconds. Raises BadDocumentError."""
    return _time(value, "time")


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, tz=UTC)


def _time(value: object, what: str) -> int:
    if isinstance(value, dict):
        value = value.get("$date")
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            raise BadDocumentError(f"bad_{what}") from None
        value = round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_MS:
        raise BadDocumentError(f"bad_{what}")
    return int(value)


def _id(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise BadDocumentError(f"without_{what.lstrip('_')}")
    if _ID.fullmatch(value) is None:
        raise BadDocumentError(f"bad_{what.lstrip('_')}")
    return value


def _thread(value: object, rc_id: str) -> str:
    """A message can't be a reply to itself; a thread id of a strange form is none."""
    if isinstance(value, str) and value != rc_id and _ID.fullmatch(value) is not None:
        return value
    return ""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadDocumentError("text_not_string")
    return value.replace("\x00", "")[:MAX_TEXT_CHARS] if "\x00" in value or len(value) > MAX_TEXT_CHARS else value


def _name(value: object) -> str:
    return value.replace("\x00", "")[:MAX_NAME_CHARS] if isinstance(value, str) else ""


def _mentions(value: object) -> tuple[str, ...]:
    """Users only: teams and the groups `all` and `here` address nobody in particular."""
    if not isinstance(value, list):
        return ()
    ids = (
        item["_id"]
        for item in value[:MAX_MENTIONS]
        if isinstance(item, dict) and isinstance(item.get("_id"), str) and item.get("type", "user") == "user"
    )
    return tuple(dict.fromkeys(ids))


def _reactions(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for emoji, entry in list(value.items())[:MAX_REACTIONS]:
        usernames = entry.get("usernames") if isinstance(entry, dict) else None
        if isinstance(emoji, str) and isinstance(usernames, list):
            found[_name(emoji)[:100]] = tuple(_name(item) for item in usernames if isinstance(item, str))
    return found


def _attachments(document: Document) -> tuple[Document, ...]:
    """The files of a message by id, name, type and size, and quotes by their link: never the quoted words."""
    files = document.get("files")
    if files is None and isinstance(document.get("file"), dict):
        files = [document["file"]]
    if not isinstance(files, list):
        return ()
    return tuple(
        {
            "id": _name(item.get("_id")),
            "name": _name(item.get("name")),
            "type": _name(item.get("type")),
            "size": item["size"] if isinstance(item.get("size"), int) else 0,
        }
        for item in files[:20]
        if isinstance(item, dict)
    )


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _refuse(name: str) -> None:
    raise ValueError(name)
