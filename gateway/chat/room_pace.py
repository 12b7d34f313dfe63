"""When may a room's next edit be made? One a second, counted for all agents of all chat processes that serve the room.

Redis keeps the room's next free moment, by its own clock. Without it each process counts for itself: a room may then see
an edit more, and nobody is silenced.
"""

import logging
import math
from collections.abc import Callable
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

PACE_S: Final = 1.0
STEP_S: Final = 0.02
"""Those that wait for one moment ask so far apart, who has waited longest first."""

TICK_S: Final = 0.001
"""What is nearer than this is now: no clock tells them apart, and a wait that small would not end."""

LATE_S: Final = 0.5
"""Who does not come for his moment loses it this much later."""

MAX_ROOMS: Final = 2_000
"""Rooms remembered; beyond it those whose moment has passed are forgotten."""

LONGEST_S: Final = 30.0
"""Nothing waits longer for its turn, however many end at once, and whatever Redis thinks the time is."""

REDIS_TIMEOUT_S: Final = 0.3
AWAY_S: Final = 5.0
"""After a failure Redis is left alone for this long, so that one that is silent does not slow every edit down."""

_ASK: Final = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local free = tonumber(redis.call('GET', KEYS[1]) or 0)
if free < ms or free > ms + tonumber(ARGV[3]) then free = ms end
if free > ms and ARGV[2] == '0' then return free - ms end
redis.call('SET', KEYS[1], string.format('%.0f', free + ARGV[1]), 'PX', string.format('%.0f', free - ms + ARGV[1]))
return free - ms
"""


class Shared(Protocol):
    """What all chat processes see."""

    async def ask(self, *, rid: str, is_booking: bool) -> float | None:
        """Seconds until the room's next free moment, taken for us if it is now or `is_booking`; None: not known."""
        ...


class RoomPace:
    """One for all accounts of a process. What is final books the next free moment; what is not takes one that is left."""

    def __init__(self, *, clock: Callable[[], float], shared: Shared | None = None) -> None:
        self._clock = clock
        self._shared = shared
        self._free_at: dict[str, float] = {}
        self._waiting: dict[str, dict[str, float]] = {}

    async def book(self, *, rid: str) -> float:
        """Seconds until a moment that is now ours."""
        told = await self._ask(rid, is_booking=True)
        wait_s = min(max(told or 0.0, self._left_s(rid)), LONGEST_S)
        self._set(rid, self._clock() + wait_s + PACE_S)
        return wait_s

    async def take(self, *, rid: str, who: str) -> float:
        """0: this moment is ours. Else so many seconds until it makes sense to ask again: who has waited longest is first."""
        rank = self._rank(rid, who)
        wait_s = self._left_s(rid)
        if not wait_s and not rank:
            told = await self._ask(rid, is_booking=False)
            wait_s = self._left_s(rid) if told is None else told
            if not wait_s:
                self.leave(rid=rid, who=who)
                self._set(rid, self._clock() + PACE_S)
                return 0.0
            self._set(rid, self._clock() + wait_s)
        wait_s += rank * STEP_S
        self._waiting[rid][who] = self._clock() + wait_s
        return wait_s

    def leave(self, *, rid: str, who: str) -> None:
        """Does not wait for a moment any more."""
        self._waiting.get(rid, {}).pop(who, None)

    async def _ask(self, rid: str, *, is_booking: bool) -> float | None:
        return None if self._shared is None else await self._shared.ask(rid=rid, is_booking=is_booking)

    def _left_s(self, rid: str) -> float:
        left_s = self._free_at.get(rid, -math.inf) - self._clock()
        return left_s if left_s > TICK_S else 0.0

    def _set(self, rid: str, free_at: float) -> None:
        now = self._clock()
        if len(self._free_at) >= MAX_ROOMS:
            self._free_at = {room: at for room, at in self._free_at.items() if at > now}
            self._waiting = {room: known for room, known in self._waiting.items() if room in self._free_at}
        self._free_at[rid] = free_at

    def _rank(self, rid: str, who: str) -> int:
        """How many have waited longer in this room, and still come for their moment."""
        now = self._clock()
        known = self._waiting.setdefault(rid, {})
        for late in [name for name, due in known.items() if now > due + LATE_S and name != who]:
            del known[late]
        # Asking again does not change one's place.
        known.setdefault(who, now)
        return list(known).index(who)


class RedisPace:
    """The room's next free moment in Redis."""

    def __init__(self, *, url: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._away_until = -math.inf
        self._redis: Any = Redis.from_url(
            url,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._script = self._redis.register_script(_ASK)

    async def ask(self, *, rid: str, is_booking: bool) -> float | None:
        if self._clock() < self._away_until:
            return None
        try:
            left_ms = await self._script(
                keys=[f"nexus:room-pace:{rid}"], args=[int(PACE_S * 1000), int(is_booking), int(LONGEST_S * 1000)]
            )
        except (RedisError, OSError, TimeoutError) as error:
            logger.info("room pace unreachable", extra={"room": rid, "error": repr(error)[:200]})
            self._away_until = self._clock() + AWAY_S
            return None
        return float(left_ms) / 1000

    async def close(self) -> None:
        await self._redis.aclose()
