"""How does a websocket carry a DDP conversation? The thin shell: frames in and out, nothing decided."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from gateway.devchat.ddp import Session
from gateway.devchat.lines import cut_line
from gateway.devchat.rest.door import Receive, Scope, Send
from gateway.devchat.workspace import Workspace

logger = logging.getLogger("devchat.sockets")


class DdpSocket:
    """The ASGI application at /websocket."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # the request to connect
        if await self._break_connect(receive, send):
            return
        await send({"type": "websocket.accept"})
        wake = asyncio.Event()
        session = Session(host=self._workspace, wake=wake.set)
        writer = asyncio.create_task(_write(session, wake, receive, send), name=f"ddp writer {session.id}")
        try:
            await _read(session, receive)
        finally:
            session.ended()
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer

    async def _break_connect(self, receive: Receive, send: Send) -> bool:
        fault = self._workspace.faults.hit("rest", path="websocket", method="GET")
        if fault is None:
            return False
        match fault.action:
            case "delay":
                await asyncio.sleep(fault.delay_ms / 1000)
                return False
            case "status":
                await send({"type": "websocket.http.response.start", "status": fault.status, "headers": []})
                await send({"type": "websocket.http.response.body", "body": b""})
            case "drop_socket":
                cut_line(receive)
            case _:
                with suppress(TimeoutError):
                    await asyncio.wait_for(receive(), 600)
        return True


async def _read(session: Session, receive: Receive) -> None:
    while True:
        message: dict[str, Any] = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        session.feed(text if text is not None else message.get("bytes") or b"")


async def _write(session: Session, wake: asyncio.Event, receive: Receive, send: Send) -> None:
    try:
        while True:
            await wake.wait()
            wake.clear()
            if session.is_aborted:
                cut_line(receive)
                return
            for frame in session.take():
                await send({"type": "websocket.send", "text": frame})
            if session.closing is not None and not session.outgoing:
                code, reason = session.closing
                await send({"type": "websocket.close", "code": code, "reason": reason})
                return
    except (OSError, RuntimeError) as error:
        # The peer went away between two frames; the reader hears of it and ends the session.
        logger.debug("write after the end", extra={"reason": str(error)})
