"""What makes one running stand-in: the store and everything that listens to it."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.devchat import accounts, rooms, snapshot
from gateway.devchat.ddp import Method, Session
from gateway.devchat.faults import Faults
from gateway.devchat.limits import DdpLimiter, Windows
from gateway.devchat.methods import METHODS
from gateway.devchat.models import CHANNEL, User
from gateway.devchat.permissions import OWNER
from gateway.devchat.store import Store
from gateway.devchat.streams import Broker
from gateway.devchat.switches import Switches
from gateway.devchat.uploads import Uploads
from gateway.devchat.webhooks import Webhooks
from gateway.devchat.wire import Document

logger = logging.getLogger("devchat")

HOUSEKEEPING_S = 2.0
GENERAL = "GENERAL"
CAT = "rocket.cat"


@dataclass(frozen=True, slots=True)
class Admin:
    username: str
    password: str
    email: str = ""
    name: str = ""
    is_verified: bool = False


class Workspace:
    """Everything but the sockets. `start` needs a running loop; `stop` ends what was started."""

    def __init__(
        self,
        *,
        folder: Path,
        switches: Switches | None = None,
        admin: Admin | None = None,
        snapshot_path: Path | None = None,
        store: Store | None = None,
    ) -> None:
        self.store = store or Store(switches=switches)
        self.faults = Faults()
        self.windows = Windows(self.store.now)
        self.limiter = DdpLimiter(self.store, self.windows)
        self.methods: dict[str, Method] = METHODS
        self.webhooks = Webhooks(store=self.store)
        self.uploads = Uploads(store=self.store, folder=folder)
        self.broker = Broker(store=self.store, faults=self.faults, later=self.later, on_occurrence=self.webhooks.fire)
        self._admin = admin
        self._first_switches = replace(self.store.switches)
        self._snapshot_path = snapshot_path
        self._saved_changes = 0
        self._writing = threading.Lock()
        self._connections: dict[str, int] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._housekeeping: asyncio.Task[None] | None = None
        self._fill()
        self.store.publish = self.broker.publish

    def _fill(self) -> None:
        if self._snapshot_path is not None and snapshot.read(self.store, self._snapshot_path):
            self._saved_changes = self.store.changes
        if self.store.user_named(CAT) is None:
            accounts.create_user(
                self.store, username=CAT, name="Rocket.Cat", email="", password="", roles=["bot"], user_id=CAT
            ).password = ""  # nobody logs in as the built-in bot
        if GENERAL not in self.store.rooms:
            cat = self.store.users[CAT]
            rooms.create_room(
                self.store, kind=CHANNEL, name="general", creator=cat, members=[], is_default=True, room_id=GENERAL
            )
        self._seed_admin()

    def _seed_admin(self) -> None:
        """As upstream: only if there is no admin yet."""
        if self._admin is None or any("admin" in user.roles for user in self.store.users.values()):
            return
        admin = accounts.create_user(
            self.store,
            username=self._admin.username,
            name=self._admin.name or self._admin.username,
            email=self._admin.email,
            password=self._admin.password,
            roles=["admin"],
            verified=self._admin.is_verified,
        )
        general = self.store.rooms[GENERAL]
        rooms.join(self.store, room=general, user=admin)
        general.members[admin.id].roles = [OWNER]

    # what conversations and calls need

    def later(self, delay_ms: int, act: Callable[[], None]) -> None:
        handle: asyncio.TimerHandle

        def run() -> None:
            self._timers.discard(handle)
            act()

        handle = asyncio.get_running_loop().call_later(delay_ms / 1000, run)
        self._timers.add(handle)

    def presence(self, user: User, *, change: int) -> None:
        """An open connection makes its user online, the last one closing offline."""
        count = self._connections.get(user.id, 0) + change
        self._connections[user.id] = count
        if user.id not in self.store.users:
            return
        if count > 0 and user.status == "offline":
            accounts.set_status(self.store, user, status="online")
        elif count <= 0:
            self._connections.pop(user.id, None)
            accounts.set_status(self.store, user, status="offline")

    def call_method(self, caller: User | None, name: str, params: list[Any], call_id: str) -> Document:
        """A DDP method called over REST: a conversation of one call."""
        session = Session(host=self, wake=lambda: None)
        session.user = caller
        answer = session.call(name, params, call_id)
        session.user = None
        session.ended()
        return answer

    def reset(self) -> None:
        """Back to the beginning: everybody is cut off, everything is forgotten, switches are as at the start."""
        for session in list(self.broker.sessions):
            session.abort()
        self.faults.clear()
        self.windows.clear()
        fresh = Store(clock=self.store.now, switches=replace(self._first_switches))
        fresh.publish = self.store.publish
        changes = self.store.changes
        self.store.__dict__.update(fresh.__dict__)
        self.store.changes = changes + 1
        self._connections.clear()
        self._fill()

    # life

    async def start(self) -> None:
        self._housekeeping = asyncio.create_task(self._keep_house(), name="devchat housekeeping")

    async def stop(self) -> None:
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._housekeeping
        for handle in self._timers:
            handle.cancel()
        await self.webhooks.stop()
        self.save()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            try:
                for session in list(self.broker.sessions):
                    session.tick()
                await self._save_aside()
            except Exception:
                # The outermost loop: a full disk or one odd session must not end the housekeeping.
                logger.exception("housekeeping failed")

    def save(self) -> None:
        if self._is_unsaved():
            self._write(self.store.changes, snapshot.text_of(self.store))

    async def _save_aside(self) -> None:
        """The same between two turns of the loop: the disk is waited for in a thread."""
        if self._is_unsaved():
            await asyncio.to_thread(self._write, self.store.changes, snapshot.text_of(self.store))

    def _is_unsaved(self) -> bool:
        return self._snapshot_path is not None and self.store.changes != self._saved_changes

    def _write(self, changes: int, text: str) -> None:
        # At the end a thread may still be writing an older state; it must not replace the last one.
        with self._writing:
            if self._snapshot_path is not None and changes > self._saved_changes:
                snapshot.write(text, self._snapshot_path)
                self._saved_changes = changes
