"""How does a realtime (DDP) connection talk? A pure conversation: frames in, events and frames out; no socket, no clock.

The shell writes what `take()` returns, feeds what arrives, and pings when it has heard nothing for a while. Nothing that
arrives raises: what can't be used becomes `Skipped` with a reason.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.rocketchat.events import (
    MAX_FRAME_CHARS,
    BadDocumentError,
    ChatMessage,
    ChatRoom,
    ChatSubscription,
    Document,
    message,
    read_json,
    room,
    subscription,
)

MY_MESSAGES: Final = "__my_messages__"
ROOM_MESSAGES: Final = "stream-room-messages"
NOTIFY_USER: Final = "stream-notify-user"
NOTIFY_ROOM: Final = "stream-notify-room"
FINAL_LOGIN_CODES: Final = frozenset({"403", "totp-required", "error-user-is-not-activated"})
"""Repeating a login that failed so can't help: the account needs a person."""

MAX_CALLS = 200
"""Methods whose result is still out; the oldest is forgotten, for its caller has given up long ago."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The token was taken; subscriptions are on their way."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Every subscription that must be there is there: from now on nothing is missed."""


@dataclass(frozen=True, slots=True)
class ByRoom:
    """The chat has no stream of all rooms' messages: those of a room come once it is watched."""


@dataclass(frozen=True, slots=True)
class Said:
    """A version of a message. `is_member`: whether this account is in the room."""

    message: ChatMessage
    kind: str
    room_name: str
    is_member: bool


@dataclass(frozen=True, slots=True)
class Gone:
    """A message that was deleted without a trace."""

    rid: str
    rc_id: str


@dataclass(frozen=True, slots=True)
class Membership:
    """This account came into a room, changed there, or left it (`removed`)."""

    change: str
    rid: str
    subscription: ChatSubscription | None


@dataclass(frozen=True, slots=True)
class RoomSeen:
    change: str
    room: ChatRoom


@dataclass(frozen=True, slots=True)
class Returned:
    """The result of a method, or its error's codes."""

    call_id: str
    method: str
    error: frozenset[str]


@dataclass(frozen=True, slots=True)
class Watched:
    """From now on this room's deletions are heard here."""

    rid: str


@dataclass(frozen=True, slots=True)
class WatchRefused:
    """A room's deletions can't be heard here; catch-up finds them. `is_limit`: only because of too many requests."""

    rid: str
    is_limit: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The conversation can't go on. `is_final`: trying again can't help before a person acts."""

    reason: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class Skipped:
    """A frame without effect, and why; counted."""

    reason: str
    document: Document | None = None


@dataclass(frozen=True, slots=True)
class Pong:
    """The other side is alive."""


Event = (
    LoggedIn
    | Ready
    | ByRoom
    | Said
    | Gone
    | Membership
    | RoomSeen
    | Returned
    | Watched
    | WatchRefused
    | Ended
    | Skipped
    | Pong
)


class Conversation:
    """One connection from `connect` to its end; a reconnect is a new conversation."""

    def __init__(self, *, user_id: str, username: str, token: str) -> None:
        self._user_id = user_id
        self._username = username
        self._token = token
        self._ids = 0
        self._outgoing: deque[str] = deque()
        self._login_id = ""
        self._calls: dict[str, str] = {}
        self._wanted: set[str] = set()
        self._my_messages_id = ""
        self._watches: dict[str, tuple[str, str]] = {}
        self.is_by_room = False
        self.is_ready = False
        self._send({"msg": "connect", "version": "1", "support": ["1", "pre2", "pre1"]})

    def take(self) -> list[str]:
        """The frames to write now, in order."""
        frames = list(self._outgoing)
        self._outgoing.clear()
        return frames

    def feed(self, text: str | bytes) -> list[Event]:
        """Take one frame; what it means, in order."""
        if not isinstance(text, str):
            return [Skipped("binary_frame")]
        if len(text) > MAX_FRAME_CHARS:
            return [Skipped("frame_too_large")]
        try:
            frame = read_json(text)
        except BadDocumentError as error:
            return [Skipped(error.reason)]
        if not isinstance(frame, dict):
            return [Skipped("frame_not_object")]
        return self._handle(frame)

    def ping(self) -> None:
        self._send({"msg": "ping", "id": self._next_id()})

    def call(self, *, method: str, params: list[Any]) -> str:
        """Call a method; its `Returned` carries the id that this returns."""
        call_id = self._next_id()
        while len(self._calls) >= MAX_CALLS:
            del self._calls[next(iter(self._calls))]
        self._calls[call_id] = method
        self._send({"msg": "method", "method": method, "id": call_id, "params": params})
        return call_id

    def typing(self, *, rid: str, is_typing: bool, thread: str = "") -> str:
        extra = {"tmid": thread} if thread else {}
        activities = ["user-typing"] if is_typing else []
        return self.call(method=NOTIFY_ROOM, params=[f"{rid}/user-activity", self._username, activities, extra])

    def watch(self, *, rid: str) -> None:
        """Hear of deletions in this room, and of what is said where only rooms tell it; again is nothing."""
        for stream in (NOTIFY_ROOM, ROOM_MESSAGES) if self.is_by_room else (NOTIFY_ROOM,):
            if (stream, rid) not in self._watches.values():
                event = f"{rid}/deleteMessage" if stream == NOTIFY_ROOM else rid
                self._watches[self._subscribe(stream, event)] = (stream, rid)

    def unwatch(self, *, rid: str) -> None:
        for sub_id in [sub_id for sub_id, (_, watched) in self._watches.items() if watched == rid]:
            del self._watches[sub_id]
            self._send({"msg": "unsub", "id": sub_id})

    def _handle(self, frame: Document) -> list[Event]:
        kind = frame.get("msg")
        match kind:
            case "changed":
                return [self._changed(frame)]
            case "ping":
                self._send({"msg": "pong", "id": frame["id"]} if "id" in frame else {"msg": "pong"})
                return [Pong()]
            case "pong":
                return [Pong()]
            case "result":
                return self._result(frame)
            case "connected" | "failed" | "ready" | "nosub":
                return self._progress(kind, frame)
            case "updated" | "added" | "removed" | "addedBefore" | "movedBefore":
                return []
        if kind is None and "server_id" in frame:
            return []
        return [Skipped("server_says_error" if kind == "error" else "unknown_msg")]

    def _progress(self, kind: str, frame: Document) -> list[Event]:
        if kind == "failed":
            return [Ended(f"the server speaks DDP {frame.get('version')!r}, not 1", is_final=True)]
        if kind == "connected":
            self._login_id = self.call(method="login", params=[{"resume": self._token}])
            return []
        return self._subscribed(frame) if kind == "ready" else self._refused(frame)

    # Answers

    def _result(self, frame: Document) -> list[Event]:
        call_id = frame.get("id")
        method = self._calls.pop(call_id, None) if isinstance(call_id, str) else None
        if method is None or not isinstance(call_id, str):
            return [Skipped("result_without_call")]
        codes = _codes(frame.get("error")) if frame.get("error") is not None else frozenset[str]()
        if call_id == self._login_id:
            return self._login(codes, frame.get("error"))
        return [Returned(call_id=call_id, method=method, error=codes)]

    def _login(self, codes: frozenset[str], error: object) -> list[Event]:
        if codes:
            reason = error.get("reason") if isinstance(error, dict) else None
            text = f"login refused: {reason or ', '.join(sorted(codes))}"
            return [Ended(text, is_final=bool(codes & FINAL_LOGIN_CODES))]
        self._my_messages_id = self._subscribe(ROOM_MESSAGES, MY_MESSAGES)
        self._wanted = {
            self._my_messages_id,
            self._subscribe(NOTIFY_USER, f"{self._user_id}/subscriptions-changed"),
            self._subscribe(NOTIFY_USER, f"{self._user_id}/rooms-changed"),
        }
        return [LoggedIn()]

    def _subscribed(self, frame: Document) -> list[Event]:
        ids = frame.get("subs")
        if not isinstance(ids, list):
            return [Skipped("ready_without_subs")]
        if self.is_ready or not self._wanted:
            known = [self._watches[item] for item in ids if isinstance(item, str) and item in self._watches]
            return [Watched(rid=rid) for _, rid in known]
        return self._have({item for item in ids if isinstance(item, str)})

    def _have(self, ids: set[str]) -> list[Event]:
        """What was wanted and is there, or has been done without; the last of it makes the conversation ready."""
        self._wanted -= ids
        if self._wanted:
            return []
        self.is_ready = True
        return [Ready()]

    def _refused(self, frame: Document) -> list[Event]:
        sub_id = frame.get("id")
        if not isinstance(sub_id, str):
            return [Skipped("nosub_without_id")]
        codes = _codes(frame.get("error"))
        is_limit = bool(codes & {"too-many-requests", "error-too-many-requests"})
        if sub_id in self._wanted and sub_id == self._my_messages_id and not is_limit:
            # A new connection would be refused as this one is.
            self.is_by_room = True
            return [ByRoom(), *self._have({sub_id})]
        if sub_id in self._wanted:
            return [Ended(f"subscription refused: {', '.join(sorted(codes))}", is_final=False)]
        watch = self._watches.pop(sub_id, None)
        return [] if watch is None else [WatchRefused(rid=watch[1], is_limit=is_limit)]

    # Streams

    def _changed(self, frame: Document) -> Event:
        fields = frame.get("fields")
        args = fields.get("args") if isinstance(fields, dict) else None
        if not isinstance(fields, dict) or not isinstance(args, list) or not args:
            return Skipped("changed_without_args")
        name = fields.get("eventName")
        if not isinstance(name, str):
            return Skipped("changed_without_event")
        try:
            return self._stream(str(frame.get("collection")), name, args)
        except BadDocumentError as error:
            first = args[0] if isinstance(args[0], dict) else None
            is_message = frame.get("collection") == ROOM_MESSAGES
            return Skipped(error.reason, first if is_message else None)

    def _stream(self, stream: str, name: str, args: list[Any]) -> Event:
        if stream == ROOM_MESSAGES:
            return _said(args)
        scope, _, event = name.partition("/")
        if stream == NOTIFY_USER and scope == self._user_id:
            return _user_event(event, args)
        if stream == NOTIFY_ROOM and (stream, scope) in self._watches.values():
            return _room_event(scope, event, args)
        return Skipped("event_not_asked_for")

    # Frames

    def _subscribe(self, stream: str, event: str) -> str:
        sub_id = self._next_id()
        params = [event, {"useCollection": False, "args": []}]
        self._send({"msg": "sub", "id": sub_id, "name": stream, "params": params})
        return sub_id

    def _next_id(self) -> str:
        self._ids += 1
        return str(self._ids)

    def _send(self, frame: Document) -> None:
        self._outgoing.append(_encode(frame).decode())


def _said(args: list[Any]) -> Event:
    found = message(args[0])
    meta = args[1] if len(args) > 1 and isinstance(args[1], dict) else {}
    return Said(
        message=found,
        kind=str(meta.get("roomType", "")),
        room_name=str(meta.get("roomName", ""))[:300],
        # Without the second argument (a subscription to one room) the server has checked it.
        is_member=meta.get("roomParticipant", True) is True,
    )


def _user_event(event: str, args: list[Any]) -> Event:
    if event not in ("subscriptions-changed", "rooms-changed") or len(args) < 2 or not isinstance(args[0], str):
        return Skipped("user_event_unknown")
    change, document = args[0], args[1]
    if event == "rooms-changed":
        return RoomSeen(change=change, room=room(document))
    if change == "removed":
        rid = document.get("rid") if isinstance(document, dict) else None
        if not isinstance(rid, str):
            raise BadDocumentError("subscription_without_rid")
        return Membership(change=change, rid=rid, subscription=None)
    found = subscription(document)
    return Membership(change=change, rid=found.rid, subscription=found)


def _room_event(rid: str, event: str, args: list[Any]) -> Event:
    if event != "deleteMessage" or not isinstance(args[0], dict):
        return Skipped("room_event_unknown")
    rc_id = args[0].get("_id")
    if not isinstance(rc_id, str):
        raise BadDocumentError("deletion_without_id")
    return Gone(rid=rid, rc_id=rc_id)


def _codes(error: object) -> frozenset[str]:
    if not isinstance(error, dict):
        return frozenset({"unknown"})
    values = (error.get("error"), error.get("errorType"))
    found = frozenset(str(value) for value in values if isinstance(value, str | int) and str(value))
    return (found - {"Meteor.Error"}) or frozenset({"unknown"})
