"""Our end of a guard's control socket: what the guard says of its CLI, and what it is told."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

from nexus_bridge import guard

START_TIMEOUT_S: Final = 30.0
GONE_WITHIN_S: Final = guard.GIVE_UP_S + 1.0
"""A guard gives up before that; whoever waits for it longer waits in vain."""


class GuardControl:
    """The socket, and the one background task that reads it."""

    def __init__(self, ours: socket.socket, *, on_exit: Callable[[], None]) -> None:
        ours.setblocking(False)
        self._socket = ours
        self._on_exit = on_exit
        self._received = b""
        self._first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._settled = asyncio.Event()
        self.pid = 0
        self.exit_code = -9
        self.has_said_goodbye = False
        self.limit_hit = ""
        self.exited = asyncio.Event()
        self.ended = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="guard-control")

    async def started(self) -> str:
        """Why the CLI did not start; empty once it runs."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                return await self._first
        except TimeoutError:
            return f"no answer within {START_TIMEOUT_S:.0f} s"

    def send(self, line: str) -> None:
        # Lines are a few bytes and the guard reads at once; a full socket means that it is stopped, and then the
        # line is of no use either.
        try:
            self._socket.send(f"{line}\n".encode())
        except OSError:
            return

    async def settle(self, *, spared: Sequence[int]) -> None:
        self._settled.clear()
        self.send(" ".join(["settle", *map(str, spared)]))
        ended = asyncio.ensure_future(self.ended.wait())
        settled = asyncio.ensure_future(self._settled.wait())
        await asyncio.wait({ended, settled}, timeout=GONE_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        settled.cancel()

    def close(self) -> None:
        self._task.cancel()
        self._socket.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._socket, 4096):
                *lines, self._received = (self._received + data).split(b"\n")
                for line in lines:
                    self._hear(line.decode())
        except OSError:
            pass  # reset: the guard is gone, as at end-of-file
        finally:
            self._resolve_start("the guard process died")
            self._exit()
            self.ended.set()

    def _hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "started":
            self.pid = int(rest)
            self._resolve_start("")
        elif word == "failed":
            self.has_said_goodbye = True
            self._resolve_start(rest)
        elif word == "exited":
            self.exit_code = int(rest)
            self.has_said_goodbye = True
            self._exit()
        elif word == "settled":
            self._settled.set()
        elif word == "limit":
            self.limit_hit = rest

    def _exit(self) -> None:
        if not self.exited.is_set():
            self.exited.set()
            self._on_exit()

    def _resolve_start(self, failure: str) -> None:
        if not self._first.done():
            self._first.set_result(failure)
