"""How often may somebody call? Fixed windows, as Rocket.Chat counts for REST and for DDP."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from gateway.devchat.errors import ChatError
from gateway.devchat.models import User
from gateway.devchat.store import Store

# Windows live until their time is over; beyond this many the dead ones are swept, then the counting goes on.
MAX_WINDOWS = 20_000


@dataclass(frozen=True, slots=True)
class Allowance:
    is_allowed: bool
    limit: int
    remaining: int
    reset_at: int


class Windows:
    def __init__(self, clock: Callable[[], int]) -> None:
        self._now = clock
        self._windows: dict[Hashable, tuple[int, int]] = {}
        self.refused = 0

    def hit(self, key: Hashable, *, limit: int, period_ms: int) -> Allowance:
        now = self._now()
        count, reset_at = self._windows.get(key, (0, 0))
        if reset_at <= now:
            count, reset_at = 0, now + period_ms
        count += 1
        if len(self._windows) >= MAX_WINDOWS:
            self._windows = {held: window for held, window in self._windows.items() if window[1] > now}
        self._windows[key] = (count, reset_at)
        self.refused += count > limit
        return Allowance(count <= limit, limit, max(0, limit - count), reset_at)

    def clear(self) -> None:
        self._windows.clear()
        self.refused = 0


@dataclass(frozen=True, slots=True)
class Rule:
    scope: str
    limit: int
    period_ms: int


PER_USER = Rule("user", 1200, 60_000)
PER_CONNECTION = Rule("connection", 600, 60_000)
PER_USER_NAME = Rule("user-name", 20, 10_000)
PER_USER_STREAM = Rule("user-name", 80, 40_000)
PER_CONNECTION_NAME = Rule("connection-name", 10, 10_000)
PER_CONNECTION_STREAM = Rule("connection-name", 40, 40_000)
# Names with a rule of their own are exempt from the rules per name; `send-many-messages` lifts them.
OWN_RULES = {"sendMessage": Rule("own", 5, 1_000), "createDirectMessage": Rule("own", 10, 60_000)}
LOGIN_RULE = Rule("login", 5, 10_000)


class DdpLimiter:
    """Methods and subscriptions count alike; there is no permission that lifts the general rules."""

    def __init__(self, store: Store, windows: Windows) -> None:
        self._store = store
        self._windows = windows

    def check(self, *, name: str, session_id: str, user: User | None) -> None:
        """Raises too-many-requests."""
        if not self._store.switches.limits_enabled:
            return
        for rule, subject in self._rules(name, session_id, user):
            key = (rule.scope, subject, name if "name" in rule.scope or rule.scope in ("own", "login") else "")
            allowance = self._windows.hit(key, limit=rule.limit, period_ms=rule.period_ms)
            if not allowance.is_allowed:
                wait_ms = max(1, allowance.reset_at - self._store.now())
                raise ChatError(
                    "too-many-requests",
                    "Error, too many requests. Please slow down. "
                    f"You must wait {-(-wait_ms // 1000)} seconds before trying again.",
                    {"timeToReset": wait_ms},
                )

    def _rules(self, name: str, session_id: str, user: User | None) -> list[tuple[Rule, str]]:
        rules = [(PER_CONNECTION, session_id)]
        if user:
            rules.append((PER_USER, user.id))
        if name == "login":
            return [*rules, (LOGIN_RULE, session_id)]
        if name in OWN_RULES:
            exempt = user is not None and self._store.may(user, "send-many-messages")
            return rules if exempt or user is None else [*rules, (OWN_RULES[name], user.id)]
        is_stream = name.startswith("stream-")
        rules.append((PER_CONNECTION_STREAM if is_stream else PER_CONNECTION_NAME, session_id))
        if user:
            rules.append((PER_USER_STREAM if is_stream else PER_USER_NAME, user.id))
        return rules
