"""One bot account that this process holds: its REST client, its connection, its poster, and the rooms it is in."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.chat.leases import Held
from gateway.chat.listener import Listener
from gateway.chat.poster import Poster
from gateway.chat.typing import TypingSign
from gateway.rocketchat.events import ChatSubscription
from gateway.rocketchat.rest import RestClient

MARGIN_S = 3.0
"""A lease counts as over this long before it is, for clocks and slow calls."""


@dataclass(slots=True, eq=False)
class Account:
    """`rooms` are those whose rows are in the database. `until` is of the process's own clock."""

    held: Held
    rest: RestClient
    until: float
    listener: Listener | None = None
    poster: Poster | None = None
    typing: TypingSign | None = None
    rooms: dict[str, ChatSubscription] = field(default_factory=dict)
    watched: set[str] = field(default_factory=set)
    ready_ms: int = 0
    refresh: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None
    clock: Callable[[], float] = time.monotonic

    @property
    def is_online(self) -> bool:
        return self.listener is not None and self.listener.is_ready

    def is_held(self) -> bool:
        return self.clock() < self.until - MARGIN_S

    async def tell_typing(self, rid: str, thread: str, is_typing: bool) -> None:
        """One call on the connection; raises ConnectionError when there is none."""
        if self.listener is None:
            raise ConnectionError("not connected")
        await self.listener.typing(rid=rid, thread=thread, is_typing=is_typing)
