"""One bridge's connection as the hub sees it: what it may still say, what waits to be sent, why it closes."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from nexus_bridge.protocol import Bye, ByeReason, Error, Frame, Load, Policy, encode

BAD_FRAMES_PER_MINUTE: Final = 5
HEARTBEATS_PER_S: Final = 5
MAX_UNSENT_BYTES: Final = 24 * 1024 * 1024
"""Room for a few of the largest prompts. A peer that reads nothing is closed as slow beyond it."""

# Of the range for applications only: autobahn sends no other code than these and 1000.
CLOSE_CODES: Final[dict[ByeReason, int]] = {
    "replaced": 4409,
    "revoked": 4403,
    "slow": 4008,
    "upgrade_required": 4426,
    "shutting_down": 4012,
    "protocol_error": 4400,
    "silent": 4408,
}
HELLO_REQUIRED: Final = 4401
_CLOSE_WORDS: Final = {code: str(reason) for reason, code in CLOSE_CODES.items()} | {HELLO_REQUIRED: "hello_required"}

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Connection:
    """Made when the token was found good; `session` is empty until `hello` was answered.

    Everything here happens in the event loop. Frames go out in the order of `post`, by one background at a time.
    """

    __slots__ = (
        "_bad_frames",
        "_drain",
        "_heartbeats",
        "_outbox",
        "_send",
        "_unsent_bytes",
        "accepted",
        "bridge_id",
        "closing_at",
        "decisions",
        "heard_at",
        "journal",
        "load",
        "name",
        "offered",
        "opened_at",
        "policies",
        "policies_due",
        "rewound",
        "session",
        "steers",
        "task",
        "token_digest",
        "uncommitted",
    )

    def __init__(self, *, bridge_id: int, name: str, token_digest: str, send: Send) -> None:
        self.bridge_id = bridge_id
        self.name = name
        self.token_digest = token_digest
        self.session = self.journal = ""
        self.load = Load()
        self.opened_at = self.heard_at = time.monotonic()
        self.closing_at: float | None = None
        self.uncommitted = 0
        self.task: asyncio.Task[Any] | None = asyncio.current_task()
        self.offered: dict[tuple[int, int], float] = {}
        """When each offer, by invocation and fence, was last sent on this connection."""
        self.decisions: set[int] = set()
        """Approvals whose decision was sent on this connection."""
        self.steers: set[int] = set()
        """Additions that were sent on this connection; the bridge counts each once all the same."""
        self.policies_due: set[str] = set()
        """Agents of which this connection may still tell the policy, once."""
        self.policies: list[Policy] = []
        """What was told and is not stored yet."""
        self.accepted: dict[int, float] = {}
        """When each run that goes on was accepted on this connection, by `time.time()`."""
        self.rewound: dict[int, int] = {}
        """For each run with a gap the seq that was asked for: frames already under way ask for it only once."""
        self._send = send
        self._outbox: deque[str | int] = deque()
        self._unsent_bytes = 0
        self._drain: asyncio.Task[None] | None = None
        self._bad_frames: deque[float] | None = None
        self._heartbeats: deque[float] | None = None

    @property
    def is_closing(self) -> bool:
        return self.closing_at is not None

    def post(self, frame: Frame) -> None:
        """Send after what waits already. After `close` nothing is taken any more."""
        if self.is_closing:
            return
        text = encode(frame)
        self._unsent_bytes += len(text)
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            self._outbox.clear()
            self._unsent_bytes = 0
            self.bye("slow", message="the bridge does not read what the hub sends")
            return
        self._put(text)

    def bye(self, reason: ByeReason, *, message: str = "", reconnect: bool = True) -> None:
        """Say why, then close."""
        self.post(Bye(reason=reason, reconnect=reconnect, message=message))
        self.close(CLOSE_CODES[reason])

    def close(self, code: int) -> None:
        if not self.is_closing:
            self.closing_at = time.monotonic()
            self._put(code)

    def bad_frame(self, error: Error) -> None:
        """Answer what can't be used; somebody who goes on like that is sent away."""
        self.post(error)
        if self._bad_frames is None:
            self._bad_frames = deque(maxlen=BAD_FRAMES_PER_MINUTE)
        if _is_too_many(self._bad_frames, within_s=60):
            self.bye("protocol_error", message="too many frames that can't be used")

    def is_beating_too_fast(self) -> bool:
        if self._heartbeats is None:
            self._heartbeats = deque(maxlen=HEARTBEATS_PER_S + 1)
        return _is_too_many(self._heartbeats, within_s=1)

    async def drained(self) -> None:
        """Wait until what was posted has left, or can't leave."""
        if self._drain is not None:
            await asyncio.wait([self._drain])

    def _put(self, item: str | int) -> None:
        self._outbox.append(item)
        if self._drain is None:
            self._drain = asyncio.create_task(self._send_all(), name="hub send")

    async def _send_all(self) -> None:
        try:
            while self._outbox:
                item = self._outbox.popleft()
                if isinstance(item, int):
                    await self._send({"type": "websocket.close", "code": item, "reason": _CLOSE_WORDS.get(item, "")})
                else:
                    self._unsent_bytes -= len(item)
                    await self._send({"type": "websocket.send", "text": item})
        except (OSError, RuntimeError):
            # The peer has gone; servers tell it by either. The frame loop hears of it as a disconnect.
            self._outbox.clear()
        finally:
            self._drain = None


def _is_too_many(times: deque[float], *, within_s: float) -> bool:
    """Note one more; whether the deque is full of notes that are younger than this."""
    now = time.monotonic()
    times.append(now)
    return len(times) == times.maxlen and times[0] > now - within_s
