"""`/mcp/`: official MCP over streamable HTTP for the CLIs of running turns. Each request stands alone.

The official package is loaded with the first request: a gateway whose agents use no tools never pays for it.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from channels.db import database_sync_to_async

from gateway.bridge_auth import TOO_MANY_TOOLS, bearer_of, digest_of
from gateway.guessing import FailureLimit
from gateway.mcp import offered
from gateway.mcp.offered import Session

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 1024 * 1024
REFUSAL: Final = (
    "This tools token is not valid (any more). A turn's CLI gets it from its bridge; nobody else needs one."
)
_SESSION: Final = "nexus.session"

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Endpoint:
    """One per process; the package's session manager lives as long as the event loop that first asked for it."""

    def __init__(self) -> None:
        self._failures = FailureLimit()
        self._manager: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._background: asyncio.Task[None] | None = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._refusal(scope)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        manager = await self._ready()
        await manager.handle_request(scope, receive, send)

    async def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        """Why not, as status, code and sentence. A good request leaves with its session in the scope."""
        headers = dict(scope["headers"])
        if b"origin" in headers:
            return 403, "origin_not_allowed", "Tools are for CLIs, not for pages in a browser."
        if scope["method"] != "POST":
            return 405, "method_not_allowed", "Only POST: every request stands alone."
        address = str((scope.get("client") or ("",))[0])
        token = bearer_of(headers.get(b"authorization"))
        secret = digest_of(token) if token else ""
        if self._failures.is_over(address=address, secret=secret):
            return 429, "rate_limited", TOO_MANY_TOOLS
        session = await database_sync_to_async(offered.session_of)(tools_token=token) if token else None
        if session is None:
            self._failures.failed(address=address, secret=secret)
            return 401, "bad_token", REFUSAL
        scope[_SESSION] = session
        return None

    async def _ready(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._manager, self._making = loop, None, asyncio.Lock()
        async with self._making:
            if self._manager is None:
                self._manager = await self._start()
        return self._manager

    async def _start(self) -> Any:
        """The package wants its manager entered and left by one and the same background task."""
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from mcp.server.transport_security import TransportSecuritySettings

        # The bearer token is what protects; the hub has as many names as its proxy gives it.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        manager = StreamableHTTPSessionManager(
            _server(), stateless=True, security_settings=security, max_request_body_size=MAX_BODY_BYTES
        )
        started = asyncio.Event()

        async def run() -> None:
            async with manager.run():
                started.set()
                await asyncio.Event().wait()

        self._background = asyncio.create_task(run(), name="mcp sessions")
        await started.wait()
        return manager


application = Endpoint()


def _server() -> Any:
    import mcp_types as types
    from mcp.server.lowlevel import Server

    from gateway.mcp import calling

    async def list_tools(context: Any, _params: Any) -> Any:
        found = await database_sync_to_async(offered.listed)(_session(context))
        tools = [
            types.Tool(name=tool.shown_name, description=tool.description, input_schema=dict(tool.schema))
            for tool in found
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(context: Any, params: Any) -> Any:
        outcome = await calling.call(_session(context), name=params.name, arguments=params.arguments or {})
        content: list[Any] = [types.TextContent(type="text", text=outcome.text)]
        return types.CallToolResult(content=content, is_error=outcome.is_error)

    return Server(
        "nexus",
        version="1",
        instructions="Tools of this team's Nexus, for the room in which you were asked.",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _session(context: Any) -> Session:
    session: Session = context.request.scope[_SESSION]
    return session


async def _answer(send: Send, status: int, code: str, message: str) -> None:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="nexus"'))
    if status == 405:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
