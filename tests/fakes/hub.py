"""A hub for the bridge's tests: it commits in memory, and can be told to be slow, deaf, rude or gone."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from nexus_bridge import protocol
from nexus_bridge.protocol import (
    Accepted,
    Ack,
    Chunk,
    Chunks,
    Drop,
    End,
    Frame,
    Heartbeat,
    Hello,
    Person,
    Prompt,
    Refused,
    Resume,
    Rewind,
    RoomName,
    Welcome,
)


@dataclass
class Row:
    """What the hub keeps of one invocation."""

    prompt: Prompt
    state: str = "offered"
    chunks: list[Chunk] = field(default_factory=list)
    end: End | None = None
    refused: Refused | None = None
    accepted_count: int = 0

    @property
    def next_seq(self) -> int:
        return len(self.chunks) + 1 + (self.end is not None)

    @property
    def text(self) -> str:
        """The answer, as a person would read it."""
        from nexus_bridge import events

        said = [events.decode(chunk.payload) for chunk in self.chunks]
        return "".join(event.delta for event in said if isinstance(event, events.Text))

    @property
    def is_whole(self) -> bool:
        return self.end is not None and self.end.sha256 == protocol.output_digest(c.payload for c in self.chunks)


def prompt_for(invocation: int, *, agent: str = "echo-alice", text: str = "hello", **more: Any) -> Prompt:
    """An offer from Bob in #general."""
    fields: dict[str, Any] = {
        "invocation": invocation,
        "fence": 1,
        "agent": agent,
        "asker": Person(id="u-bob", username="bob", name="Bob"),
        "room": RoomName(id="r-general", name="general", kind="channel"),
        "prompt": text,
        "session_key": "r-general",
    }
    return Prompt(**(fields | more))


class FakeHub:
    """Commits what comes, acks it, offers what it is given. `rows` is its database and outlives connections."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.received: list[Frame] = []
        self.hellos: list[Hello] = []
        self.errors: list[str] = []
        self.is_acking = True
        self.token = "nxb_" + "t" * 40
        self.refuse_with: HTTPStatus | None = None
        self.redirect_to: str | None = None
        self.check_answer = '{"bridge": "b-1", "owner": "alice", "agents": ["echo-alice"]}'
        self.files: dict[str, bytes] = {}
        self.date: str | None = None
        self.authorizations: list[str | None] = []
        self.on_frame: Callable[[Frame], None] = lambda _: None
        self.welcome: dict[str, Any] = {}
        self.is_silent = False
        self.tls: ssl.SSLContext | None = None
        self.url = ""
        self._socket: ServerConnection | None = None
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeHub"]:
        async with serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._admit,
            process_response=self._stamp,
            compression=None,
            max_size=protocol.MAX_FRAME_BYTES,
            ssl=self.tls,
        ) as server:
            scheme = "ws" if self.tls is None else "wss"
            self.url = f"{scheme}://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            yield self

    # What a test does

    async def offer(self, prompt: Prompt) -> Row:
        row = self.rows.setdefault(prompt.invocation, Row(prompt=prompt))
        await self.send(prompt)
        return row

    async def send(self, frame: Frame) -> None:
        socket = self._socket
        if socket is None:
            raise AssertionError("no bridge is connected")
        await socket.send(protocol.encode(frame))

    async def send_raw(self, data: str | bytes) -> None:
        if self._socket is None:
            raise AssertionError("no bridge is connected")
        await self._socket.send(data)

    async def close(self, code: int) -> None:
        if self._socket is None:
            raise AssertionError("no bridge is connected")
        await self._socket.close(code, "so")

    async def cut(self) -> None:
        """The connection is gone without a word."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.transport.abort()
            await socket.wait_closed()

    async def until(self, is_so: Callable[[], bool], *, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(is_so)

    async def connected(self, *, count: int = 1) -> None:
        """That many hellos were answered, and the last of these bridges is there."""
        await self.until(lambda: len(self.hellos) >= count and self._socket is not None)

    # What it does by itself

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        self.authorizations.append(request.headers.get("Authorization"))
        if self.redirect_to is not None:
            response = socket.respond(HTTPStatus.TEMPORARY_REDIRECT, "over there\n")
            response.headers["Location"] = self.redirect_to
            return response
        if self.refuse_with is not None:
            return socket.respond(self.refuse_with, "no\n")
        if request.path == "/healthz":
            return socket.respond(HTTPStatus.OK, "fine\n")
        if request.path.startswith("/bridge/files/"):
            return self._file(socket, request)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return socket.respond(HTTPStatus.UNAUTHORIZED, "no\n")
        if request.path == "/bridge/check":
            return socket.respond(HTTPStatus.OK, self.check_answer)
        return None

    def _stamp(self, socket: ServerConnection, request: Request, response: Response) -> None:
        if self.date is not None:
            del response.headers["Date"]
            response.headers["Date"] = self.date

    def _file(self, socket: ServerConnection, request: Request) -> Response:
        content = self.files.get(request.path.removeprefix("/bridge/files/"))
        if content is None or request.headers.get("Authorization") != "Bearer nxt_tools":
            return socket.respond(HTTPStatus.NOT_FOUND, "no\n")
        response = socket.respond(HTTPStatus.OK, "")
        response.body = content
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(content))
        return response

    async def _serve(self, socket: ServerConnection) -> None:
        try:
            async for text in socket:
                if not self.is_silent:
                    await self._receive(socket, protocol.from_bridge(text))
                async with self._changed:
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
        except Exception as error:
            self.errors.append(repr(error))
            raise
        finally:
            if self._socket is socket:
                self._socket = None

    async def _receive(self, socket: ServerConnection, frame: Frame) -> None:
        self.received.append(frame)
        self.on_frame(frame)
        match frame:
            case Hello():
                self.hellos.append(frame)
                await socket.send(protocol.encode(self._welcome_to(frame)))
                self._socket = socket
            case Heartbeat():
                await socket.send(protocol.encode(frame))
            case Accepted():
                self._row(frame.invocation).accepted_count += 1
                self._row(frame.invocation).state = "running"
            case Refused():
                self._row(frame.invocation).refused = frame
                self._row(frame.invocation).state = "refused"
            case Chunks() | End():
                await self._commit(socket, frame)

    def _row(self, invocation: int) -> Row:
        return self.rows.setdefault(invocation, Row(prompt=prompt_for(invocation)))

    def _welcome_to(self, hello: Hello) -> Welcome:
        listed = {run.invocation: run for run in hello.runs}
        for invocation, row in self.rows.items():
            if row.state == "running" and (invocation not in listed or listed[invocation].state == "lost"):
                row.state = "interrupted"
        live = [
            one for one in listed if self._row(one).state in {"offered", "running"} and listed[one].state != "lost"
        ]
        for invocation in live:
            self._row(invocation).state = "running"
        resume = [Resume(invocation=one, next_seq=self._row(one).next_seq) for one in live]
        return Welcome(version=1, session="s-1", resume=resume, **self.welcome)

    async def _commit(self, socket: ServerConnection, frame: Chunks | End) -> None:
        row = self._row(frame.invocation)
        if row.state != "running" or frame.fence != row.prompt.fence:
            await socket.send(protocol.encode(Drop(invocation=frame.invocation, reason=row.state)))
            return
        first = frame.seq if isinstance(frame, End) else frame.chunks[0].seq
        if first > row.next_seq:
            await socket.send(protocol.encode(Rewind(invocation=frame.invocation, seq=row.next_seq)))
            return
        if isinstance(frame, End):
            if frame.seq == row.next_seq:
                row.end, row.state = frame, frame.outcome
        else:
            row.chunks += [chunk for chunk in frame.chunks if chunk.seq >= row.next_seq]
        if self.is_acking:
            await socket.send(protocol.encode(Ack(invocation=frame.invocation, seq=row.next_seq - 1)))
