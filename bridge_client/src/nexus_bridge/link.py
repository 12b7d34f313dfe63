"""One WebSocket to the hub: how it is opened, and what became of an attempt, in a sentence."""

import logging
import socket as socket_module
import ssl
from collections.abc import Mapping, Sequence
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from nexus_bridge import __version__, protocol
from nexus_bridge.errors import ConnectionFailed, CredentialsRefused, FinalError, Replaced, UpgradeRequired
from nexus_bridge.protocol import Frame
from nexus_bridge.settings import Hub

OPEN_S: Final = 15.0
CLOSE_S: Final = 2.0


class BridgeConnection(ClientConnection):
    """Many frames in one write: a system call costs more than making a frame."""

    async def send_frames(self, frames: Sequence[Frame]) -> None:
        """Returns when the buffer of the connection has room again."""
        if not frames:
            return
        async with self.send_context():
            for frame in frames:
                self.protocol.send_text(protocol.encode(frame).encode())
            self.transport.write(b"".join(self.protocol.data_to_send()))


def connecting(*, hub: Hub, token: str) -> connect:
    """What to await for a BridgeConnection; its failures go through `connection_error`."""
    return _NoRedirects(
        hub.socket_url,
        create_connection=BridgeConnection,
        additional_headers={"Authorization": f"Bearer {token}"},
        user_agent_header=f"nexus-bridge/{__version__}",
        ssl=tls_context(hub),
        proxy=True if hub.is_secure else None,  # in clear, the token must not pass a proxy
        compression=None,
        max_size=protocol.MAX_PROMPT_FRAME_BYTES,
        open_timeout=OPEN_S,
        close_timeout=CLOSE_S,
        ping_interval=None,  # heartbeats are frames: they see the hub's loop, not only its socket
        logger=_socket_logger,
    )


class _NoRedirects(connect):
    """The bridge token goes to the address its owner wrote down, and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


# At debug level the library logs request headers, the bridge token among them.
_socket_logger = logging.getLogger("nexus_bridge.websocket")
_socket_logger.setLevel(logging.WARNING)

CLOSED_FOR_GOOD: Final[Mapping[int, type[FinalError]]] = {
    4403: CredentialsRefused,
    4409: Replaced,
    4426: UpgradeRequired,
}
"""Close codes that say the same as a `bye`, for when the bye did not arrive."""


def tls_context(hub: Hub) -> ssl.SSLContext | None:
    if not hub.is_secure:
        return None
    return ssl.create_default_context(cafile=str(hub.ca_file) if hub.ca_file else None)


def connection_error(error: Exception, *, hub: Hub) -> FinalError | ConnectionFailed:
    """What became of an attempt to connect, in a sentence. A FinalError ends the bridge, the other is tried again."""
    match error:
        case InvalidStatus(response=response):
            return _status_error(response.status_code, location=response.headers.get("Location"), hub=hub)
        case ssl.SSLCertVerificationError():
            return ConnectionFailed(
                f"the certificate of {hub.url} is not accepted: {error.verify_message}; "
                "the hub needs a valid one, or name your team's CA file as `ca_file`"
            )
        case TimeoutError():
            return ConnectionFailed(f"{hub.url} did not answer within {OPEN_S:.0f} s; is the hub up?")
        case socket_module.gaierror():
            return ConnectionFailed(f"the name in {hub.url} is not known; check `hub` and your network")
        case ImportError():
            return ConnectionFailed(
                f"the proxy of this machine can't be used: {error}; unset it or install what it needs"
            )
        case OSError():
            return ConnectionFailed(f"no connection to {hub.url}: {error.strerror or error}")
        case _:
            return ConnectionFailed(f"{hub.url} does not speak WebSocket there: {error}; check `hub`")


def _status_error(status: int, *, location: str | None, hub: Hub) -> FinalError | ConnectionFailed:
    if status in {401, 403}:
        return CredentialsRefused(
            f"{hub.url} refuses this bridge token (HTTP {status}): it is unknown, revoked or expired; "
            "get a new one from whoever runs your Nexus"
        )
    if status == 426:
        return UpgradeRequired(
            f"{hub.url} needs another version of nexus-bridge; {hub.http_url}/ has the matching one"
        )
    if location is not None:
        return ConnectionFailed(f"{hub.url} redirects to {location}; if that is right, write it into `hub`")
    return ConnectionFailed(f"{hub.url} answered HTTP {status}; is it your Nexus, and is it up?")
