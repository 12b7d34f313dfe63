"""The tasks of benchmarks/queue.py: the names and settings of Nexus's own, with empty bodies."""

import os
import time

import redis
from celery import Celery, Signature, chain
from kombu import Producer

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")

app = Celery("bench")
app.config_from_object("django.conf:settings", namespace="CELERY")


def made_stock(celery: Celery) -> None:
    """Its transport and acknowledgements as they come with Celery."""
    celery.conf.broker_transport = None
    celery.conf.broker_transport_options = {**celery.conf.broker_transport_options, "ack_emulation": True}


def chain_of_two(producer: Producer, invocation_id: int) -> None:
    """As Celery's own pages build it."""
    compose = Signature(
        "composer.compose",
        kwargs={"invocation_id": invocation_id},
        immutable=True,
        options={"queue": "compose"},
        app=app,
    )
    chain(compose, Signature("runtime.run", options={"queue": "run"}, app=app)).apply_async(producer=producer)


if os.environ.get("BENCH_STOCK"):
    made_stock(app)
_marks = redis.Redis.from_url(f"{os.environ['NEXUS_REDIS_URL']}/3")


@app.task(name="composer.compose")
def compose(*, invocation_id: int, **_: object) -> int:
    return invocation_id


@app.task(name="runtime.run")
def run(_invocation_id: int) -> None:
    _marks.rpush("bench:done", repr(time.time()))
