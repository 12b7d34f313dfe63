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
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await workspace.start()
        try:
            yield
        finally:
            await workspace.stop()

    socket, door = DdpSocket(workspace), RestDoor(workspace)
    return Starlette(
        lifespan=lifespan,
        routes=[
            WebSocketRoute("/websocket", socket),
            Route("/api/info", door),
            Route("/api/v1/{rest:path}", door),
            *control.routes(workspace),
            *page.routes(workspace),
        ],
    )
