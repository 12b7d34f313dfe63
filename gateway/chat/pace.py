"""When may one account talk to the chat again after a refusal or an outage? And the clock that all of posting reads."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Final

FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 15.0


class Clock:
    """Monotonic seconds, and waits that an event cuts short; tests bring their own."""

    def now(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, *, until: float | None) -> None:
        """Until `event` is set or the time has come, whichever is first."""
        timeout = None if until is None else max(0.0, until - self.now())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await event.wait()


def backoff(*, first_s: float = FIRST_WAIT_S, cap_s: float = LONGEST_WAIT_S) -> Iterator[float]:
    """Waits that double up to the cap, each with up to a quarter more, so that many accounts don't come back at once."""
    wait = first_s
    while True:
        yield wait * (1 + random.random() / 4)  # noqa: S311  (jitter, not a secret)
        wait = min(wait * 2, cap_s)


class Budget:
    """So many calls at once, and one more every `every_s`: at most burst + t / every_s in any span t."""

    def __init__(self, *, burst: int, every_s: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._every_s = every_s
        self._clock = clock
        self._left = float(burst)
        self._at = clock()

    @property
    def left(self) -> int:
        """How many could be made now."""
        return int(min(float(self._burst), self._left + (self._clock() - self._at) / self._every_s))

    def take(self, *, spare: int = 0) -> bool:
        """Whether one more may be made; `spare` are left for what matters more."""
        now = self._clock()
        self._left = min(float(self._burst), self._left + (now - self._at) / self._every_s)
        self._at = now
        if self._left < 1 + spare:
            return False
        self._left -= 1
        return True


class Gate:
    """All rooms of an account wait at it while the chat is down or has said how long to wait."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._waits = backoff()
        self._opens_at = float("-inf")

    async def passed(self) -> None:
        while self._clock.now() < self._opens_at:
            await self._clock.wait(asyncio.Event(), until=self._opens_at)

    def down(self) -> None:
        """No usable answer came. Several rooms that find out at once count as one failure."""
        if self._clock.now() >= self._opens_at:
            self._opens_at = self._clock.now() + next(self._waits)

    def told(self, wait_s: float) -> None:
        self._opens_at = max(self._opens_at, self._clock.now() + wait_s)

    def up(self) -> None:
        self._waits = backoff()
