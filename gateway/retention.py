"""How long rows live, and the deletion of those whose time is over. docs/data-model.md lists the same lifetimes.

What an invariant stands on has no lifetime: invocations (a question is asked once), the audit log and its seals (the
chain starts at the first entry), messages' places (order and links). Old messages may lose their words, never their row.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, LiteralString

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from composer.memory import working
from composer.models import Fact, Prompt
from gateway import files, sql
from gateway.models import FINAL, File, Grant, Invocation, JoinCode, Message, Notice, Reaction, SetAside, ToolToken
from runtime.models import Chunk

logger = logging.getLogger(__name__)

BATCH: Final = 2_000
"""Rows of one table deleted in one go; the rest goes at the next housekeeping."""

_BURY: LiteralString = "UPDATE messages SET text = '', deleted_at = now(), attachments = '[]', reactions = '{}' WHERE id = ANY(%s) RETURNING room_id"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Rows of `model` that `due` selects are deleted; `due` gets the number of days from the settings."""

    model: Any
    days: Callable[[], float]
    due: Callable[[timedelta], Q]


def _prompt_days() -> float:
    """They quote messages, so they do not outlive them."""
    return min(settings.NEXUS_KEEP_PROMPTS_DAYS, settings.NEXUS_KEEP_MESSAGES_DAYS or float("inf"))


def _chunk_days() -> float:
    return min(settings.NEXUS_KEEP_CHUNKS_DAYS, settings.NEXUS_KEEP_MESSAGES_DAYS or float("inf"))


LIFETIMES: Final = (
    Lifetime(Chunk, _chunk_days, lambda age: _settled("invocation__", age)),
    Lifetime(Prompt, _prompt_days, lambda age: _settled("invocation__", age)),
    Lifetime(Notice, lambda: settings.NEXUS_KEEP_NOTICES_DAYS, lambda age: Q(created_at__lt=Now() - age)),
    Lifetime(SetAside, lambda: settings.NEXUS_KEEP_SET_ASIDE_DAYS, lambda age: Q(created_at__lt=Now() - age)),
    Lifetime(Reaction, lambda: settings.NEXUS_KEEP_REACTIONS_DAYS, lambda age: Q(created_at__lt=Now() - age)),
    Lifetime(ToolToken, lambda: 0, lambda age: Q(expires_at__lt=Now() - age)),
    Lifetime(JoinCode, lambda: settings.NEXUS_KEEP_JOIN_CODES_DAYS, lambda age: Q(expires_at__lt=Now() - age)),
    Lifetime(File, lambda: 0, lambda age: Q(expires_at__lt=Now() - age)),
    Lifetime(Fact, lambda: 0, lambda age: Q(expires_at__lt=Now() - age)),
    Lifetime(Grant, lambda: 0, lambda age: Q(until__lt=Now() - age)),
    Lifetime(Session, lambda: 0, lambda age: Q(expire_date__lt=Now() - age)),
)


def due() -> dict[str, int]:
    """How many rows of each table are past their lifetime, all of them; of messages: those that lose their words."""
    counts = {lifetime.model._meta.db_table: _due(lifetime).count() for lifetime in LIFETIMES}
    return counts | {"messages": _wordy().count()}


def days() -> dict[str, float]:
    """The lifetime of each table, 0 where rows say themselves when they end; of messages 0 is for ever."""
    found = {lifetime.model._meta.db_table: lifetime.days() for lifetime in LIFETIMES}
    return found | {"messages": settings.NEXUS_KEEP_MESSAGES_DAYS}


def delete_due() -> dict[str, int]:
    """Delete what is past its lifetime, at most BATCH rows of each table; returns counts by table."""
    counts: dict[str, int] = {}
    for lifetime in LIFETIMES:
        ids = list(_due(lifetime).values_list("pk", flat=True)[:BATCH])
        if ids:
            counts[lifetime.model._meta.db_table] = len(ids)
            _delete(lifetime.model, ids)
    if buried := _bury():
        counts["messages"] = buried
    if counts:
        logger.info("rows past their lifetime deleted", extra={"tables": counts})
    return counts


def _due(lifetime: Lifetime) -> QuerySet[Any]:
    found: QuerySet[Any] = lifetime.model.objects.filter(lifetime.due(timedelta(days=lifetime.days())))
    return found


def _delete(model: Any, ids: list[int]) -> None:
    rows = model.objects.filter(pk__in=ids)
    digests = set(rows.exclude(sha256="").values_list("sha256", flat=True)) if model is File else set()
    rows.delete()
    for sha256 in digests - set(File.objects.filter(sha256__in=digests).values_list("sha256", flat=True)):
        files.forget(sha256=sha256)


def _wordy() -> QuerySet[Message]:
    """Old messages that still have words; pinned ones and those of open questions keep them."""
    if not settings.NEXUS_KEEP_MESSAGES_DAYS:
        return Message.objects.none()
    old = Message.objects.filter(ts__lt=Now() - timedelta(days=settings.NEXUS_KEEP_MESSAGES_DAYS), deleted_at=None)
    pinned = Q(landmark__isnull=False, landmark__unpinned_at=None)
    asking = Invocation.objects.exclude(state__in=FINAL)
    return old.exclude(pinned).exclude(pk__in=asking.values("message_id"))


def _bury() -> int:
    """As `!forget me` does: a tombstone, and triggers take away what was made of the words."""
    ids = list(_wordy().order_by("pk").values_list("pk", flat=True)[:BATCH])
    if not ids:
        return 0
    with transaction.atomic():
        rooms = {room for (room,) in sql.rows(_BURY, [ids])}
        File.objects.filter(message_id__in=ids).update(expires_at=Now())
    for room in rooms:
        working.forget(room_id=room)
    return len(ids)


def _settled(prefix: str, age: timedelta) -> Q:
    return Q(**{f"{prefix}state__in": FINAL, f"{prefix}ended_at__lt": Now() - age})
