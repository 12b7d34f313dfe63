"""The Celery application; tasks live in composer/tasks.py and runtime/tasks.py."""

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from celery import Celery, bootsteps
from celery.signals import celeryd_init, setup_logging, task_postrun, task_prerun, worker_init, worker_ready
from django.conf import settings

if TYPE_CHECKING:
    from gateway.watch.tasks import TaskSlots

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")
# Django's checks would load the whole site into every worker, and `migrate` has asked them.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("nexus")
# As a mapping: Celery looks some of its settings up several times a task, and each look through Django's object takes 15 us.
app.config_from_object(
    {
        name.removeprefix("CELERY_").lower(): getattr(settings, name)
        for name in dir(settings)
        if name.startswith("CELERY_")
    }
)
# Else Celery closes the database's connection after each task, and a new one costs ten times what a task does. Its Django
# part reads this one setting by its old name, which no namespace reaches.
app.conf.update({"CELERY_DB_REUSE_MAX": 2**31})
app.autodiscover_tasks(["composer", "runtime"])

BEAT_S: Final = 5.0
SILENT_S: Final = 30.0
TASK_LATE_S: Final = 90.0
"""Past the hard limit of every task, at which its process is killed."""

_slots: "TaskSlots | None" = None


class Listening(bootsteps.StartStopStep):
    """Beats while the worker hears its queue: its timers go round in the loop that reads from Redis, and end with the connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        from gateway.watch import BEATS

        BEATS.beat("queue")
        consumer.timer.call_repeatedly(BEAT_S, BEATS.beat, ("queue",))


app.steps["consumer"].add(Listening)


@setup_logging.connect
def _logging_is_set_up(**_: Any) -> None:
    """By our settings. Celery leaves it alone where somebody answers here; else its `-l WARNING` would silence our own lines."""


@celeryd_init.connect
def _one_line_each(instance: Any = None, **_: Any) -> None:
    """Celery draws a banner, and a warning about root over several lines: neither is for who reads logs."""
    instance.quiet = True
    logging.captureWarnings(True)


@worker_init.connect
def _share_with_children(sender: Any = None, **_: Any) -> None:
    """Keep the collector off what is imported before the fork, so that the children go on sharing it."""
    global _slots
    from gateway.watch import BEATS, tasks
    from gateway.watch.program import name, settle

    name(str(getattr(sender, "hostname", sender) or "worker").partition("@")[0])
    _slots = tasks.register()
    BEATS.expect("queue", within_s=SILENT_S, what="heard from its queue")
    settle()


@worker_ready.connect
def _watched(**_: Any) -> None:
    """After the fork, so that no child has the door's thread."""
    from gateway.watch.program import watch

    watch(more=_late_tasks)


def _late_tasks() -> list[str]:
    late_s = _slots.longest_s() if _slots is not None else 0.0
    return [f"a task goes on for {late_s:.0f} s"] if late_s > TASK_LATE_S else []


@task_prerun.connect
def _drop_dead_connections(**_: Any) -> None:
    """As Django does before each request, without its `SELECT 1`: a connection that died with its server is not tried."""
    from gateway import sql

    if _slots is not None:
        _slots.began()
    sql.drop_if_dead()


@task_postrun.connect
def _task_ended(state: str = "", **_: Any) -> None:
    if _slots is not None:
        _slots.ended(is_done=state == "SUCCESS")
