"""Who hears of an event? Each event is encoded once, however many listen."""

from collections.abc import Callable
from typing import Any, Protocol

from gateway.devchat.events import (
    Event,
    LoggedNotice,
    MessageChanged,
    Occurrence,
    RoomChanged,
    RoomNotice,
    SessionsEnded,
    SubscriptionChanged,
    UserNotice,
)
from gateway.devchat.faults import Fault, Faults
from gateway.devchat.models import CHANNEL, DIRECT, Room, User
from gateway.devchat.rooms import with_last_message
from gateway.devchat.store import Store
from gateway.devchat.wire import to_ddp

MY_MESSAGES = "__my_messages__"
Later = Callable[[int, Callable[[], None]], None]


class Listener(Protocol):
    id: str
    user: User | None

    def push(self, frame: str) -> None: ...

    def abort(self) -> None: ...

    def close(self, code: int, reason: str) -> None: ...

    def tick(self) -> None: ...

    def become_zombie(self) -> None: ...

    def revive(self) -> None: ...

    def end_token(self, hashed_token: str | None) -> None: ...


class Broker:
    """Keeps the subscriptions of all sessions and hands each event to those who may hear it."""

    def __init__(
        self, *, store: Store, faults: Faults, later: Later, on_occurrence: Callable[[Occurrence], None]
    ) -> None:
        self._store = store
        self._faults = faults
        self._later = later
        self._on_occurrence = on_occurrence
        # (stream, event) -> session -> number of its subscriptions: two of them deliver twice.
        self._listeners: dict[tuple[str, str], dict[Listener, int]] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            MessageChanged: self._message_changed,
            RoomNotice: self._room_notice,
            UserNotice: self._user_notice,
            SubscriptionChanged: self._subscription_changed,
            RoomChanged: self._room_changed,
            LoggedNotice: self._logged_notice,
            Occurrence: self._on_occurrence,
            SessionsEnded: self._sessions_ended,
        }
        self.sessions: set[Listener] = set()

    def publish(self, event: Event) -> None:
        self._handlers[type(event)](event)

    def subscribe(self, session: Listener, stream: str, event: str) -> None:
        listeners = self._listeners.setdefault((stream, event), {})
        listeners[session] = listeners.get(session, 0) + 1

    def unsubscribe(self, session: Listener, stream: str, event: str) -> None:
        listeners = self._listeners.get((stream, event), {})
        count = listeners.get(session, 0) - 1
        if count > 0:
            listeners[session] = count
            return
        listeners.pop(session, None)
        if not listeners:
            self._listeners.pop((stream, event), None)

    def subscription_counts(self) -> dict[str, int]:
        return {f"{stream}/{event}": sum(listeners.values()) for (stream, event), listeners in self._listeners.items()}

    def _message_changed(self, event: MessageChanged) -> None:
        room = event.room
        in_room = self._listeners.get(("room-messages", room.id))
        mine = self._listeners.get(("room-messages", MY_MESSAGES))
        if not in_room and not mine:
            return
        document = to_ddp(event.message)
        if in_room:
            frame = _frame("room-messages", room.id, document)
            self._deliver(
                "room-messages", room.id, frame, [pair for pair in in_room.items() if self._reads(pair[0], room)]
            )
        if mine:
            self._deliver_mine(room, document, list(mine.items()))

    def _deliver_mine(self, room: Room, document: str, listeners: list[tuple[Listener, int]]) -> None:
        members = room.members
        inside = [pair for pair in listeners if pair[0].user is not None and pair[0].user.id in members]
        if inside:
            self._deliver("room-messages", MY_MESSAGES, _mine(room, document, is_member=True), inside)
        if room.t != CHANNEL or len(inside) == len(listeners):
            return
        grants = self._store.grants
        outside = [
            pair
            for pair in listeners
            if pair[0].user is not None
            and pair[0].user.id not in members
            and grants.allows("view-c-room", pair[0].user.roles)
        ]
        if outside:
            self._deliver("room-messages", MY_MESSAGES, _mine(room, document, is_member=False), outside)

    def _reads(self, session: Listener, room: Room) -> bool:
        return session.user is not None and self._store.can_access(session.user, room)

    def _room_notice(self, event: RoomNotice) -> None:
        name = f"{event.room.id}/{event.name}"
        listeners = self._listeners.get(("notify-room", name))
        if listeners:
            heard = [
                pair
                for pair in listeners.items()
                if pair[0].id != event.from_session and self._reads(pair[0], event.room)
            ]
            self._deliver("notify-room", name, _frame("notify-room", name, _list(event.args)), heard)

    def _user_notice(self, event: UserNotice) -> None:
        self._emit("notify-user", f"{event.user_id}/{event.name}", event.args)

    def _subscription_changed(self, event: SubscriptionChanged) -> None:
        name = f"{event.subscription.user_id}/subscriptions-changed"
        if ("notify-user", name) not in self._listeners:
            return
        document = event.subscription.document()
        if event.kind == "removed":
            document = {"_id": document["_id"], "rid": document["rid"], "u": document["u"]}
        self._emit("notify-user", name, [event.kind, document])

    def _room_changed(self, event: RoomChanged) -> None:
        names = [f"{user_id}/rooms-changed" for user_id in event.user_ids]
        heard = [name for name in names if ("notify-user", name) in self._listeners]
        if heard:
            document = with_last_message(self._store, event.room)
            for name in heard:
                self._emit("notify-user", name, [event.kind, document])

    def _logged_notice(self, event: LoggedNotice) -> None:
        self._emit("notify-logged", event.name, event.args)

    def _sessions_ended(self, event: SessionsEnded) -> None:
        for session in list(self.sessions):
            if session.user is not None and session.user.id == event.user_id:
                session.end_token(event.hashed_token)

    def emit_written(self, stream: str, name: str, args: list[Any]) -> None:
        """What a client itself wrote to a stream."""
        self._emit(stream, name, args)

    def _emit(self, stream: str, name: str, args: list[Any]) -> None:
        listeners = self._listeners.get((stream, name))
        if listeners:
            self._deliver(stream, name, _frame(stream, name, _list(args)), list(listeners.items()))

    def _deliver(self, stream: str, name: str, frame: str, listeners: list[tuple[Listener, int]]) -> None:
        if self._faults.is_empty:
            for session, copies in listeners:
                for _ in range(copies):
                    session.push(frame)
            return
        for session, copies in listeners:
            user = session.user
            fault = self._faults.hit("stream", stream=stream, event=name, user=user.username if user else "")
            if fault is not None:
                self._deliver_faulty(session, frame, copies, fault)
                continue
            for _ in range(copies):
                session.push(frame)

    def _deliver_faulty(self, session: Listener, frame: str, copies: int, fault: Fault) -> None:
        match fault.action:
            case "duplicate":
                for _ in range(copies * fault.copies):
                    session.push(frame)
            case "delay":
                self._later(fault.delay_ms, lambda: session.push(frame))
            case "drop_socket":
                session.abort()
            case _:
                pass  # swallow_broadcast: nobody hears of it


def _list(args: list[Any]) -> str:
    return to_ddp(args)[1:-1]


def _frame(stream: str, name: str, args: str) -> str:
    return f'{{"msg":"changed","collection":"stream-{stream}","id":"id","fields":{{"eventName":{to_ddp(name)},"args":[{args}]}}}}'


def _mine(room: Room, document: str, *, is_member: bool) -> str:
    meta: dict[str, object] = {"roomParticipant": is_member, "roomType": room.t}
    if room.t != DIRECT:
        meta["roomName"] = room.name
    return _frame("room-messages", MY_MESSAGES, f"{document},{to_ddp(meta)}")
