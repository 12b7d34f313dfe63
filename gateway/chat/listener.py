"""Keeps one account's realtime connection: connects, feeds the conversation, pings, watches rooms, starts again."""

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from gateway.chat.pace import Budget
from gateway.rocketchat import tls
from gateway.rocketchat.realtime import ByRoom, Conversation, Ended, Event, Ready, WatchRefused

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_S: Final = 10.0
READY_TIMEOUT_S: Final = 30.0
SEND_TIMEOUT_S: Final = 10.0
PING_AFTER_S: Final = 20.0
DEAD_AFTER_S: Final = 60.0
"""No frame of any kind, no answer to a ping either, for this long: the connection is dead."""

MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
"""The connection ends over a larger one; catch-up reads what it was."""

MAX_FRAMES: Final = 64
"""Frames read from the socket and not yet handled; beyond it TCP holds the server back."""

STREAM_BURST: Final = 16
STREAM_EVERY_S: Final = 2.0
"""The chat allows 40 calls in 40 s per connection and stream name, and typing and hearing a room's deletions are both
calls of `stream-notify-room`: at most 36 of ours fall into any 40 s.
"""

STREAM_SPARE: Final = 4
"""Kept for the end of typing, so that nobody is shown at work who is not; as many more for hearing deletions."""

FINAL_WAIT_S: Final = 60.0


def waits() -> Iterator[float]:
    """Full jitter, doubling from 1 to 30 s; made anew after a session that became ready."""
    longest = 1.0
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311  (jitter, not a secret)
        longest = min(longest * 2, 30.0)


class Listener:
    """`run` never ends by itself. `on_event` must not block; `check_login` says whether a refused login is final."""

    def __init__(
        self,
        *,
        url: str,
        trust: ssl.SSLContext | None = None,
        make_conversation: Callable[[], Conversation],
        on_event: Callable[[Event], None],
        on_refused: Callable[[str], None],
        name: str,
        make_waits: Callable[[], Iterator[float]] = waits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._trust = trust
        self._make_conversation = make_conversation
        self._on_event = on_event
        self._on_refused = on_refused
        self._name = name
        self._make_waits = make_waits
        self._clock = clock
        self._conversation: Conversation | None = None
        self._socket: ClientConnection | None = None
        self._to_watch: deque[str] = deque()
        self._watch_wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._budget = Budget(burst=STREAM_BURST, every_s=STREAM_EVERY_S, clock=clock)
        self._heard_at = 0.0

    @property
    def is_ready(self) -> bool:
        return self._conversation is not None and self._conversation.is_ready

    @property
    def is_by_room(self) -> bool:
        """Only rooms that are watched say anything."""
        return self._conversation is not None and self._conversation.is_by_room

    async def run(self) -> None:
        pauses = self._make_waits()
        while True:
            was_ready, reason, is_final = await self._session()
            if was_ready:
                pauses = self._make_waits()
            pause = FINAL_WAIT_S if is_final else next(pauses)
            extra = {"account": self._name, "reason": reason, "again_in_s": round(pause, 1)}
            logger.warning("chat connection ended", extra=extra)
            if is_final:
                self._on_refused(reason)
            await asyncio.sleep(pause)

    async def typing(self, *, rid: str, thread: str, is_typing: bool) -> None:
        """Raises ConnectionError while there is no ready connection, and where the chat would refuse one more sign."""
        if self._conversation is None or not self._conversation.is_ready:
            raise ConnectionError("not connected")
        if not self._budget.take(spare=STREAM_SPARE * 2 if is_typing else 0):
            raise ConnectionError("too many signs")
        self._conversation.typing(rid=rid, is_typing=is_typing, thread=thread)
        await self._flush()

    @property
    def watches_left(self) -> int:
        """How many more rooms could be heard at once; below zero: so many wait already."""
        return self._budget.left - STREAM_SPARE - len(self._to_watch)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Rooms that are to be heard and are not asked for yet, in order."""
        return tuple(self._to_watch)

    def watch(self, rid: str) -> None:
        """Hear of this room's deletions (and messages, where nothing else tells them), as soon as the chat's limits allow."""
        if rid not in self._to_watch:
            self._to_watch.append(rid)
            self._watch_wake.set()

    def watch_first(self, rid: str) -> None:
        """If this room still waits, it is the next one."""
        if rid in self._to_watch:
            self._to_watch.remove(rid)
            self._to_watch.appendleft(rid)

    def unwatch(self, rid: str) -> None:
        """Out of the room: the chat has dropped the subscription without a word, and coming back needs a new one."""
        if rid in self._to_watch:
            self._to_watch.remove(rid)
        if self._conversation is not None:
            self._conversation.unwatch(rid=rid)

    def reconnect(self) -> None:
        """The connection is up and says nothing: end it, and a new one begins."""
        if self._socket is not None and self._socket.transport is not None:
            self._socket.transport.abort()

    async def _session(self) -> tuple[bool, str, bool]:
        """One connection from open to end: whether it became ready, why it ended, whether that is final."""
        self._to_watch.clear()
        try:
            async with connect(
                self._url,
                ssl=self._trust,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=2,
                ping_interval=None,
                compression=None,
                max_size=MAX_FRAME_BYTES,
                max_queue=MAX_FRAMES,
                proxy=None,
            ) as socket:
                self._socket = socket
                conversation = self._conversation = self._make_conversation()
                ended = await self._talk(socket, conversation)
                return conversation.is_ready, ended.reason, ended.is_final
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, WebSocketException) as error:
            was_ready = self.is_ready
            return was_ready, tls.why(error) or f"{type(error).__name__}: {error}"[:200], False
        finally:
            self._conversation = None
            self._socket = None

    async def _talk(self, socket: ClientConnection, conversation: Conversation) -> Ended:
        self._heard_at = self._clock()
        started_at = self._heard_at
        await self._flush()
        watching = asyncio.create_task(self._watch_rooms(conversation), name=f"watch {self._name}")
        try:
            while True:
                if not conversation.is_ready and self._clock() - started_at > READY_TIMEOUT_S:
                    return Ended("not ready in time", is_final=False)
                try:
                    async with asyncio.timeout(PING_AFTER_S):
                        frame = await socket.recv()
                except TimeoutError:
                    if self._clock() - self._heard_at >= DEAD_AFTER_S:
                        return Ended("silent, and no answer to a ping", is_final=False)
                    conversation.ping()
                    await self._flush()
                    continue
                self._heard_at = self._clock()
                ended = self._hear(conversation, frame)
                await self._flush()
                if ended is not None:
                    return ended
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    def _hear(self, conversation: Conversation, frame: str | bytes) -> Ended | None:
        for event in conversation.feed(frame):
            if isinstance(event, Ended):
                return event
            if isinstance(event, WatchRefused) and event.is_limit:
                self.watch(event.rid)
            if isinstance(event, ByRoom):
                logger.warning("the chat tells messages by room only", extra={"account": self._name})
            if isinstance(event, Ready):
                self._watch_wake.set()
            self._on_event(event)
        return None

    async def _watch_rooms(self, conversation: Conversation) -> None:
        while True:
            await self._watch_wake.wait()
            self._watch_wake.clear()
            while self._to_watch and conversation.is_ready:
                if not self._budget.take(spare=STREAM_SPARE):
                    await asyncio.sleep(STREAM_EVERY_S)
                    continue
                conversation.watch(rid=self._to_watch.popleft())
                await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            if self._conversation is None or self._socket is None:
                return
            async with asyncio.timeout(SEND_TIMEOUT_S):
                for frame in self._conversation.take():
                    await self._socket.send(frame)
