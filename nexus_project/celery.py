"""The Celery application; tasks live in composer/tasks.py and runtime/tasks.py."""

import gc
import os
from typing import Any

from celery import Celery
from celery.signals import task_prerun, worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")

app = Celery("nexus")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Else Celery closes the database's connection after each task, and a new one costs ten times what a task does. Its Django
# part reads this one setting by its old name, which no namespace reaches.
app.conf.update({"CELERY_DB_REUSE_MAX": 2**31})
app.autodiscover_tasks(["composer", "runtime"])


@worker_init.connect
def _share_with_children(**_: Any) -> None:
    """Keep the collector off what is imported before the fork, so that the children go on sharing it."""
    gc.collect()
    gc.freeze()


@task_prerun.connect
def _drop_dead_connections(**_: Any) -> None:
    """As Django does before each request, without its `SELECT 1`: a connection that died with its server is not tried."""
    from gateway import sql

    sql.drop_if_dead()
