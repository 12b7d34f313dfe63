"""Who has offered too many wrong secrets, and for which secret have too many been offered? Both have to wait."""

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

FAILURES_PER_MINUTE: Final = 20
"""From one address."""

FAILURES_OF_ONE_PER_MINUTE: Final = 60
"""For one token or account, from all addresses together."""

MAX_KEYS: Final = 10_000
_IPV6_NETWORK: Final = 64


@dataclass(slots=True)
class _Failures:
    """Times of failures per key. Bounded: what failed longest ago is forgotten first."""

    clock: Callable[[], float]
    per_minute: int
    _times: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def is_over(self, key: str) -> bool:
        times = self._times.get(key)
        if times is None:
            return False
        while times and times[0] < self.clock() - 60:
            times.popleft()
        return len(times) >= self.per_minute

    def failed(self, key: str) -> None:
        times = self._times.setdefault(key, deque(maxlen=self.per_minute))
        times.append(self.clock())
        self._times.move_to_end(key)
        if len(self._times) > MAX_KEYS:
            self._times.popitem(last=False)


class FailureLimit:
    """Counts refusals per address, and per `secret`: what was guessed at, by a token's digest or an account's name.

    Above either limit the answer is to wait, whatever is brought. But who was let in before from the same address is not
    kept out by what others try for the same secret, or anybody could lock its owner out.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        per_minute: int = FAILURES_PER_MINUTE,
        of_one_per_minute: int = FAILURES_OF_ONE_PER_MINUTE,
    ) -> None:
        self._by_address = _Failures(clock, per_minute)
        self._by_secret = _Failures(clock, of_one_per_minute)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def is_over(self, *, address: str, secret: str = "") -> bool:
        network = _network(address)
        with self._lock:
            if self._by_address.is_over(network):
                return True
            return bool(secret) and (network, secret) not in self._known and self._by_secret.is_over(secret)

    def failed(self, *, address: str, secret: str = "") -> None:
        with self._lock:
            self._by_address.failed(_network(address))
            if secret:
                self._by_secret.failed(secret)

    def passed(self, *, address: str, secret: str) -> None:
        """It was the right one."""
        known = (_network(address), secret)
        with self._lock:
            self._known[known] = None
            self._known.move_to_end(known)
            if len(self._known) > MAX_KEYS:
                self._known.popitem(last=False)


def _network(address: str) -> str:
    """Whoever has one IPv6 address has its whole network."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    mapped = found.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((found, _IPV6_NETWORK), strict=False))
