"""The tasks of benchmarks/queue.py: the names and settings of Nexus's own, with empty bodies."""

import os
import time

import redis
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")

app = Celery("bench")
app.config_from_object("django.conf:settings", namespace="CELERY")
_marks = redis.Redis.from_url(f"{os.environ['NEXUS_REDIS_URL']}/3")


@app.task(name="composer.compose")
def compose(*, invocation_id: int) -> int:
    return invocation_id


@app.task(name="runtime.run")
def run(_invocation_id: int) -> None:
    _marks.rpush("bench:done", repr(time.time()))
