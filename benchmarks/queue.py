"""A1: enqueue → compose → run with empty bodies through Nexus's own Celery settings, beside BullMQ on Bun.

The two tasks do nothing but the last one's mark in Redis; the chain is published as gateway/pipeline.py publishes it.
Peer and Nexus run in turn on the same Valkey, three rounds, medians. Run by itself it prints what a chain takes with Celery
as it comes, which is what the machine of the goals was measured with.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from benchmarks import npm
from benchmarks.figures import Figure, median, percentile

IDS = ("A1",)
ROUNDS = 3
WARM_UP, TURNS = 50, 300
DONE = "bench:done"

BARE_CHAIN_MS = 2.08
"""Celery with prefork 2, acks_late and prefetch 1, on the machine and at the time of the goals."""


def measure() -> Iterator[Figure]:
    from tests.services import start_services

    stop = start_services()
    try:
        peer: list[float] = []
        ours: list[float] = []
        for _ in range(ROUNDS):
            if (one := bullmq_p50_ms()) is not None:
                peer.append(one)
            ours.append(celery_p50_ms())
    finally:
        stop()
    yield _figure(ours=median(ours), peer=median(peer) if peer else None)


def how_much_slower() -> float:
    """How long this machine takes now for what took the machine of the goals 2.08 ms: a bare Celery chain of two tasks.

    For figures whose own peer can't be had: machines are shared, and the same machine is twice as slow an hour later. In a
    process of its own, for Django's settings are read once.
    """
    asked = [sys.executable, "-m", "benchmarks.queue"]
    return float(subprocess.run(asked, capture_output=True, text=True, timeout=120, check=True).stdout) / BARE_CHAIN_MS


def _figure(*, ours: float, peer: float | None) -> Figure:
    what = "enqueue to second task done, empty bodies, p50"
    if peer is None:
        return Figure(id="A1", what=what, value=f"{ours:.2f} ms", goal="2.7x of BullMQ", note="npm's bun is not here")
    return Figure(
        id="A1",
        what=what,
        value=f"{ours:.2f} ms = {ours / peer:.2f}x of {peer:.2f} ms",
        goal="2.7x of BullMQ on Bun",
        is_met=ours <= 2.7 * peer,
    )


def celery_p50_ms(*, is_stock: bool = False) -> float:
    """Milliseconds from just before publishing to the second task's body. `is_stock`: without what Nexus changed in Celery."""
    with _workers(is_stock=is_stock):
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")
        django.setup()
        from benchmarks.queue_tasks import chain_of_two, made_stock
        from gateway import pipeline
        from nexus_project.celery import app

        publish = chain_of_two if is_stock else pipeline.publish_chain
        if is_stock:
            made_stock(app)
        marks = redis.Redis.from_url(f"{os.environ['NEXUS_REDIS_URL']}/3")
        waits = []
        with app.connection_for_write() as link:
            producer = link.Producer()
            for number in range(WARM_UP + TURNS):
                started_at = time.time()
                publish(producer, invocation_id=number)
                mark: Any = marks.blpop([DONE], timeout=30)
                if mark is None:
                    raise TimeoutError("the workers did not answer")
                if number >= WARM_UP:
                    waits.append(float(mark[1]) - started_at)
    return percentile(waits, 0.5) * 1000


@contextmanager
def _workers(*, is_stock: bool) -> Iterator[None]:
    """Workers with the pools of composer and runtime, and the tasks of benchmarks/queue_tasks.py."""
    env = {**os.environ, "BENCH_STOCK": "1" if is_stock else ""}
    common = ["-l", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    pools = {"compose": ["-c", "2"], "run": ["-P", "solo"]}
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "benchmarks.queue_tasks",
                "worker",
                "-Q",
                queue,
                "-n",
                f"{queue}@bench",
                *pool,
                *common,
            ],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for queue, pool in pools.items()
    ]
    try:
        yield
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait(30)


def bullmq_p50_ms() -> float | None:
    """The usual design's figure from the same run; None without Bun."""
    bun = npm.bun()
    if bun is None:
        return None
    script = npm.SHARED / "queue" / "bullmq.cjs"
    env = {**os.environ, "BENCH_REDIS": f"{os.environ['NEXUS_REDIS_URL']}/4", "NODE_PATH": str(npm.modules())}
    argv = [str(bun), str(script)]
    roles = [subprocess.Popen([*argv, role, "50"], env=env) for role in ("composer", "runtime")]
    try:
        done = subprocess.run([*argv, "producer"], env=env, capture_output=True, text=True, timeout=120, check=False)
        lines = done.stdout.strip().splitlines()
        return float(json.loads(lines[-1])["lat_p50"]) if lines else None
    finally:
        for role in roles:
            role.kill()
            role.wait(10)


if __name__ == "__main__":
    from tests.services import start_services

    end = start_services()
    try:
        sys.stdout.write(f"{celery_p50_ms(is_stock=True)}\n")
    finally:
        end()
