"""Which address leads where?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from gateway.devchat import control, page
from gateway.devchat.rest.door import RestDoor
from gateway.devchat.sockets import DdpSocket
from gateway.devchat.workspace import Workspace


def create_app(workspace: Workspace) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await workspace.start()
        try:
            yield
        finally:
            await workspace.stop()

    # Starlette takes plain ASGI applications as endpoints; its stubs know functions only.
    socket, door = DdpSocket(workspace), RestDoor(workspace)
    return Starlette(
        lifespan=lifespan,
        routes=[
            WebSocketRoute("/websocket", socket),  # type: ignore[arg-type]
            Route("/api/info", door),  # type: ignore[arg-type]
            Route("/api/v1/{rest:path}", door),  # type: ignore[arg-type]
            *control.routes(workspace),
            *page.routes(workspace),
        ],
    )
