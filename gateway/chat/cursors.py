"""How far has each room been caught up? The database steps of catch-up; nothing else moves a cursor."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import Case, F, Value, When
from django.db.models.functions import Greatest, Now

from gateway.models import Room, RoomCursor
from gateway.rocketchat.events import moment


@dataclass(frozen=True, slots=True)
class Cursor:
    """Times in ms. `age_s` is since the last whole catch-up of any process; `dirty_at` as the row had it."""

    room_id: int
    updated_to: int
    deleted_to: int
    age_s: float
    dirty_at: datetime | None


def read(*, rid: str) -> Cursor | None:
    row = (
        RoomCursor.objects.filter(room__rid=rid)
        .annotate(now=Now())
        .values_list("room_id", "updated_to", "deleted_to", "caught_up_at", "room__dirty_at", "now")
        .first()
    )
    if row is None:
        return None
    room_id, updated_to, deleted_to, caught_up_at, dirty_at, now = row
    age_s = (now - caught_up_at).total_seconds() if caught_up_at is not None else float("inf")
    return Cursor(room_id, _ms(updated_to), _ms(deleted_to), age_s, dirty_at)


def move(*, room_id: int, updated_to: int | None = None, deleted_to: int | None = None) -> None:
    """Forward only, whoever else is at it."""
    values: dict[str, Greatest] = {}
    if updated_to is not None:
        values["updated_to"] = Greatest(F("updated_to"), Value(moment(updated_to)))
    if deleted_to is not None:
        values["deleted_to"] = Greatest(F("deleted_to"), Value(moment(deleted_to)))
    RoomCursor.objects.filter(room_id=room_id).update(**values)


def finish(*, cursor: Cursor) -> None:
    """The room is caught up; it stays dirty if a webhook came in meanwhile."""
    RoomCursor.objects.filter(room_id=cursor.room_id).update(caught_up_at=Now())
    if cursor.dirty_at is not None:
        Room.objects.filter(pk=cursor.room_id).update(
            dirty_at=Case(When(dirty_at__lte=cursor.dirty_at, then=Value(None)), default=F("dirty_at"))
        )


def dirty(*, rids: Iterable[str]) -> list[str]:
    return list(Room.objects.filter(rid__in=list(rids), dirty_at__isnull=False).values_list("rid", flat=True))


def _ms(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * 1000)
