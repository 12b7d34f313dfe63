"""What does the chat's REST limiter leave us? Learned from its answers, so that we wait instead of being refused.

Rocket.Chat counts calls by route and address in fixed windows, for every account without `api-bypass-rate-limit` (stock
bots have it). It tells limited callers what is left; whom it tells nothing is not limited. The clock is passed in.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

WINDOW_S: Final = 60.0
SLACK_S: Final = 0.05
"""Past the end of a window, so that the chat's clock has turned too."""

LONGEST_WINDOW_S: Final = 300.0
NEWCOMERS: Final = 5
"""Calls under way at once of accounts that don't know yet whether they are limited: fewer than any limit allows."""

MAX_ROUTES: Final = 200
"""Routes kept; there are some forty. Beyond it all are forgotten and learned again."""


@dataclass(slots=True)
class _Window:
    limit: int
    left: int
    ends_at: float


class Limits:
    """One for all accounts of a process: those that are limited share what the address has."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[str, _Window] = {}
        self._limit = 0
        self.newcomers = asyncio.Semaphore(NEWCOMERS)
        self._final_waits: dict[str, float] = {}

    @property
    def are_known(self) -> bool:
        """Somebody has been told of a limit."""
        return self._limit > 0

    def heard(self, route: str, headers: Mapping[str, str]) -> bool:
        """What an answer says of its route; whether its caller is limited at all."""
        found = _read(headers)
        if found is None:
            return False
        limit, left, ends_in_s = found
        now = self._clock()
        self._limit = limit
        window = self._windows.get(route)
        if window is not None and window.ends_at > now:
            # Calls that are still under way are counted here and not there yet.
            left = min(left, window.left)
        if len(self._windows) > MAX_ROUTES:
            self._windows.clear()
        self._windows[route] = _Window(limit, left, now + min(ends_in_s, LONGEST_WINDOW_S) + SLACK_S)
        return True

    def take(self, route: str) -> float:
        """0: the call is counted and may be made. Else so many seconds until it makes sense to ask again."""
        window = self._window(route)
        if window is None:
            return 0.0
        if window.left <= 0:
            return max(window.ends_at - self._clock(), SLACK_S)
        window.left -= 1
        return 0.0

    def look(self, route: str, *, is_final: bool) -> float:
        """As `take`, without counting: whether to begin something that needs this route.

        What is final goes before what is not: that gets at most half of each window, and nothing while a final waits.
        """
        window, now = self._window(route), self._clock()
        if window is None:
            return 0.0
        if is_final:
            if window.left > 0:
                return 0.0
            self._final_waits[route] = window.ends_at + 1.0
            return max(window.ends_at - now, SLACK_S)
        if window.left > window.limit // 2 and self._final_waits.get(route, 0.0) <= now:
            return 0.0
        return max(window.ends_at - now, SLACK_S)

    def _window(self, route: str) -> _Window | None:
        """The window that counts now; a route never called is as limited as the others."""
        now = self._clock()
        window = self._windows.get(route)
        if window is not None and window.ends_at > now:
            return window
        if not self._limit:
            return None
        self._windows[route] = _Window(self._limit, self._limit, now + WINDOW_S)
        return self._windows[route]


def _read(headers: Mapping[str, str]) -> tuple[int, int, float] | None:
    """(limit, left, seconds until the window ends); the end is an absolute time, read against the answer's own clock."""
    try:
        limit, left = int(headers["x-ratelimit-limit"]), int(headers["x-ratelimit-remaining"])
        ends_s = float(headers["x-ratelimit-reset"]) / 1000
        return limit, left, max(ends_s - parsedate_to_datetime(headers["date"]).timestamp(), 0.0)
    except (KeyError, ValueError, TypeError):
        return None
