"""The bytes between bridge and CLI: one reader and one writer over plain descriptors, for pipes and terminals alike."""

import asyncio
import os
from collections import deque
from typing import Final

READ_BYTES: Final = 256 * 1024
BURST_READS: Final = 16
"""A terminal hands over 4 KiB at most per read: so many are taken before the event loop has its turn again."""
MAX_UNREAD_BYTES: Final = 256 * 1024
"""Above that nothing more is read until somebody took what is there; then the CLI blocks."""


class ByteReader:
    """Reads a descriptor into a bounded buffer; `read` hands over all of it at once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._news: asyncio.Future[None] | None = None
        self._is_watching = False
        self._has_ended = False
        os.set_blocking(fd, False)
        self._watch()

    async def read(self) -> bytes:
        """At least one byte, or b"" at the end. One caller at a time."""
        if not self._unread and not self._has_ended:
            self._news = self._loop.create_future()
            try:
                await self._news
            finally:
                self._news = None
        data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        self._unread_bytes = 0
        self._watch()
        return data

    def end(self) -> None:
        """Nothing more comes from here; what is unread can still be taken."""
        if not self._has_ended:
            self._has_ended = True
            self._unwatch()
            self._tell()

    def close(self) -> None:
        self.end()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _on_readable(self) -> None:
        for _ in range(BURST_READS):
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                break
            except OSError:  # EIO of a terminal: nobody holds its other side any more
                data = b""
            if not data:
                self.end()
                break
            self._unread.append(data)
            self._unread_bytes += len(data)
            if self._unread_bytes >= MAX_UNREAD_BYTES:
                self._unwatch()
                break
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done() and (self._unread or self._has_ended):
            self._news.set_result(None)

    def _watch(self) -> None:
        if not self._is_watching and not self._has_ended:
            self._is_watching = True
            self._loop.add_reader(self._fd, self._on_readable)

    def _unwatch(self) -> None:
        if self._is_watching:
            self._is_watching = False
            self._loop.remove_reader(self._fd)


class ByteTail:
    """Reads a descriptor to its end and keeps the last bytes only."""

    def __init__(self, fd: int, *, keep: int) -> None:
        self._fd = fd
        self._keep = keep
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._on_readable)

    def __bytes__(self) -> bytes:
        return bytes(self._kept)

    def close(self) -> None:
        if self._fd >= 0:
            self._on_readable()  # what came in the last moment says why the program ended
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        self._kept += data
        del self._kept[: -self._keep]
        if not data:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class ByteWriter:
    """Writes to a descriptor as it takes the bytes; never blocks. The bound of what waits is the caller's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._is_finishing = False
        os.set_blocking(fd, False)

    def __len__(self) -> int:
        return len(self._waiting)

    def write(self, data: bytes) -> None:
        """What is written after `finish`, or to a reader that is gone, is dropped."""
        if self._fd < 0 or self._is_finishing:
            return
        was_waiting = bool(self._waiting)
        self._waiting += data
        if not was_waiting:
            self._on_writable()

    def finish(self) -> None:
        """Close as soon as all is written."""
        self._is_finishing = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            self._waiting.clear()
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _on_writable(self) -> None:
        try:
            with memoryview(self._waiting) as view:
                written = os.write(self._fd, view[:READ_BYTES])
            del self._waiting[:written]
        except BlockingIOError:
            pass
        except OSError:  # EPIPE, EIO: the reader is gone
            self._waiting.clear()
        if self._waiting:
            self._loop.add_writer(self._fd, self._on_writable)
            return
        self._loop.remove_writer(self._fd)
        if self._is_finishing:
            self.close()
