"""One bridge's socket: the handshake, `hello`, and its own frame loop.

Channels' dispatch makes a thread hop for every message and its layer a subscription for every consumer; frames take
neither. What belongs to a run goes to the writer in the order it came; nothing here waits for the database but `hello`.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from channels.consumer import AsyncConsumer
from django.db import DatabaseError, InterfaceError

from gateway.bridge_auth import REFUSAL, TOO_MANY, BridgeIdentity, bearer_of, digest_of
from gateway.hub import metrics, process
from gateway.hub.connection import HELLO_REQUIRED, Connection
from gateway.hub.process import Hub
from gateway.invocations.sessions import Unwelcome
from nexus_bridge.protocol import (
    POLICY_SINCE,
    VERSIONS,
    BadFrame,
    Chunks,
    End,
    Error,
    FromBridge,
    Heartbeat,
    Hello,
    Policy,
    Refused,
    Resume,
    Welcome,
    agreed_version,
    from_bridge,
)
from nexus_project.version import VERSION

logger = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

TOKEN_IN_URL: Final = "A bridge token belongs into the Authorization header, never into a URL."  # noqa: S105 - a sentence
ORIGIN: Final = "Browsers do not open bridge connections."


class BridgeConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels has no types
    """Mounted at /ws/bridge/."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        hub = process.here()
        refusal, identity = await _examine(scope, hub=hub)
        if identity is None:
            metrics.REFUSED.labels(str(refusal[0])).inc()
            await _refuse(send, status=refusal[0], text=refusal[1])
            return
        await send({"type": "websocket.accept"})
        connection = Connection(
            bridge_id=identity.bridge_id, name=identity.name, token_digest=identity.token_digest, send=send
        )
        hub.add(connection)
        try:
            await _converse(connection, hub=hub, receive=receive)
        finally:
            # Cancelled: the server stops. The bridge hears why, and comes back to the next process.
            connection.bye("shutting_down")
            await connection.drained()
            await hub.remove(connection)


async def _examine(scope: dict[str, Any], *, hub: Hub) -> tuple[tuple[int, str], BridgeIdentity | None]:
    """Status and text of the refusal, or the bridge whose token this is."""
    headers = dict(scope["headers"])
    address = str((scope.get("client") or ["unknown"])[0])
    token = bearer_of(headers.get(b"authorization"))
    secret = "" if token is None else digest_of(token)
    if hub.failures.is_over(address=address, secret=secret):
        return (429, TOO_MANY), None
    if b"origin" in headers:
        return (403, ORIGIN), None
    if scope.get("query_string"):
        hub.failures.failed(address=address, secret=secret)
        return (401, TOKEN_IN_URL), None
    try:
        identity = None if token is None else await hub.identify(token=token)
    except (DatabaseError, InterfaceError):
        return (503, "The hub can't reach its database; try again."), None
    if identity is None:
        hub.failures.failed(address=address, secret=secret)
        logger.info("bridge refused", extra={"address": address})
    return (401, REFUSAL), identity


async def _refuse(send: Send, *, status: int, text: str) -> None:
    """Before the handshake is accepted: the peer gets an HTTP answer."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": text.encode()})


async def _converse(connection: Connection, *, hub: Hub, receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        if connection.is_closing:
            continue
        connection.heard_at = time.monotonic()
        text = message.get("text")
        if text is None:
            connection.bad_frame(Error(code="bad_frame", message="frames are text"))
            continue
        try:
            frame = from_bridge(text)
        except BadFrame as bad:
            if connection.session:
                connection.bad_frame(bad.error)
            else:
                connection.post(bad.error)
                connection.close(HELLO_REQUIRED)
            continue
        if connection.session:
            _take(connection, frame, hub=hub, size=len(text))
        elif isinstance(frame, Hello):
            await _greet(connection, frame, hub=hub)
        else:
            connection.close(HELLO_REQUIRED)


def _take(connection: Connection, frame: FromBridge, *, hub: Hub, size: int) -> None:
    match frame:
        case Heartbeat():
            if connection.is_beating_too_fast():
                connection.post(Error(code="rate_limited", about="heartbeat", message="one every 10 s is enough"))
            else:
                connection.load = frame.load
                connection.post(frame)
        case Hello():
            connection.bad_frame(Error(code="protocol_error", about="hello", message="one hello is enough"))
        case Policy():
            _note_policy(connection, frame, hub=hub)
        case Error():
            extra = {"bridge": connection.bridge_id, "code": frame.code, "about": frame.about}
            logger.warning("the bridge did not take a frame", extra=extra)
        case _:
            if isinstance(frame, Refused | End):
                frame = _with_storable_words(frame)
            if (fault := _fault(frame)) is not None:
                about = type(frame).__name__.lower()
                connection.bad_frame(Error(code="bad_field", about=about, message=f"bad_field: {fault}"))
            else:
                hub.writer.put(connection, frame, size=size)


def _note_policy(connection: Connection, policy: Policy, *, hub: Hub) -> None:
    """Stored with the next lease."""
    if policy.agent not in connection.policies_due:
        error = Error(
            code="protocol_error", about="policy", message="one for each agent of the hello, from version 3 on"
        )
        connection.bad_frame(error)
        return
    connection.policies_due.discard(policy.agent)
    connection.policies.append(policy)
    if not connection.policies_due:
        hub.nudge(bridge_id=connection.bridge_id)


def _fault(frame: object) -> str | None:
    """What the database would refuse, found before the frame shares a transaction with others."""
    if isinstance(frame, Chunks):
        seq = frame.chunks[0].seq
        for chunk in frame.chunks:
            if chunk.seq != seq:
                return f"seqs of one frame are consecutive: {chunk.seq} follows {seq - 1} - `$.chunks`"
            if not _is_storable(chunk.payload):
                return "a payload has a NUL or half a surrogate pair - `$.chunks[].payload`"
            seq += 1
    return None


def _with_storable_words(frame: Refused | End) -> Refused | End:
    """The end of a run must come to be, whatever the CLI's last words were."""
    return msgspec.structs.replace(frame, reason=_storable(frame.reason), message=_storable(frame.message))


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()


def _is_storable(text: str) -> bool:
    if "\x00" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _greet(connection: Connection, hello: Hello, *, hub: Hub) -> None:
    version = agreed_version(offered=hello.versions)
    if version is None:
        supported = ", ".join(map(str, VERSIONS))
        connection.bye("upgrade_required", reconnect=False, message=f"this hub speaks protocol version {supported}")
        return
    try:
        reception = await hub.greet(connection, hello)
    except Unwelcome as unwelcome:
        _turn_away(connection, unwelcome)
        return
    except (DatabaseError, InterfaceError) as error:
        logger.warning("hello without database", extra={"bridge": connection.bridge_id, "error": repr(error)})
        connection.bye("shutting_down", message="the hub can't reach its database")
        return
    connection.policies_due = {offer.slug for offer in hello.agents} if version >= POLICY_SINCE else set()
    resume = [Resume(invocation=pk, next_seq=seq) for pk, seq in reception.resume.items()]
    welcome = Welcome(
        version=version,
        session=connection.session,
        resume=resume,
        drop=reception.drop,
        hub_version=VERSION if version >= 2 else "",
    )
    connection.post(welcome)
    hub.nudge(bridge_id=connection.bridge_id)
    extra = {
        "bridge": connection.bridge_id,
        "version": hello.client_version,
        "protocol": version,
        "resumed": len(resume),
    }
    logger.info("bridge connected", extra=extra)


def _turn_away(connection: Connection, unwelcome: Unwelcome) -> None:
    logger.warning("bridge turned away", extra={"bridge": connection.bridge_id, "code": unwelcome.code})
    if unwelcome.code == "revoked":
        connection.bye("revoked", reconnect=False, message=unwelcome.message)
    else:
        connection.post(Error(code=unwelcome.code, about="hello", message=unwelcome.message))
        connection.bye("protocol_error", reconnect=False, message=unwelcome.message)
