"""Is a neighbour that just failed worth asking right now?"""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Breaker:
    """After `failures` in a row nobody asks for `rest_s`; then one may try, and its outcome decides."""

    def __init__(
        self, *, name: str, failures: int = 1, rest_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._failures = failures
        self._rest_s = rest_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failed_count = 0
        self._rest_until = 0.0

    def is_closed(self) -> bool:
        """Whether to ask. While the breaker rests, only the first caller after the rest gets a yes."""
        with self._lock:
            if self._failed_count < self._failures:
                return True
            if self._clock() < self._rest_until:
                return False
            self._rest_until = self._clock() + self._rest_s
            return True

    def succeeded(self) -> None:
        with self._lock:
            self._failed_count = 0

    def failed(self, *, reason: str) -> None:
        with self._lock:
            self._failed_count += 1
            self._rest_until = self._clock() + self._rest_s
        logger.warning("neighbour failed, resting", extra={"neighbour": self.name, "reason": reason[:200]})
