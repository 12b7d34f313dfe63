"""Do the messages that webhook calls name exist? A call that names none was not made by the chat for a message.

Nothing of a call is stored, nor acted upon: it has its room read, and that reading is what counts. So the ids it named are
held here, in this process and for a while, until that reading shows whether the chat has them.
"""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import connection, transaction

from gateway import audit
from gateway.watch import figures

logger = logging.getLogger(__name__)

LIMIT: Final = 1_000
"""Messages named and not looked for yet; beyond it the oldest are forgotten, uncounted."""

TELL_EVERY_S: Final = 600.0
"""Calls can be made as fast as the door answers; the audit log gets one entry for all of such a span."""

ENOUGH: Final = 3
"""A message may be deleted before it is read; so many in a day are no accident."""

ACTION: Final = "webhook_unverified"
MAX_ROOMS: Final = 5

_LOOK: Final = """
    SELECT claim.rc_id, COALESCE(room.name, ''),
        EXISTS (SELECT FROM messages WHERE messages.rc_id = claim.rc_id AND messages.room_id = claim.room_id)
            OR EXISTS (SELECT FROM set_aside WHERE set_aside.rc_id = claim.rc_id),
        -- A reading that began before the call leaves its mark in place, and ends within minutes.
        COALESCE(cursor.caught_up_at > claim.at AND room.dirty_at IS NULL
            OR cursor.caught_up_at > claim.at + interval '5 minutes', false),
        room.id IS NULL OR claim.at < now() - interval '1 hour'
    FROM unnest(%s::text[], %s::bigint[], %s::timestamptz[]) AS claim(rc_id, room_id, at)
    LEFT JOIN rooms room ON room.id = claim.room_id LEFT JOIN room_cursors cursor ON cursor.room_id = room.id
"""

_TODAY: Final = """
    SELECT COALESCE(sum((detail ->> 'count')::bigint), 0) FROM audit_log
    WHERE action = %s AND at > now() - interval '1 day'
"""


@dataclass(slots=True)
class Claims:
    """For one thread. `check` is to be called again while something `is_waiting`."""

    clock: Callable[[], float] = time.monotonic
    _waiting: OrderedDict[str, tuple[int, datetime]] = field(default_factory=OrderedDict)
    _missing: Counter[str] = field(default_factory=Counter)
    _told_at: float = float("-inf")

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting or self._missing)

    def named(self, rc_id: str, *, room_id: int, at: datetime) -> None:
        """A call named this message; `at` is the database's time."""
        self._waiting[rc_id] = (room_id, at)
        self._waiting.move_to_end(rc_id)
        if len(self._waiting) > LIMIT:
            self._waiting.popitem(last=False)

    def check(self) -> None:
        """Count what is not there although its room has been read since; forget it, and what is there."""
        for rc_id, room, is_there, is_read, is_over in self._look():
            if is_there or is_read or is_over:
                del self._waiting[rc_id]
            if is_read and not is_there:
                self._missing[room] += 1
                figures.WEBHOOK_UNVERIFIED.inc()
        if self._missing and self.clock() >= self._told_at + TELL_EVERY_S:
            self._tell()

    def _look(self) -> list[tuple[str, str, bool, bool, bool]]:
        if not self._waiting:
            return []
        with connection.cursor() as cursor:
            ids, times = zip(*self._waiting.values(), strict=True)
            cursor.execute(_LOOK, [list(self._waiting), list(ids), list(times)])
            found: list[tuple[str, str, bool, bool, bool]] = cursor.fetchall()
            return found

    def _tell(self) -> None:
        count, rooms = self._missing.total(), [room for room, _ in self._missing.most_common(MAX_ROOMS)]
        with transaction.atomic():
            audit.record(actor="webhook", action=ACTION, count=count, rooms=rooms)
        logger.warning("webhook calls named no message of the chat", extra={"count": count, "rooms": rooms})
        self._missing.clear()
        self._told_at = self.clock()


def today() -> int:
    """How many calls of the last day, at any gateway, named messages that the chat does not have."""
    with connection.cursor() as cursor:
        cursor.execute(_TODAY, [ACTION])
        return int(cursor.fetchone()[0])


def problem(*, count: int) -> str:
    """A sentence with its cure; empty when they are few enough to be messages that were deleted at once."""
    if count < ENOUGH:
        return ""
    return (
        f"{count} calls of the webhook within a day named messages that the chat does not have: somebody else may know its token."
        " Nothing of them was used. Set a new NEXUS_WEBHOOK_TOKEN, then run `make bootstrap`."
    )
