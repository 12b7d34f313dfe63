"""Carries a session over WebSockets: connects, sends, receives, notices a dead peer, comes back.

Whether an error ends the bridge is a function (`connection_error`), the waits between two attempts are a generator
(`reconnect_delays`); the session decides everything else.
"""

import asyncio
import logging
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Final, Protocol, cast

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from nexus_bridge import protocol
from nexus_bridge.errors import ConnectionFailed
from nexus_bridge.link import CLOSE_S, CLOSED_FOR_GOOD, BridgeConnection, connecting, connection_error
from nexus_bridge.orders import Add, Decide, Disconnect, Ending, Kill, Order, Pause, Resume, Start, Stop, Tell
from nexus_bridge.packing import Packed
from nexus_bridge.protocol import BadFrame, Error
from nexus_bridge.session import Session
from nexus_bridge.settings import Hub

logger = logging.getLogger(__name__)

CLOCK_OFF_S: Final = 300.0
KILL_S: Final = 15.0
LEAST_DELAY_S: Final = 1.0
FIRST_DELAY_S: Final = 1.5
DELAY_GROWTH: Final = 1.6
"""Gentle: a hub that restarts is back after a few seconds, and a second is long for who waits for an answer."""

LAST_DELAY_S: Final = 30.0


class Hands(Protocol):
    """Who does what the session orders; the runner, or a benchmark."""

    @property
    def session_count(self) -> int: ...

    def obey(self, order: Start | Stop | Kill | Decide | Add | Pause | Resume) -> None: ...


class Watcher(Protocol):
    """Who tells a person what goes on."""

    def connected(self, *, session: str) -> None: ...

    def disconnected(self, *, reason: str, retry_in_s: float) -> None: ...

    def ordered(self, order: Start | Stop | Kill | Decide | Add | Pause | Resume) -> None: ...

    def said(self, invocation: int, chunks: Sequence[Packed]) -> None: ...

    def ended(self, invocation: int, ending: Ending) -> None: ...

    def tell(self, text: str) -> None: ...


def reconnect_delays(rng: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds to wait before each attempt, from about 1 up to 30; random, so that a hub's bridges spread out."""
    longest = FIRST_DELAY_S
    while True:
        yield max(LEAST_DELAY_S, longest * (0.5 + 0.5 * rng()))
        longest = min(LAST_DELAY_S, longest * DELAY_GROWTH)


class Client:
    """One for the life of the bridge; it is the runner's host as well. `run` ends by `stop` or with a FinalError."""

    def __init__(
        self,
        *,
        hub: Hub,
        token: str,
        session: Session,
        watcher: Watcher,
        delays: Callable[[], Iterator[float]] = reconnect_delays,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._hub = hub
        self._token = token
        self._session = session
        self._watcher = watcher
        self._delays = delays
        self._now = now
        self._hands: Hands | None = None
        self._is_connected = False
        self._is_stopping = False
        self._heard_at = 0.0
        self._wake = asyncio.Event()
        self._leave = asyncio.Event()
        self._left_for = Disconnect(reason="")
        self._changed = asyncio.Event()
        self._greeted = asyncio.Event()

    def use(self, hands: Hands) -> None:
        """Whoever obeys the orders; call before `run`."""
        self._hands = hands

    # The runner's side

    def spool(self, invocation: int, chunks: Sequence[Packed]) -> None:
        self._session.spool(invocation, chunks)
        self._watcher.said(invocation, chunks)
        self._pump()

    def end(self, invocation: int, ending: Ending) -> None:
        self._session.end(invocation, ending)
        self._watcher.ended(invocation, ending)
        self._pump()

    def freed(self, invocation: int) -> None:
        self._session.freed(invocation, now=self._now())
        self._pump()

    def cli_session(self, invocation: int, id: str) -> None:  # noqa: A002 - the CLI's word
        self._session.remember_cli_session(invocation=invocation, id=id, now=self._now())

    # Life

    async def run(self) -> None:
        """Stay connected until `stop`; raises FinalError when there is no point in trying again."""
        delays = self._delays()
        while not self._is_stopping:
            was_ready = False
            try:
                reason = await self._connection()
            except ConnectionFailed as error:
                reason = str(error)
            was_ready = self._settle()
            if self._left_for.error is not None:
                raise self._left_for.error
            if self._is_stopping:
                return
            if was_ready:
                delays = self._delays()
            await self._wait_before_next(next(delays), reason=reason)

    async def stop(self, *, grace_s: float) -> None:
        """Take nothing new; let live turns finish for `grace_s`, then end them as interrupted; then leave."""
        self._session.stop_taking()
        await self._until(lambda: self._session.live_count == 0, within_s=grace_s)
        self._session.stop_runs(reason="bridge_stopped", message="The bridge was stopped while this ran.")
        self._pump()
        await self._until(lambda: self._session.live_count == 0, within_s=KILL_S)
        await self._until(lambda: not (self._is_connected and self._session.has_unacked), within_s=CLOSE_S)
        self._is_stopping = True
        self._leave.set()

    async def _until(self, is_so: Callable[[], bool], *, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not is_so():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def _settle(self) -> bool:
        """The connection is over: nothing of it is acted on any more."""
        was_ready = self._session.is_ready
        self._is_connected = False
        self._session.disconnected()
        self._pump()
        return was_ready

    async def _wait_before_next(self, seconds: float, *, reason: str) -> None:
        self._watcher.disconnected(reason=reason, retry_in_s=seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._leave.wait()
        except TimeoutError:
            return

    def _pump(self) -> None:
        """Do what the session ordered; let the sender send, or, with nobody to send to, write the journal."""
        if not self._is_connected:
            self._session.frames()
        for order in self._session.orders():
            self._obey(order)
        self._wake.set()
        self._changed.set()

    def _obey(self, order: Order) -> None:
        match order:
            case Tell():
                self._watcher.tell(order.text)
            case Disconnect():
                if self._left_for.error is None:
                    self._left_for = order
                self._leave.set()
            case _:
                self._watcher.ordered(order)
                if self._hands is not None:
                    self._hands.obey(order)

    # One connection

    async def _connection(self) -> str:
        """Returns why it ended; raises ConnectionFailed or FinalError when it never stood."""
        self._leave.clear()
        self._left_for = Disconnect(reason="")
        try:
            socket = await self._open()
            if socket is None:
                return ""
            async with socket:
                self._check_clock(socket)
                return await self._converse(socket)
        except (OSError, TimeoutError, WebSocketException, EOFError, ImportError) as error:
            raise connection_error(error, hub=self._hub) from error

    async def _open(self) -> BridgeConnection | None:
        """None: told to leave while nobody had answered yet."""
        opening = asyncio.ensure_future(connecting(hub=self._hub, token=self._token).connect())
        leaving = asyncio.ensure_future(self._leave.wait())
        try:
            await asyncio.wait({opening, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return cast(BridgeConnection, opening.result()) if opening.done() else None
        finally:
            leaving.cancel()
            if not opening.done():
                opening.cancel()
                await asyncio.gather(opening, return_exceptions=True)

    async def _converse(self, socket: BridgeConnection) -> str:
        await socket.send_frames([self._session.connected()])
        self._is_connected = True
        self._heard_at = asyncio.get_running_loop().time()
        tasks = [
            asyncio.create_task(self._send(socket), name="bridge-send"),
            asyncio.create_task(self._receive(socket), name="bridge-receive"),
            asyncio.create_task(self._watch_peer(), name="bridge-heartbeat"),
            asyncio.create_task(self._wait_to_leave(), name="bridge-leave"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return self._reason(done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._is_peer_silent():
                socket.transport.abort()  # a closing handshake would wait for somebody who is not there

    def _reason(self, done: set[asyncio.Task[str]]) -> str:
        for task in done:
            try:
                return task.result()
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 0
                said = closed.rcvd.reason if closed.rcvd else ""
                if (final := CLOSED_FOR_GOOD.get(code)) is not None:
                    raise final(f"the hub closed the connection for good ({code} {said})") from closed
                return f"the connection was lost ({code or 'no close frame'} {said})".replace(" )", ")")
        return ""

    async def _send(self, socket: BridgeConnection) -> str:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await socket.send_frames(self._session.frames())
            for order in self._session.orders():  # writing the journal may have failed
                self._obey(order)

    async def _receive(self, socket: ClientConnection) -> str:
        loop = asyncio.get_running_loop()
        while True:
            text = await socket.recv()
            self._heard_at = loop.time()
            was_ready = self._session.is_ready
            self._read(text)
            if self._session.is_ready and not was_ready:
                self._greeted.set()
                self._watcher.connected(session=self._session.id)
            self._pump()

    def _read(self, text: str | bytes) -> None:
        if isinstance(text, bytes):
            error = Error(code="bad_frame", message="frames are text")
            self._session.not_understood(error)
            return
        try:
            frame = protocol.from_hub(text)
        except BadFrame as bad:
            self._session.not_understood(bad.error)
        else:
            self._session.receive(frame, now=self._now())

    async def _watch_peer(self) -> str:
        """Heartbeats out; returns when the hub has been silent too long."""
        loop = asyncio.get_running_loop()
        beat_at = loop.time() + self._session.limits.heartbeat_s
        while not self._is_peer_silent():
            dead_at = self._heard_at + self._session.limits.peer_dead_s
            if await self._is_newly_ready(within_s=min(beat_at, dead_at) - loop.time()):
                beat_at = loop.time()  # the hub's limits are known from now on
            if loop.time() >= beat_at:
                beat_at = loop.time() + self._session.limits.heartbeat_s
                sessions = self._hands.session_count if self._hands else 0
                load = self._session.load(sessions=sessions, memory_mib=_memory_mib())
                self._session.heartbeat(at=self._now(), load=load)
                self._wake.set()
        return f"the hub was silent for {self._session.limits.peer_dead_s:g} s"

    async def _is_newly_ready(self, *, within_s: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, within_s)):
                await self._greeted.wait()
        except TimeoutError:
            return False
        self._greeted.clear()
        return True

    def _is_peer_silent(self) -> bool:
        loop = asyncio.get_running_loop()
        return loop.time() - self._heard_at >= self._session.limits.peer_dead_s

    async def _wait_to_leave(self) -> str:
        await self._leave.wait()
        return self._left_for.reason

    def _check_clock(self, socket: ClientConnection) -> None:
        date = socket.response.headers.get("Date") if socket.response is not None else None
        if date is None:
            return
        try:
            off = self._now() - parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        if abs(off) > CLOCK_OFF_S:
            self._watcher.tell(f"this machine's clock is {off / 60:+.0f} minutes off the hub's; set it right")


def _memory_mib() -> int:
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_kib // (1024 * 1024 if sys.platform == "darwin" else 1024)
