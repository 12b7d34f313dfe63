"""Where a bot account is seen typing: started, renewed while it works, stopped; never worth an error or a delay."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.chat.pace import Clock

logger = logging.getLogger(__name__)

RENEW_S: Final = 8.0
"""Rocket.Chat's clients drop the sign after 15 s."""

BURST: Final = 20
REFILL_S: Final = 1.5
"""A sign more is looked for this often; how many the chat takes, the connection knows and refuses what is beyond it."""

Place = tuple[str, str]
Tell = Callable[[str, str, bool], Awaitable[None]]
"""(rid, thread, is typing): one call on the account's DDP connection; may raise OSError, TimeoutError or RuntimeError."""


class TypingSign:
    """`show` says where; `run` tells the chat. A connection that is down makes no sign and no harm."""

    def __init__(self, *, tell: Tell, clock: Clock | None = None) -> None:
        self._tell = tell
        self._clock = clock or Clock()
        self._wanted: frozenset[Place] = frozenset()
        self._shown: dict[Place, float] = {}
        self._wake = asyncio.Event()
        self._budget = float(BURST)
        self._budget_at = self._clock.now()

    def show(self, *, rooms: frozenset[Place]) -> None:
        if rooms != self._wanted:
            self._wanted = rooms
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            await self._tell_changes()
            await self._clock.wait(self._wake, until=self._next_at())

    async def _tell_changes(self) -> None:
        now = self._clock.now()
        for place in [place for place in self._shown if place not in self._wanted]:
            del self._shown[place]
            await self._say(place, is_typing=False)
        for place in sorted(self._wanted):
            if now - self._shown.get(place, float("-inf")) >= RENEW_S and self._may_spend(now):
                self._shown[place] = now
                await self._say(place, is_typing=True)

    async def _say(self, place: Place, *, is_typing: bool) -> None:
        rid, thread = place
        try:
            await self._tell(rid, thread, is_typing)
        except (OSError, TimeoutError, RuntimeError) as error:
            logger.debug("typing not shown", extra={"room": rid, "error": repr(error)})

    def _may_spend(self, now: float) -> bool:
        self._budget = min(BURST, self._budget + (now - self._budget_at) / REFILL_S)
        self._budget_at = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True

    def _next_at(self) -> float | None:
        if not self._wanted:
            return None
        oldest = min((self._shown.get(place, self._clock.now()) for place in self._wanted), default=0.0)
        return max(oldest + RENEW_S, self._clock.now() + REFILL_S)
