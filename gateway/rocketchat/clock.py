"""What time is it in the chat? Messages carry its time, so their age is not told by ours where the two clocks differ."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

logger = logging.getLogger(__name__)

NOTICED_S: Final = 5.0
"""Smaller differences are left alone: the chat tells whole seconds, and answers take their time."""

WARNED_S: Final = 60.0


class ChatClock:
    """Seconds since 1970 by the chat's clock, as far as its answers have told."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._ahead_s = 0.0

    def heard(self, date: str | None) -> None:
        """The `Date` of an answer that has just come."""
        told = _seconds(date)
        if told is None:
            return
        # It was cut to whole seconds: on average half of one is missing.
        ahead_s = told + 0.5 - self._clock()
        if abs(ahead_s) < NOTICED_S:
            ahead_s = 0.0
        if abs(ahead_s - self._ahead_s) < NOTICED_S:
            return
        if abs(ahead_s) >= WARNED_S:
            logger.warning("clocks differ; set this host's or the chat's", extra={"chat_ahead_s": round(ahead_s)})
        self._ahead_s = ahead_s

    def time(self) -> float:
        return self._clock() + self._ahead_s

    def ms(self) -> int:
        return int(self.time() * 1000)


def _seconds(date: str | None) -> float | None:
    try:
        parsed: datetime = parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return None
    return parsed.timestamp()
