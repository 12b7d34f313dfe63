"""The Celery application; tasks live in composer/tasks.py and runtime/tasks.py."""

import gc
import os
from typing import Any

from celery import Celery
from celery.signals import worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")

app = Celery("nexus")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["composer", "runtime"])


@worker_init.connect
def _share_with_children(**_: Any) -> None:
    """Keep the collector off what is imported before the fork, so that the children go on sharing it."""
    gc.collect()
    gc.freeze()
