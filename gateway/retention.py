"""How long rows live, and the deletion of those whose time is over. docs/data-model.md lists the same lifetimes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from composer.models import Prompt
from gateway import files
from gateway.models import FINAL, File, JoinCode, Notice, Reaction, SetAside, ToolToken
from runtime.models import Chunk

logger = logging.getLogger(__name__)

BATCH: Final = 2_000
"""Rows of one table deleted in one go; the rest goes at the next housekeeping."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Rows of `model` that `due` selects are deleted; `due` gets the number of days from the settings."""

    model: Any
    days: Callable[[], float]
    due: Callable[[timedelta], Q]


LIFETIMES: Final = (
    Lifetime(Chunk, lambda: settings.NEXUS_KEEP_CHUNKS_DAYS, lambda age: _settled("invocation__", age)),
    Lifetime(Prompt, lambda: settings.NEXUS_KEEP_PROMPTS_DAYS, lambda age: _settled("invocation__", age)),
    Lifetime(Notice, lambda: settings.NEXUS_KEEP_CHUNKS_DAYS, lambda age: Q(created_at__lt=Now() - age)),
    Lifetime(SetAside, lambda: 90, lambda age: Q(created_at__lt=Now() - age)),
    Lifetime(Reaction, lambda: 90, lambda age: Q(created_at__lt=Now() - age)),
    Lifetime(ToolToken, lambda: 0, lambda age: Q(expires_at__lt=Now() - age)),
    Lifetime(JoinCode, lambda: 30, lambda age: Q(expires_at__lt=Now() - age)),
    Lifetime(File, lambda: 0, lambda age: Q(expires_at__lt=Now() - age)),
)


def delete_due(*, dry_run: bool = False) -> dict[str, int]:
    """Delete what is past its lifetime, at most BATCH rows of each table; returns counts by table."""
    counts: dict[str, int] = {}
    for lifetime in LIFETIMES:
        due = lifetime.model.objects.filter(lifetime.due(timedelta(days=lifetime.days())))
        ids = list(due.values_list("pk", flat=True)[:BATCH])
        if ids:
            counts[lifetime.model._meta.db_table] = len(ids)
            if not dry_run:
                _delete(lifetime.model, ids)
    if counts and not dry_run:
        logger.info("rows past their lifetime deleted", extra={"tables": counts})
    return counts


def _delete(model: Any, ids: list[int]) -> None:
    rows = model.objects.filter(pk__in=ids)
    digests = set(rows.exclude(sha256="").values_list("sha256", flat=True)) if model is File else set()
    rows.delete()
    for sha256 in digests - set(File.objects.filter(sha256__in=digests).values_list("sha256", flat=True)):
        files.forget(sha256=sha256)


def _settled(prefix: str, age: timedelta) -> Q:
    return Q(**{f"{prefix}state__in": FINAL, f"{prefix}ended_at__lt": Now() - age})
