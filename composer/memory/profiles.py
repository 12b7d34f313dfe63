"""What is known about the people who take part: what each of them set about himself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q
from django.db.models.functions import Now

from composer.memory import scopes
from composer.models import Fact
from gateway.models import Room, RoomKind, User

MAX_PEOPLE = 10
"""Profiles of the last speakers only: the prompt is about the talk, not about the team."""

MAX_FACTS = 60


@dataclass(frozen=True, slots=True)
class Known:
    """One fact as a prompt shows it."""

    id: int
    scope: str
    about: str
    value: str
    source_message_id: int | None


def read(*, room: Room, asker: User, speaker_ids: Sequence[int]) -> list[Known]:
    """Facts of the asker's profile and, in a room, of the last speakers who are still its members."""
    people = _people(room=room, asker=asker, speaker_ids=speaker_ids)
    names = {scopes.of_profile(user=person): person.username for person in people}
    return read_scopes(names=names)


def read_scopes(*, names: dict[str, str]) -> list[Known]:
    """Live facts of these scopes, newest first; `names` says what each scope is called in a prompt."""
    live = Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
    rows = (
        Fact.objects.filter(live, scope__in=list(names))
        .order_by("-updated_at", "-pk")
        .values_list("pk", "scope", "key", "value", "source_message_id")
    )
    return [
        Known(pk, scope, f"{names[scope]}.{key}" if names[scope] else key, as_text(value), source)
        for pk, scope, key, value, source in rows[:MAX_FACTS]
    ]


def as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _people(*, room: Room, asker: User, speaker_ids: Sequence[int]) -> list[User]:
    if room.kind == RoomKind.DM:
        return [asker]
    wanted = [pk for pk in dict.fromkeys(speaker_ids) if pk != asker.pk][: MAX_PEOPLE - 1]
    if not wanted:
        return [asker]
    return [asker, *User.objects.filter(pk__in=wanted, memberships__room=room).only("rocketchat_id", "username")]
