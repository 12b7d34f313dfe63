"""Do this process's loops still go round? Each says how often it will be heard, and is heard from each time it did its work."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Expected:
    within_s: float
    what: str
    heard_at: float


class Beats:
    """`expect` once, `beat` after each round that did its work: a round that failed is not heard. Any thread may call."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._expected: dict[str, _Expected] = {}
        self._lock = threading.Lock()

    def expect(self, name: str, *, within_s: float, what: str) -> None:
        """`what` follows "for 40 s nobody has …": renewed leases, looked for work."""
        with self._lock:
            self._expected[name] = _Expected(within_s, what, self._clock())

    def beat(self, name: str) -> None:
        one = self._expected.get(name)
        if one is not None:
            one.heard_at = self._clock()

    def forget(self, *names: str) -> None:
        """These loops have ended as they should."""
        with self._lock:
            for name in names:
                self._expected.pop(name, None)

    def ages_s(self) -> dict[str, float]:
        """Since when each was last heard."""
        with self._lock:
            return {name: self._clock() - one.heard_at for name, one in self._expected.items()}

    def late(self) -> list[str]:
        """A sentence for each that should have been heard."""
        now = self._clock()
        with self._lock:
            expected = list(self._expected.values())
        return [
            f"for {now - one.heard_at:.0f} s this process has not {one.what}"
            for one in expected
            if now - one.heard_at > one.within_s
        ]
