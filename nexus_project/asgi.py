"""What the gateway's server runs: bridges' sockets and hot paths first, Django for everything else.

Runs under daphne (default) and under uvicorn with `--ws websockets-sansio --ws-max-size 65536`.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

_django = get_asgi_application()

# Only now, for these need Django's models.
from django.urls import path, re_path  # noqa: E402

from admin_ui.live import console  # noqa: E402
from gateway.forwarded import behind_proxies  # noqa: E402
from gateway.mcp.endpoint import application as mcp  # noqa: E402
from gateway.routing import hot_paths, websocket_urlpatterns  # noqa: E402
from gateway.watch import program  # noqa: E402

program.name("gateway")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_MCP = ("/mcp", "/mcp/")

if "daphne.server" in sys.modules:  # it runs us; another server need not pay for it
    from gateway.hub import daphne

    daphne.install()


async def _http(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Django's handler costs two threads per request; what must be fast is answered before it."""
    handler = mcp if scope["path"] in _MCP else hot_paths.get(scope["path"], _django)
    await handler(scope, receive, send)


async def _no_such_socket(_scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"There is no socket here."})


async def _lifespan(_scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Servers that announce start and stop are told that all is well."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


_sockets = URLRouter([*websocket_urlpatterns, path("ws/console/", console), re_path("", _no_such_socket)])  # type: ignore[arg-type]

application = ProtocolTypeRouter(
    {
        "http": behind_proxies(_http),
        "websocket": behind_proxies(_sockets),
        "lifespan": _lifespan,
    }
)
program.settle()
