"""What daphne lacks for bridges: a limit for incoming frames, an HTTP answer to a refused or slow handshake, a clean stop.

Imported by nexus_project/asgi.py, which daphne loads before it builds its WebSocket factory.
"""

import asyncio
from typing import Any, Final

from autobahn.websocket.types import ConnectionDeny
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

from nexus_bridge.protocol import MAX_FRAME_BYTES

MAX_UNREAD_BYTES: Final = 24 * 1024 * 1024
"""Prompts of one connection that its peer may leave unread."""

_REASONS: Final = {
    401: "Unauthorized",
    403: "Forbidden",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


class Protocol(WebSocketProtocol):  # type: ignore[misc]  # daphne has no types
    """daphne's, with all but the last."""

    _refusal_status = 403

    def onConnect(self, request: Any) -> Any:  # noqa: N802 - autobahn's name
        self.maxFramePayloadSize = MAX_FRAME_BYTES
        self.failByDrop = False  # say 1009 before hanging up
        self.maxMessagePayloadSize = MAX_FRAME_BYTES
        return super().onConnect(request)

    def sendMessage(self, payload: bytes, isBinary: bool = False, **options: Any) -> None:  # noqa: N802, N803 - autobahn's signature
        if _unread_bytes(self.transport) > MAX_UNREAD_BYTES:
            self.transport.abortConnection()
            return
        # autobahn holds one limit for both ways; prompts are larger than what a bridge may send.
        self.maxMessagePayloadSize = 0
        try:
            super().sendMessage(payload, isBinary, **options)
        finally:
            self.maxMessagePayloadSize = MAX_FRAME_BYTES

    def handle_reply(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "websocket.http.response.start":
                self._refusal_status = message["status"]
            case "websocket.http.response.body":
                if self.state == self.STATE_CONNECTING and hasattr(self, "handshake_deferred"):
                    self._deny(message.get("body", b"").decode())
            case "websocket.close" if self.state != self.STATE_CONNECTING:
                # daphne's own leaves the reason out.
                self.sendClose(code=message.get("code") or 1000, reason=message.get("reason") or None)
            case _:
                super().handle_reply(message)

    def check_timeouts(self) -> None:
        """daphne says 403 to whom it kept waiting, which tells a bridge that its token is refused, and it goes for good."""
        if self.state != self.STATE_CONNECTING:
            super().check_timeouts()
        elif self.duration() > self.server.websocket_connect_timeout and hasattr(self, "handshake_deferred"):
            self._refusal_status = 503
            self._deny("The hub is busy.")

    def _deny(self, text: str) -> None:
        reason = text or _REASONS.get(self._refusal_status, "Refused")
        denial = ConnectionDeny(code=self._refusal_status, reason=reason)  # type: ignore[no-untyped-call]
        self.handshake_deferred.errback(denial)
        del self.handshake_deferred
        self.server.protocol_disconnected(self)


def _unread_bytes(transport: Any) -> int:
    """What the peer has not read yet. Nothing else holds this connection back: daphne writes, and twisted keeps it."""
    return int(len(transport.dataBuffer) - transport.offset + transport._tempDataLen)  # noqa: SLF001 - it has no other name


def install() -> None:
    WebSocketFactory.protocol = Protocol
    Server.kill_all_applications = _kill_all_applications


_kill = Server.kill_all_applications


def _kill_all_applications(server: Any) -> Any:
    """daphne's own stumbles over an idle HTTP connection, and then no bridge hears that the gateway stops."""
    over = asyncio.get_event_loop().create_future()
    over.set_result(None)
    for details in server.connections.values():
        details.setdefault("application_instance", over)
    return _kill(server)
