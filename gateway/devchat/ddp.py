"""How does one realtime connection talk? A pure conversation: frames in, frames out, no socket and no clock of its own."""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from gateway.devchat.errors import INTERNAL_ERROR, ChatError, PlainError, ddp_error
from gateway.devchat.faults import Fault, Faults
from gateway.devchat.limits import DdpLimiter
from gateway.devchat.models import User
from gateway.devchat.nine import REMOVED_METHODS
from gateway.devchat.store import Store
from gateway.devchat.streams import Broker
from gateway.devchat.subscriptions import check_read, is_publication
from gateway.devchat.wire import Document, from_json, random_id, to_ddp

logger = logging.getLogger("devchat.ddp")

VERSIONS = ("1", "pre2", "pre1")
SERVER_ID = '{"server_id":"0"}'
SILENCE_MS = 30_000  # then the server pings, and after as long again it hangs up
# A reader that lets more than this pile up is hung up on; it will reconnect and catch up.
MAX_OUTGOING_BYTES = 32 * 1024 * 1024
CLOSE_PROTOCOL, CLOSE_INVALID, CLOSE_TIMEOUT, CLOSE_SLOW = 1002, 1007, 4000, 4008

Method = Callable[["Session", list[Any]], Any]


class Host(Protocol):
    """What a conversation needs of the workspace around it."""

    store: Store
    broker: Broker
    faults: Faults
    limiter: DdpLimiter
    methods: dict[str, Method]

    def later(self, delay_ms: int, act: Callable[[], None], /) -> None: ...

    def presence(self, user: User, *, change: int) -> None: ...


class Session:
    def __init__(self, *, host: Host, wake: Callable[[], None]) -> None:
        self.id = random_id()
        self.host = host
        self.user: User | None = None
        self.hashed_token: str | None = None
        self.outgoing: deque[str] = deque()
        self.closing: tuple[int, str] | None = None
        self.is_aborted = False
        self.is_zombie = False
        self.is_connected = False
        self.last_heard_at = host.store.now()
        self.subscriptions: dict[str, tuple[str, str]] = {}
        self._wake = wake
        self._outgoing_bytes = 0
        self._has_pinged = False
        host.broker.sessions.add(self)
        self._send_text(SERVER_ID)

    # what the shell calls

    def feed(self, text: str | bytes) -> None:
        """Takes one frame; answers wait in `outgoing`, and `closing` says when to hang up."""
        self.last_heard_at = self.host.store.now()
        self._has_pinged = False
        if self.closing is not None or self.is_aborted:
            return
        try:
            frame = from_json(text) if isinstance(text, str) else None
        except ValueError:
            frame = None
        if not isinstance(frame, dict):
            self.close(CLOSE_INVALID, "invalid message")
            return
        self._handle(frame)

    def tick(self) -> None:
        """Pings a client that is silent, hangs up on one that stays so."""
        silence = self.host.store.now() - self.last_heard_at
        if silence >= 2 * SILENCE_MS:
            self.close(CLOSE_TIMEOUT, "TIMEOUT")
        elif silence >= SILENCE_MS and not self._has_pinged and self.is_connected:
            self._has_pinged = True
            self.send({"msg": "ping"})

    def take(self) -> list[str]:
        """The frames to write now."""
        frames = list(self.outgoing)
        self.outgoing.clear()
        self._outgoing_bytes = 0
        return frames

    def ended(self) -> None:
        """The socket is gone."""
        broker = self.host.broker
        broker.sessions.discard(self)
        for stream, event in self.subscriptions.values():
            broker.unsubscribe(self, stream, event)
        self.subscriptions.clear()
        self.set_user(None, None)

    # what the broker and the methods call

    def push(self, frame: str) -> None:
        """An event of a stream. A zombie's socket stays, but nothing comes."""
        if not self.is_zombie:
            self._send_text(frame)

    def send(self, frame: Document) -> None:
        self._send_text(to_ddp(frame))

    def close(self, code: int, reason: str) -> None:
        self.closing = self.closing or (code, reason)
        self._wake()

    def abort(self) -> None:
        """Cuts the line without a closing handshake."""
        self.is_aborted = True
        self._wake()

    def become_zombie(self) -> None:
        self.is_zombie = True

    def revive(self) -> None:
        self.is_zombie = False

    def end_token(self, hashed_token: str | None) -> None:
        if hashed_token is None or hashed_token == self.hashed_token:
            self.close(1000, "")

    def set_user(self, user: User | None, hashed_token: str | None) -> None:
        if self.user is not None:
            self.host.presence(self.user, change=-1)
        self.user, self.hashed_token = user, hashed_token
        if user is not None:
            self.host.presence(user, change=1)

    def _send_text(self, frame: str) -> None:
        self.outgoing.append(frame)
        self._outgoing_bytes += len(frame)
        if self._outgoing_bytes > MAX_OUTGOING_BYTES:
            self.outgoing.clear()
            self.close(CLOSE_SLOW, "too slow")
        self._wake()

    # the conversation

    def _handle(self, frame: Document) -> None:
        kind = frame.get("msg")
        if not self.is_connected:
            self._connect(frame)
            return
        match kind:
            case "ping":
                self.send({"msg": "pong", "id": frame["id"]} if "id" in frame else {"msg": "pong"})
            case "pong":
                pass
            case "method":
                self._method(frame)
            case "sub":
                self._subscribe(frame)
            case "unsub":
                self._unsubscribe(frame)
            case _:
                self.send({"msg": "error", "reason": "Bad request", "offendingMessage": frame})

    def _connect(self, frame: Document) -> None:
        if frame.get("msg") != "connect":
            self.close(CLOSE_PROTOCOL, "connect first")
            return
        if frame.get("version") not in VERSIONS:
            self.send({"msg": "failed", "version": VERSIONS[0]})
            self.close(1000, "unsupported version")
            return
        self.is_connected = True
        self.send({"msg": "connected", "session": self.id})

    def _method(self, frame: Document) -> None:
        name, call_id = frame.get("method"), frame.get("id")
        if not isinstance(name, str) or not isinstance(call_id, str):
            self.close(CLOSE_PROTOCOL, "a method needs an id and a name")
            return
        params = frame.get("params")
        user_name = self.user.username if self.user else ""
        fault = self.host.faults.hit("call", call=name, user=user_name)
        if fault is not None and fault.action in ("hang", "drop_socket") and fault.when == "before":
            self._break(fault)
            return
        if fault is not None and fault.action == "error":
            answer: Document = {"error": ddp_error(ChatError(fault.code, "A scripted fault"))}
        else:
            answer = self._run(name, params if isinstance(params, list) else [])
        frames = self._answer_frames(call_id, answer)
        self._reply(frames, fault)

    def _answer_frames(self, call_id: str, answer: Document) -> list[Document]:
        result = {"msg": "result", "id": call_id} | answer
        updated = {"msg": "updated", "methods": [call_id]}
        return [updated, result] if self.host.store.switches.updated_before_result else [result, updated]

    def _reply(self, frames: list[Document], fault: Fault | None) -> None:
        action = fault.action if fault else ""
        if fault is not None and action == "delay":
            self.host.later(fault.delay_ms, lambda: self._send_all(frames))
        elif fault is not None and action in ("swallow", "hang", "drop_socket"):
            self._break(fault)
        elif action == "swallow_updated":
            self._send_all([frame for frame in frames if frame["msg"] == "result"])
        else:
            self._send_all(frames * (fault.copies if fault is not None and action == "duplicate" else 1))

    def _send_all(self, frames: list[Document]) -> None:
        for frame in frames:
            self.send(frame)

    def _break(self, fault: Fault) -> None:
        if fault.action == "drop_socket":
            self.abort()

    def _run(self, name: str, params: list[Any]) -> Document:
        """The fields of the answer: `result` (absent when there is none) or `error`."""
        is_gone = self.host.store.switches.is_nine and name in REMOVED_METHODS
        method = _unknown_method(name) if is_gone else self.host.methods.get(name, _unknown_method(name))
        try:
            self.host.limiter.check(name=name, session_id=self.id, user=self.user)
            result = method(self, params)
        except ChatError as error:
            return {"error": ddp_error(error)}
        except PlainError as error:
            logger.info("method refused", extra={"method": name, "reason": str(error)})
            return {"error": ddp_error(ChatError(str(error), str(error)))}
        except (TypeError, ValueError, KeyError, AttributeError, IndexError):
            # Clients may send anything as arguments; what a method cannot take apart is their bad request.
            logger.info("method arguments do not match", extra={"method": name}, exc_info=True)
            return {"error": ddp_error(ChatError("400", "Match failed"))}
        except Exception:
            # The outermost loop of a connection: one broken method must not end the conversation.
            logger.exception("method failed", extra={"method": name})
            return {"error": INTERNAL_ERROR}
        return {} if result is None else {"result": result}

    def call(self, name: str, params: list[Any], call_id: str) -> Document:
        """A method called by REST (`method.call`): the result frame."""
        return {"msg": "result", "id": call_id} | self._run(name, params)

    def _subscribe(self, frame: Document) -> None:
        name, sub_id, params = frame.get("name"), frame.get("id"), frame.get("params")
        params = params if isinstance(params, list) else []
        if not isinstance(name, str) or not isinstance(sub_id, str):
            self.close(CLOSE_PROTOCOL, "a sub needs an id and a name")
            return
        if sub_id in self.subscriptions:
            return  # Rocket.Chat drops a reused live id without a word
        try:
            self.host.limiter.check(name=name, session_id=self.id, user=self.user)
            event = _event_name(name, params)
            if not is_publication(name):
                check_read(self.host.store, stream=name.removeprefix("stream-"), event=event, user=self.user)
        except ChatError as error:
            self.send({"msg": "nosub", "id": sub_id, "error": ddp_error(error)})
            return
        self._accept(sub_id, name, event, params)

    def _accept(self, sub_id: str, name: str, event: str, params: list[Any]) -> None:
        if name.startswith("stream-"):
            if _wants_collection(params):
                # Asteroid-based clients never see `changed` without this.
                self.send({"msg": "added", "collection": name, "id": "id", "fields": {"eventName": event}})
            self.subscriptions[sub_id] = (name.removeprefix("stream-"), event)
            self.host.broker.subscribe(self, name.removeprefix("stream-"), event)
        self.send({"msg": "ready", "subs": [sub_id]})

    def _unsubscribe(self, frame: Document) -> None:
        sub_id = frame.get("id")
        if not isinstance(sub_id, str):
            self.close(CLOSE_PROTOCOL, "an unsub needs an id")
            return
        held = self.subscriptions.pop(sub_id, None)
        if held is not None:
            self.host.broker.unsubscribe(self, *held)
        self.send({"msg": "nosub", "id": sub_id})


def _unknown_method(name: str) -> Method:
    def refuse(_session: Session, _params: list[Any]) -> None:
        raise ChatError("404", f"Method '{name}' not found")

    return refuse


def _event_name(name: str, params: list[Any]) -> str:
    if not name.startswith("stream-"):
        return ""
    if not params or not isinstance(params[0], str) or not params[0]:
        raise ChatError("invalid-event-name", "Invalid event name")
    return params[0]


def _wants_collection(params: list[Any]) -> bool:
    option = params[1] if len(params) > 1 else False
    return bool(option.get("useCollection")) if isinstance(option, dict) else option is True
