"""A realtime client for tests: calls and subscriptions answered in order, events waited for by name."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

WAIT_S = 5


class DdpClient:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []
        self._ids = itertools.count(1)

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, *, version: str = "1") -> AsyncIterator["DdpClient"]:
        async with connect(url, compression=None, max_size=None) as socket:
            client = cls(socket)
            await client.send(msg="connect", version=version, support=[version])
            await client.wait_for(lambda frame: frame.get("msg") in ("connected", "failed"))
            yield client

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def call(self, method: str, *params: Any) -> dict[str, Any]:
        """The `result` frame, after `updated` has come too."""
        call_id = str(next(self._ids))
        await self.send(msg="method", method=method, id=call_id, params=list(params))
        result = await self.wait_for(lambda frame: frame.get("msg") == "result" and frame.get("id") == call_id)
        await self.wait_for(lambda frame: frame.get("msg") == "updated" and call_id in frame["methods"])
        return result

    async def subscribe(self, stream: str, event: str, option: Any = False) -> dict[str, Any]:
        """The `ready` or `nosub` frame."""
        sub_id = str(next(self._ids))
        await self.send(msg="sub", id=sub_id, name=f"stream-{stream}", params=[event, option])
        return await self.wait_for(
            lambda frame: sub_id in frame.get("subs", []) or (frame.get("msg") == "nosub" and frame["id"] == sub_id)
        )

    async def event(self, name: str) -> list[Any]:
        """The args of the next event of that name."""
        frame = await self.wait_for(
            lambda frame: frame.get("msg") == "changed" and frame["fields"]["eventName"] == name
        )
        return list(frame["fields"]["args"])

    async def quiet(self) -> list[dict[str, Any]]:
        """What has come by the time a ping is answered: nothing else was on its way."""
        await self.send(msg="ping", id="quiet")
        await self.wait_for(lambda frame: frame.get("msg") == "pong" and frame.get("id") == "quiet")
        held, self.frames = self.frames, []
        return held

    async def wait_for(self, wanted: Any) -> dict[str, Any]:
        """The first frame that fits; the others stay for later."""
        for index, frame in enumerate(self.frames):
            if wanted(frame):
                return self.frames.pop(index)
        async with asyncio.timeout(WAIT_S):
            while True:
                frame = json.loads(await self.socket.recv())
                if wanted(frame):
                    return dict(frame)
                self.frames.append(frame)
