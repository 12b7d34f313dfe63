"""The only place that builds compose → run, from the two tasks' names and an invocation's id."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from gateway import nudges

if TYPE_CHECKING:
    from kombu import Producer

COMPOSE_TASK = "composer.compose"
RUN_TASK = "runtime.run"
REMEMBER_TASK = "composer.remember"
REMEMBER_AFTER_S = 2.0


def start(*, invocation_ids: Iterable[int], room_id: int | None = None) -> None:
    """After commit: ask a worker to claim and compose, then to run what was claimed. `room_id`, if known, spares it a look."""
    for invocation_id in invocation_ids:
        nudges.publish(act=partial(publish_chain, invocation_id=invocation_id, room_id=room_id))


def run(*, invocation_id: int) -> None:
    """After commit: ask a worker to dispatch a composed row."""
    nudges.publish(act=lambda producer: _publish_one(producer, RUN_TASK, (invocation_id,), "run"))


def remember() -> None:
    """A while after commit: ask a worker to write what is not yet remembered, all that came meanwhile at once.

    New words are searched at once without memory, and a turn that is under way needs the machine more.
    """
    nudges.publish_later(act=_publish_remember, after_s=REMEMBER_AFTER_S)


def _publish_remember(producer: "Producer") -> None:
    _publish_one(producer, REMEMBER_TASK, (), "memory")


def publish_chain(producer: "Producer", invocation_id: int, room_id: int | None = None) -> None:
    """Publish now, on this producer."""
    # Here and not above: Celery is 10 MiB, and some programs ask about rows and never publish.
    from celery import Signature

    from nexus_project.celery import app as celery_app

    then_run = Signature(RUN_TASK, options={"queue": "run"}, app=celery_app)
    celery_app.send_task(
        COMPOSE_TASK,
        kwargs={"invocation_id": invocation_id, "room_id": room_id},
        chain=[then_run],
        queue="compose",
        producer=producer,
        retry=False,
        ignore_result=True,
    )


def _publish_one(producer: "Producer", name: str, args: tuple[int, ...], queue: str) -> None:
    from nexus_project.celery import app as celery_app

    celery_app.send_task(name, args=args, queue=queue, producer=producer, retry=False, ignore_result=True)
