"""The runtime's Celery task: dispatch what compose claimed."""

from typing import Any

from celery import shared_task

from runtime import dispatch


@shared_task(name="runtime.run", time_limit=30, soft_time_limit=20, ignore_result=True)
def run(invocation_id: int | None = None, **_unknown: Any) -> None:
    """Takes what compose returned: the id it claimed, or None when there was nothing to claim."""
    if invocation_id is not None:
        dispatch.dispatch(invocation_id=invocation_id)
