"""The composer's Celery tasks: each takes ids, makes one call, and may arrive twice or late."""

from typing import Any

from celery import Task, shared_task

from composer import compose as composing
from composer import tiers
from composer.memory import remember as remembering


class _Compose(Task[..., int | None]):
    """Lets the room go only when `run` is on its way, which nothing in the room needs to wait for."""

    def after_return(self, *_: Any) -> None:
        if (turn := getattr(self.request, "turn", None)) is not None:
            turn.let_go()


@shared_task(  # type: ignore[arg-type]  # its types know no bound task
    name="composer.compose", base=_Compose, bind=True, time_limit=60, soft_time_limit=45
)
def compose(self: _Compose, *, invocation_id: int, room_id: int | None = None, **_: Any) -> int | None:
    """The id that was claimed and composed, for `run`; None ends the chain there."""
    turn = composing.Turn(invocation_id=invocation_id, room_id=room_id)
    self.request.turn = turn  # type: ignore[attr-defined]  # a context takes any name
    return turn.compose()


@shared_task(name="composer.remember", time_limit=60, soft_time_limit=45)
def remember(**_: Any) -> None:
    """Memory first; then, now and then, summaries of threads that have ended and days that are over."""
    remembering.remember()
    tiers.compact_now_and_then()
