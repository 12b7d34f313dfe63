"""A small proxy in front of several gateways: a connection goes to who has fewest, and past one that does not answer."""

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
CONNECT_S: Final = 2.0
PIECE: Final = 64 * 1024


class Proxy:
    """Bytes only, so it carries HTTP and WebSockets alike. Listens while it is entered; `ports` may be filled later."""

    def __init__(self, *, port: int) -> None:
        self.url = f"http://{HOST}:{port}"
        self.ports: list[int] = []
        self._port = port
        self._open: dict[int, int] = {}
        self._loop = asyncio.new_event_loop()
        self._is_open = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_open.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _main(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._carry, HOST, self._port)
        self._is_open.set()
        await self._stop.wait()
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either side ends."""
        for port in sorted(self.ports, key=lambda port: self._open.get(port, 0)):
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    there, back = await asyncio.open_connection(HOST, port)
                break
        else:
            writer.close()
            return
        self._open[port] = self._open.get(port, 0) + 1
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, back))
                group.create_task(_pump(there, writer))
        except* OSError:
            pass
        finally:
            self._open[port] -= 1
            for end in (writer, back):
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The end of one direction is the end of both: it raises, and so ends the group."""
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    raise ConnectionResetError
