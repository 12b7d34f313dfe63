"""The other ends of a measurement: a bridge that answers at once, an ear in the chat, and the work of processes.

They speak the same protocols as the real ones and do nothing else, so that what is measured is Nexus.
"""

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import websockets

from nexus_bridge import events, protocol

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
OnPrompt = Callable[["BenchBridge", protocol.Prompt], Awaitable[None]]


@dataclass(slots=True)
class BenchBridge:
    """A bridge with one agent; notes when each prompt frame arrived and lets `on_prompt` answer it."""

    url: str
    token: str
    slug: str
    on_prompt: OnPrompt
    prompts: dict[int, float] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    acked: dict[int, int] = field(default_factory=dict)
    last: protocol.Frame | None = None
    ended: str = ""
    _socket: Any = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self.token}"}
        self._socket = await websockets.connect(
            self.url,
            additional_headers=headers,
            compression=None,
            max_size=protocol.MAX_PROMPT_FRAME_BYTES,
            proxy=None,
        )
        offer = protocol.AgentOffer(slug=self.slug, cli_kind="echo", parallel=32)
        hello = protocol.Hello(versions=[1], client_version="bench", agents=[offer], journal=os.urandom(16).hex())
        await self.send(hello)
        welcome = protocol.from_hub(await self._socket.recv())
        if not isinstance(welcome, protocol.Welcome):
            raise ConnectionError(f"not welcome: {welcome}")
        self._start(self._read())
        self._start(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._socket.close()

    async def send(self, frame: protocol.Frame) -> None:
        await self._socket.send(protocol.encode(frame))

    async def answer(self, prompt: protocol.Prompt, *, payloads: list[str], pause_s: float = 0.0) -> None:
        """Accept, send one text chunk per payload, end."""
        await self.send(protocol.Accepted(invocation=prompt.invocation, fence=prompt.fence))
        encoded = [events.encode(events.Text(delta=text)) for text in payloads]
        for seq, payload in enumerate(encoded, start=1):
            if pause_s and seq > 1:
                await asyncio.sleep(pause_s)
            chunk = protocol.Chunk(seq=seq, kind="text", payload=payload)
            await self.send(protocol.Chunks(invocation=prompt.invocation, fence=prompt.fence, chunks=[chunk]))
        end = protocol.End(
            invocation=prompt.invocation,
            fence=prompt.fence,
            seq=len(encoded) + 1,
            outcome="done",
            sha256=protocol.output_digest(encoded),
        )
        await self.send(end)

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self) -> None:
        try:
            await self._read_frames()
        finally:
            self.ended = f"closed: {self._socket.close_code} {self._socket.close_reason} {self.last!r}"

    async def _read_frames(self) -> None:
        async for text in self._socket:
            arrived_at = time.perf_counter()
            frame = protocol.from_hub(text)
            if not isinstance(frame, protocol.Prompt | protocol.Ack | protocol.Heartbeat):
                self.last = frame
            if isinstance(frame, protocol.Prompt) and frame.invocation not in self.prompts:
                self.prompts[frame.invocation] = arrived_at
                self.texts[frame.invocation] = frame.prompt
                self._start(self.on_prompt(self, frame))
            elif isinstance(frame, protocol.Ack):
                self.acked[frame.invocation] = frame.seq

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(protocol.HEARTBEAT_S)
            await self.send(protocol.Heartbeat(at=time.time()))


class Ear:
    """A DDP connection of somebody in the rooms, as his browser's: he writes over it, and it notes when each message id and
    each text was first heard.
    """

    def __init__(self, *, url: str, token: str) -> None:
        self._url = url.replace("http", "ws", 1) + "/websocket"
        self._token = token
        self.heard: dict[str, float] = {}
        self.changed: dict[str, list[tuple[float, str]]] = {}
        self._waiters: list[tuple[Callable[[dict[str, Any]], bool], asyncio.Future[float]]] = []

    async def __aenter__(self) -> Self:
        self._socket = await websockets.connect(self._url, compression=None, max_size=2**24, proxy=None)
        await self._send(msg="connect", version="1", support=["1"])
        await self._send(msg="method", method="login", id="1", params=[{"resume": self._token}])
        await self._send(
            msg="sub",
            id="s1",
            name="stream-room-messages",
            params=["__my_messages__", {"useCollection": False, "args": []}],
        )
        while json.loads(await self._socket.recv()).get("msg") != "ready":
            continue
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._socket.close()

    async def say(self, *, room_id: str, text: str) -> None:
        """What the chat answers is not waited for: the message itself is heard."""
        message = {"_id": secrets.token_hex(9)[:17], "rid": room_id, "msg": text}
        await self._send(msg="method", method="sendMessage", id=message["_id"], params=[message])

    async def hear(self, matches: Callable[[dict[str, Any]], bool], *, timeout_s: float = 30.0) -> float:
        """The time at which the first message comes that `matches`."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiters.append((matches, future))
        return await asyncio.wait_for(future, timeout_s)

    async def _send(self, **frame: Any) -> None:
        await self._socket.send(json.dumps(frame))

    async def _read(self) -> None:
        async for text in self._socket:
            at = time.perf_counter()
            frame = json.loads(text)
            if frame.get("msg") == "ping":
                await self._send(msg="pong")
            if frame.get("msg") != "changed" or frame.get("collection") != "stream-room-messages":
                continue
            message = frame["fields"]["args"][0]
            self.heard.setdefault(message["_id"], at)
            self.changed.setdefault(message["_id"], []).append((at, message["msg"]))
            for matches, future in list(self._waiters):
                if not future.done() and matches(message):
                    future.set_result(at)
            self._waiters = [waiter for waiter in self._waiters if not waiter[1].done()]


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes and of their children that are still there."""
    total = 0
    for pid in tree(pids):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
    return total / TICKS_PER_S


def pss_mib(pids: list[int]) -> float:
    """Proportional set size of these processes and their children."""
    kib = 0
    for pid in tree(pids):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def tree(pids: list[int]) -> list[int]:
    """These processes and all below them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], list(pids)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.append(pid)
            todo += children.get(pid, [])
    return found
