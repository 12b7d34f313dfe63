"""Nudges: hints that work is waiting, sent after commit from one background thread of the process.

A nudge may be lost at any time; the gateways' loops and the sweep find the same work in Postgres. So nothing here ever
raises into the caller, waits for it, or delays it: Redis that is down, or up but silent, costs a dropped hint.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction

from gateway.watch import figures

if TYPE_CHECKING:
    # At run time only who publishes loads it: some programs never do.
    from kombu import Connection, Producer

logger = logging.getLogger(__name__)

HUB_GROUP = "hub"
CHAT_GROUP = "chat"
CONSOLE_GROUP = "console"

WAITING_LIMIT = 1_000
"""Nudges waiting to be sent; above it new ones are dropped, for the sweep will find the work."""

SEND_TIMEOUT_S = 1.0

Act = Callable[["Courier"], Any]


def hub(*, bridge_id: int, is_offer: bool = False) -> None:
    """After commit: the gateway that holds this bridge's session looks what it has to send; at offers only if it is one."""
    body = {"type": "nudge", "bridge": bridge_id, "is_offer": is_offer}
    _after_commit(partial(Courier.to_group, group=HUB_GROUP, body=body))


def chat(*, agent_id: int | None, room_id: int | None = None, invocation_id: int | None = None) -> None:
    """After commit: the poster of this agent's bot account (None: of `nexus`) looks what it has to say."""
    body = {"type": "nudge", "agent": agent_id, "room": room_id, "invocation": invocation_id}
    _after_commit(partial(Courier.to_group, group=CHAT_GROUP, body=body))


def chat_now(*, agent_ids: Sequence[int]) -> None:
    """The same for many agents, from code whose transaction is already committed."""
    for agent_id in agent_ids:
        body = {"type": "nudge", "agent": agent_id, "room": None, "invocation": None}
        courier().put(partial(Courier.to_group, group=CHAT_GROUP, body=body))


def publish(*, act: "Callable[[Producer], None]") -> None:
    """After commit: let `act` publish to the task queue."""
    _after_commit(partial(Courier.to_queue, act=act))


def publish_later(*, act: "Callable[[Producer], None]", after_s: float) -> None:
    """The same some seconds after commit, and once for all who ask for the same `act` meanwhile."""
    _after_commit(partial(Courier.soon, act=partial(Courier.to_queue, act=act), key=act, after_s=after_s))


def later(*, act: Callable[[], None]) -> None:
    """After commit: run `act` on the nudge thread; for best-effort writes to Redis with short timeouts."""
    _after_commit(lambda _courier: act())


def courier() -> "Courier":
    """The courier of this process; made anew after a fork."""
    global _courier
    with _courier_lock:
        if _courier is None or _courier.pid != os.getpid():
            _courier = Courier()
        return _courier


class Courier:
    """One thread with its own event loop; sends what it is given, in order."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._waiting = 0
        self._soon: set[object] = set()
        self._connection: Connection
        self._producer: Producer | None = None
        self._loop = asyncio.new_event_loop()
        self._queue: asyncio.Queue[Act] = asyncio.Queue()
        self._thread = threading.Thread(target=self._main, name="nudges", daemon=True)
        self._thread.start()

    def put(self, act: Act) -> bool:
        """Take one nudge; False when it was dropped because too many wait."""
        if self._waiting >= WAITING_LIMIT:
            return False
        self._waiting += 1
        self._loop.call_soon_threadsafe(self._queue.put_nowait, act)
        return True

    def soon(self, act: Act, key: object, after_s: float) -> None:
        """Put it when so many seconds have passed, unless one of this key is already on its way. On the loop's thread."""
        if key not in self._soon:
            self._soon.add(key)
            self._loop.call_later(after_s, self._now, act, key)

    def _now(self, act: Act, key: object) -> None:
        self._soon.discard(key)
        self.put(act)

    async def drain(self) -> None:
        """Wait until what has been put so far is sent or dropped; for tests and for a clean stop."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._queue.join(), self._loop))

    async def to_group(self, group: str, body: dict[str, Any]) -> None:
        layer = get_channel_layer()
        if layer is not None:
            await layer.group_send(group, body)

    def to_queue(self, act: "Callable[[Producer], None]") -> None:
        if self._producer is None:
            from kombu import Connection, Producer

            options = dict(settings.CELERY_BROKER_TRANSPORT_OPTIONS)
            options["socket_timeout"] = SEND_TIMEOUT_S
            self._connection = Connection(
                settings.CELERY_BROKER_URL, transport=settings.CELERY_BROKER_TRANSPORT, transport_options=options
            )
            self._producer = Producer(self._connection)
        act(self._producer)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        while True:
            act = await self._queue.get()
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    outcome = act(self)
                    if asyncio.iscoroutine(outcome):
                        await outcome
            # Outermost loop of the thread: a nudge may fail in any way its transport likes, and must not end the thread.
            except Exception as error:  # noqa: BLE001
                logger.info("nudge lost", extra={"error": repr(error)})
                figures.NUDGES_LOST.inc()
                self._give_up()
            finally:
                self._waiting -= 1
                self._queue.task_done()

    def _give_up(self) -> None:
        """Redis does not answer: what waits now would only wait longer, so it is dropped as well."""
        if self._producer is not None:
            with contextlib.suppress(OSError):
                self._connection.release()
            self._producer = None
        while not self._queue.empty():
            self._queue.get_nowait()
            self._waiting -= 1
            self._queue.task_done()


_courier: Courier | None = None
_courier_lock = threading.Lock()


def _after_commit(act: Act) -> None:
    transaction.on_commit(lambda: courier().put(act), robust=True)
