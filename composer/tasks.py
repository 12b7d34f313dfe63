"""The composer's Celery tasks: each takes ids, makes one call, and may arrive twice or late."""

from typing import Any

from celery import shared_task

from composer import compose as composing
from composer import tiers
from composer.memory import remember as remembering


@shared_task(name="composer.compose", time_limit=60, soft_time_limit=45)
def compose(*, invocation_id: int, **_: Any) -> int | None:
    """The id that was claimed and composed, for `run`; None ends the chain there."""
    return composing.compose(invocation_id=invocation_id)


@shared_task(name="composer.remember", time_limit=60, soft_time_limit=45)
def remember(**_: Any) -> None:
    """Memory first; then, now and then, summaries of threads that have ended and days that are over."""
    remembering.remember()
    tiers.compact_now_and_then()
