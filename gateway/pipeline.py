"""The only place that builds compose → run, from the two tasks' names and an invocation's id."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

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
    nudges.publish(act=partial(_publish, name=RUN_TASK, queue="run", args=(invocation_id,)))


def remember() -> None:
    """A while after commit: ask a worker to write what is not yet remembered, all that came meanwhile at once.

    New words are searched at once without memory, and a turn that is under way needs the machine more.
    """
    nudges.publish_later(act=_publish_remember, after_s=REMEMBER_AFTER_S)


def _publish_remember(producer: "Producer") -> None:
    _publish(producer, REMEMBER_TASK, "memory")


def publish_chain(producer: "Producer", invocation_id: int, room_id: int | None = None) -> None:
    """Publish now, on this producer."""
    from celery import Signature

    chain = [Signature(RUN_TASK, options={"queue": "run"})]
    _publish(
        producer, COMPOSE_TASK, "compose", kwargs={"invocation_id": invocation_id, "room_id": room_id}, chain=chain
    )


def _publish(producer: "Producer", name: str, queue: str, **what: Any) -> None:
    # Here and not above: Celery is 10 MiB, and some programs ask about rows and never publish.
    from nexus_project.celery import app

    app.send_task(name, queue=queue, producer=producer, retry=False, ignore_result=True, **what)
