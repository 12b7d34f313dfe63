"""When is it this room's turn for one thing that wants to edit a message? What one lane has booked or was told to wait."""

import math

from gateway.chat.due import DueNotice
from gateway.chat.pace import Clock
from gateway.chat.plan import Act, Edit, LiveReply
from gateway.chat.room_pace import RoomPace


class EditTurns:
    """Ask `ready_at` before beginning, `granted` just before the call, and `forget` what is done."""

    def __init__(self, *, rid: str, pace: RoomPace, clock: Clock) -> None:
        self._rid = rid
        self._pace = pace
        self._clock = clock
        self._booked: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def ready_at(self, key: str, *, item: LiveReply | DueNotice, act: Act) -> float:
        """Of something that edits: not before this time of the clock."""
        if not edits(item, act):
            return -math.inf
        places = self._booked if _is_urgent(item, act) else self._told
        return places.get(key, -math.inf)

    async def granted(self, key: str, *, item: LiveReply | DueNotice, act: Act) -> bool:
        if not edits(item, act):
            return True
        if not _is_urgent(item, act):
            wait_s = await self._pace.take(rid=self._rid, who=key)
            self._told[key] = self._clock.now() + wait_s
            return not wait_s
        if key not in self._booked:
            self.forget(key)
            self._booked[key] = self._clock.now() + await self._pace.book(rid=self._rid)
        if self._clock.now() < self._booked[key]:
            return False
        del self._booked[key]
        return True

    def forget(self, key: str) -> None:
        self._booked.pop(key, None)
        if self._told.pop(key, None) is not None:
            self._pace.leave(rid=self._rid, who=key)


def edits(item: LiveReply | DueNotice, act: Act) -> bool:
    if isinstance(item, DueNotice):
        return bool(item.text) and item.posted_revision > 0
    return isinstance(act, Edit)


def _is_urgent(item: LiveReply | DueNotice, act: Act) -> bool:
    """What ended, the first words, and notices have a turn of their own; what is on its way makes do with the rest."""
    return (
        isinstance(item, DueNotice) or item.is_final or (isinstance(act, Edit) and act.is_said and not item.has_said)
    )
