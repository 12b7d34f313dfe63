"""All bridge connections of this process: who is here, what they are told, whose lease goes on.

Four background tasks: the writer, the errands (told by nudges, at once), the listener for nudges, and the round that
does every 5 s, with one look at the database, what a lost nudge left undone.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from channels.layers import get_channel_layer
from django.db import DatabaseError, InterfaceError

from gateway import bridge_auth, nudges
from gateway.guessing import FailureLimit
from gateway.hub import metrics, outgoing
from gateway.hub.connection import HELLO_REQUIRED, Connection
from gateway.hub.threads import DatabaseThreads
from gateway.hub.writer import Writer
from gateway.invocations import approvals, sessions, transitions
from gateway.invocations.sessions import Greeting, Held, Lost, Reception, Told
from gateway.watch import BEATS, traces
from nexus_bridge.protocol import PEER_DEAD_S, Hello

logger = logging.getLogger(__name__)

TICK_S: Final = 1.0
ROUND_S: Final = 5.0
HELLO_S: Final = 10.0
CLOSING_S: Final = 10.0
"""A peer that does not answer a close is cut off after this."""

SEND_AGAIN_S: Final = 14.0
"""An offer that a live bridge left unanswered is sent again; it may have had no room to keep it."""

SILENT_S: Final = 30.0
"""Rounds that fail for this long make the gateway say so at /healthz."""

LISTEN_AGAIN_S: Final = 1.0
LEAVE_S: Final = 0.001
"""Frames leave first; a log line about one would take as long again."""


class Hub:
    """One per process and event loop; `here` makes it, and it lives as long as the loop."""

    def __init__(self) -> None:
        self.gateway = f"{socket.gethostname()}:{os.getpid()}"[:100]
        self.failures = FailureLimit()
        self.writer = Writer()
        self.connections: set[Connection] = set()
        self._by_bridge: dict[int, Connection] = {}
        self._threads = DatabaseThreads(name="hub-control", count=2)
        self._dirty: dict[int, bool] = {}
        self._wake = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []

    def start(self) -> None:
        BEATS.expect("hub round", within_s=SILENT_S, what="renewed its bridges' leases")
        loops: dict[str, Callable[[], Awaitable[None]]] = {
            "hub writer": self.writer.run,
            "hub errands": self._run_errands,
            "hub nudges": self._listen,
            "hub round": self._run_rounds,
        }
        self._background = [asyncio.create_task(_forever(act), name=name) for name, act in loops.items()]

    async def close(self) -> None:
        """Stop everything; for tests, where a loop ends before its process."""
        BEATS.forget("hub round")
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.writer.close()
        with contextlib.suppress(DatabaseError, InterfaceError):
            await self._threads.close()

    # Connections

    async def identify(self, *, token: str) -> bridge_auth.BridgeIdentity | None:
        return await self._threads.run_twice(lambda: bridge_auth.find_bridge(token=token))

    def add(self, connection: Connection) -> None:
        self.connections.add(connection)
        metrics.CONNECTIONS.set(len(self.connections))

    async def remove(self, connection: Connection) -> None:
        """The socket is gone: the lease runs out soon, unless somebody else took the bridge over."""
        self.connections.discard(connection)
        metrics.CONNECTIONS.set(len(self.connections))
        if self._by_bridge.get(connection.bridge_id) is not connection:
            return
        del self._by_bridge[connection.bridge_id]
        bridge_id, session = connection.bridge_id, connection.session
        with contextlib.suppress(DatabaseError, InterfaceError):
            await self._threads.run_twice(lambda: sessions.let_go(bridge_id=bridge_id, session=session))

    async def greet(self, connection: Connection, hello: Hello) -> Reception:
        """Give the connection its session; whoever held the bridge here before is sent away. Raises Unwelcome."""
        greeting = Greeting(
            bridge_id=connection.bridge_id,
            token_digest=connection.token_digest,
            session=secrets.token_hex(16),
            gateway=self.gateway,
            journal=hello.journal,
            client_version=hello.client_version,
            offers=hello.agents,
            runs=hello.runs,
        )
        reception = await self._threads.run_twice(lambda: sessions.greet(greeting=greeting))
        connection.session, connection.journal = greeting.session, greeting.journal
        earlier = self._by_bridge.get(connection.bridge_id)
        self._by_bridge[connection.bridge_id] = connection
        if earlier is not None:
            _send_away(earlier, Lost.OVERTAKEN if earlier.journal == hello.journal else Lost.REPLACED)
        return reception

    def nudge(self, *, bridge_id: int, is_offer: bool = False) -> None:
        """Look at once what this bridge is to be told, if it is here; `is_offer`: most likely a prompt, and nothing else."""
        if bridge_id in self._by_bridge:
            self._dirty[bridge_id] = is_offer and self._dirty.get(bridge_id, True)
            self._wake.set()

    # Errands

    async def _run_errands(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._dirty = self._dirty, {}
            here = [self._by_bridge[bridge_id] for bridge_id in dirty if bridge_id in self._by_bridge]
            try:
                await self._tell(here, only_rows=all(dirty.values()))
                await self._keep(here)
            except (DatabaseError, InterfaceError) as error:
                # The next round finds the same errands.
                logger.warning("errands wait for the database", extra={"error": repr(error)})

    async def _tell(self, connections: Iterable[Connection], *, only_rows: bool = False) -> None:
        """Send what the rows ask for and this connection was not told a moment ago. See `outgoing.due`."""
        by_session = {one.session: one for one in connections if not one.is_closing}
        if not by_session:
            return
        known = [_known(one) for one in by_session.values()]
        began_at = time.time()
        found = await self._threads.run_twice(lambda: outgoing.due(known=known, only_rows=only_rows))
        told = [errand for errand in found if _is_news(by_session[errand.session], errand)]
        for errand in told:
            by_session[errand.session].post(errand.frame)
        if told:
            await asyncio.sleep(LEAVE_S)
        for errand in told:
            metrics.FRAMES.labels(errand.kind).inc()
            bridge_id = by_session[errand.session].bridge_id
            extra = {"invocation": errand.invocation, "kind": errand.kind, "bridge": bridge_id}
            logger.info("bridge told", extra=extra)
            if errand.kind == "offer":
                traces.record("hub.offer", invocation_id=errand.invocation, began_at=began_at)

    # Rounds

    async def _run_rounds(self) -> None:
        next_round = time.monotonic()
        while True:
            self._check_clocks()
            if time.monotonic() >= next_round:
                next_round = time.monotonic() + ROUND_S
                try:
                    await self._round()
                    BEATS.beat("hub round")
                except (DatabaseError, InterfaceError) as error:
                    logger.warning("round without database", extra={"error": repr(error)})
            await asyncio.sleep(TICK_S)

    def _check_clocks(self) -> None:
        """Those that are silent, late with hello, or deaf to a close. No database."""
        now = time.monotonic()
        for connection in list(self.connections):
            if connection.closing_at is not None:
                if now > connection.closing_at + CLOSING_S and connection.task is not None:
                    connection.task.cancel()
            elif not connection.session:
                if now > connection.opened_at + HELLO_S:
                    connection.close(HELLO_REQUIRED)
            elif now > connection.heard_at + PEER_DEAD_S - TICK_S:
                connection.bye("silent")

    async def _round(self) -> None:
        here = list(self._by_bridge.values())
        if not here:
            return
        await self._keep(here)
        bridge_ids = list(self._by_bridge)
        await self._threads.run_twice(lambda: _unpark(bridge_ids))
        await self._tell(list(self._by_bridge.values()))

    async def _keep(self, connections: Sequence[Connection]) -> None:
        """Renew leases; send away whose token is revoked or rotated out, or whose bridge is held elsewhere; keep what was told."""
        held = [Held(one.bridge_id, one.session, one.token_digest, one.journal, one.load) for one in connections]
        lost = await self._threads.run_twice(lambda: sessions.renew(held=held))
        for one in held:
            connection = self._by_bridge.get(one.bridge_id)
            if one.bridge_id in lost and connection is not None and connection.session == one.session:
                _send_away(connection, lost[one.bridge_id])
        await self._note_policies([one for one in connections if one.policies])

    async def _note_policies(self, connections: list[Connection]) -> None:
        if not connections:
            return
        told = [Told(one.bridge_id, one.session, tuple(one.policies)) for one in connections]
        await self._threads.run_twice(lambda: sessions.note_policies(told=told))
        for connection, noted in zip(connections, told, strict=True):
            connection.policies = [one for one in connection.policies if one not in noted.policies]

    # Nudges

    async def _listen(self) -> None:
        """Redis may come and go; without it the rounds do the same, later."""
        while True:
            try:
                layer = get_channel_layer()
                channel = await layer.new_channel()
                await layer.group_add(nudges.HUB_GROUP, channel)
                while True:
                    message = await layer.receive(channel)
                    self.nudge(bridge_id=int(message["bridge"]), is_offer=bool(message.get("is_offer")))
            # The layer raises whatever its Redis client does; none of it may end the listening.
            except Exception as error:  # noqa: BLE001
                logger.warning("no nudges", extra={"error": repr(error)})
                await asyncio.sleep(LISTEN_AGAIN_S)


def here() -> Hub:
    """The hub of this process, started with the first connection."""
    global _hub, _loop
    loop = asyncio.get_running_loop()
    if _hub is None or _loop is not loop:
        _hub, _loop = Hub(), loop
        _hub.start()
    return _hub


_hub: Hub | None = None
_loop: asyncio.AbstractEventLoop | None = None


def _known(connection: Connection) -> outgoing.Known:
    recent = time.monotonic() - SEND_AGAIN_S
    for key in [key for key, at in connection.offered.items() if at < recent]:
        del connection.offered[key]
    return outgoing.Known(session=connection.session, offered=frozenset(connection.offered))


def _is_news(connection: Connection, errand: outgoing.Errand) -> bool:
    """Whether this connection has not been told; from now on it has."""
    match errand.kind:
        case "offer" if errand.key in _known(connection).offered:
            return False
        case "offer":
            connection.offered[errand.key] = time.monotonic()
        case "decision" if errand.key[0] in connection.decisions:
            return False
        case "decision":
            connection.decisions.add(errand.key[0])
        case "steer" if errand.key[0] in connection.steers:
            return False
        case "steer":
            connection.steers.add(errand.key[0])
    return True


def _send_away(connection: Connection, lost: Lost) -> None:
    match lost:
        case Lost.REVOKED:
            connection.bye("revoked", reconnect=False, message="the bridge token is not valid any more")
        case Lost.REPLACED:
            connection.bye("replaced", reconnect=False, message="another connection uses this bridge's token")
        case Lost.OVERTAKEN:
            connection.bye("silent", message="this bridge has said hello on another connection")


def _unpark(bridge_ids: list[int]) -> None:
    approvals.expire_due()
    for pk in sessions.waiting_rows(bridge_ids=bridge_ids):
        transitions.unpark(invocation_id=pk)


async def _forever(act: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await act()
        # Outermost loop: the hub goes on for everyone, whatever one frame or row has done.
        except Exception:
            logger.exception("hub background failed")
            await asyncio.sleep(TICK_S)
