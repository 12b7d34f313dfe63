"""One bot account that this process holds: its REST client, its connection, its poster, and the rooms it is in."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from gateway.chat.database import DatabaseThread
from gateway.chat.desk import AccountBrokenError
from gateway.chat.leases import Held
from gateway.chat.listener import Listener, waits
from gateway.chat.outbox import Account as PosterAccount
from gateway.chat.outbox import LeaseLostError
from gateway.chat.poster import Poster
from gateway.chat.room_pace import RoomPace
from gateway.chat.typing import TypingSign
from gateway.rocketchat.events import ChatSubscription
from gateway.rocketchat.realtime import Conversation, Event
from gateway.rocketchat.rest import RestClient

logger = logging.getLogger(__name__)

MARGIN_S: Final = 3.0
"""A lease counts as over this long before it is, for clocks and slow calls."""


class Crew(Protocol):
    """What an account needs of the process around it."""

    owner: str

    def heard(self, account: "Account", event: Event) -> None: ...
    def login_refused(self, account: "Account", reason: str) -> None: ...
    def broken(self, account: "Account", reason: str) -> None: ...
    async def read_rooms(self, account: "Account") -> None:
        """Once the account's rooms may have changed; raises nothing but cancellation."""


class Account:
    """`run` serves it until cancelled. `rooms` are those whose rows are in the database; `until` is of `clock`.

    `watched` are the rooms whose deletions it is to hear, `deaf` those where the chat does not let it.
    """

    def __init__(
        self,
        *,
        held: Held,
        rest: RestClient,
        token: str,
        socket_url: str,
        trust: ssl.SSLContext | None,
        until: float,
        crew: Crew,
        post_thread: DatabaseThread,
        pace: RoomPace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.held = held
        self.rest = rest
        self.until = until
        self.rooms: dict[str, ChatSubscription] = {}
        self.watched: set[str] = set()
        self.deaf: set[str] = set()
        self.looked_for: set[str] = set()
        self.ready_ms = 0
        self.rooms_changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.poster: Poster | None = None
        self._crew = crew
        self._post_thread = post_thread
        self._pace = pace
        self._clock = clock
        self.listener = Listener(
            url=socket_url,
            trust=trust,
            make_conversation=lambda: Conversation(user_id=held.rocketchat_id, username=held.username, token=token),
            on_event=partial(crew.heard, self),
            on_refused=partial(crew.login_refused, self),
            name=held.username,
        )
        self.typing = TypingSign(tell=self._tell_typing)

    @property
    def is_online(self) -> bool:
        return self.listener.is_ready

    def is_held(self) -> bool:
        return self._clock() < self.until - MARGIN_S

    async def run(self) -> None:
        pauses = waits()
        while True:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self.listener.run(), name=f"listener {self.held.username}")
                    group.create_task(self.typing.run(), name=f"typing {self.held.username}")
                    group.create_task(self._post(), name=f"poster {self.held.username}")
                    group.create_task(self._read_rooms(), name=f"rooms {self.held.username}")
            # Outermost: what goes wrong with one account must not end the process, nor this account for good.
            except Exception:
                logger.exception("account failed", extra={"account": self.held.username})
            await asyncio.sleep(next(pauses))

    async def _read_rooms(self) -> None:
        while True:
            await self.rooms_changed.wait()
            self.rooms_changed.clear()
            await self._crew.read_rooms(self)

    async def _post(self) -> None:
        """A poster as long as the account is ours; one that failed is replaced."""
        pauses = waits()
        who = PosterAccount(
            id=self.held.pk,
            agent_id=self.held.agent_id,
            username=self.held.username,
            lease_owner=self._crew.owner,
        )
        while True:
            self.poster = Poster(
                account=who,
                chat=self.rest,
                database=self._post_thread,
                is_held=self.is_held,
                typing=self.typing,
                pace=self._pace,
            )
            try:
                await self.poster.run()
            except AccountBrokenError as error:
                self._crew.broken(self, str(error))
            except LeaseLostError:
                logger.warning("lease lost", extra={"account": self.held.username})
            # Outermost: an account whose poster has ended says nothing more, so a new one begins.
            except Exception:
                logger.exception("poster failed", extra={"account": self.held.username})
            await asyncio.sleep(next(pauses))

    async def _tell_typing(self, rid: str, thread: str, is_typing: bool) -> None:
        await self.listener.typing(rid=rid, thread=thread, is_typing=is_typing)
