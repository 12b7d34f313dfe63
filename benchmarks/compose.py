"""What does composing cost in a room with many messages? Claim, draw and hand-over, without any call to memory.

    python -m benchmarks.compose [--messages 10000] [--rounds 200] [--profile]

Starts its own Postgres and Valkey unless NEXUS_DATABASE_URL and NEXUS_REDIS_URL name some; uses a test database.
"""

import argparse
import cProfile
import json
import os
import pstats
import random
import statistics
import time
from datetime import UTC, datetime, timedelta

import django

WORDS = (
    "the build fails since we moved orders to postgres and the port is wrong deploy review branch merge test green red"
    " pipeline cache token secret rotate server client queue worker retry timeout error stack trace null index table"
    " migration column user login session cookie header proxy nginx docker image layer volume disk memory cpu load"
).split()
START = datetime(2026, 11, 1, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()

    from tests.services import start_services

    stop = start_services()
    try:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")
        django.setup()
        from django.test.utils import setup_databases, teardown_databases

        databases = setup_databases(0, False)
        try:
            run(options)
        finally:
            teardown_databases(databases, 0)
    finally:
        stop()


def run(options: argparse.Namespace) -> None:
    from composer import compose as composing
    from composer.memory import recall

    rng = random.Random(7)
    room, users, agent = people()
    fill(room, users, rng, options.messages)
    # Memory is resting: this measures our own work, not the embedder's.
    recall._breaker.failed(reason="benchmark")
    recall._breaker._rest_until = time.monotonic() + 3600
    took: list[float] = []
    cpu: list[float] = []
    profile = cProfile.Profile()
    for number in range(options.rounds + 20):
        invocation_id = ask(room, users, agent, rng, options.messages + 2 * number)
        if options.profile and number >= 20:
            profile.enable()
        began, began_cpu = time.perf_counter(), time.process_time()
        composed_id = composing.compose(invocation_id=invocation_id)
        ended, ended_cpu = time.perf_counter(), time.process_time()
        profile.disable()
        assert composed_id == invocation_id
        settle(invocation_id)
        if number >= 20:
            took.append((ended - began) * 1000)
            cpu.append((ended_cpu - began_cpu) * 1000)
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
    report(took, cpu, options)


def people():
    from django.db.models.functions import Now

    from gateway.models import Agent, Bridge, Room, RoomMember, User

    users = [User.objects.create(rocketchat_id=f"u{n}", username=f"user{n}") for n in range(12)]
    room = Room.objects.create(rid="bench", kind="channel", name="bench")
    RoomMember.objects.bulk_create([RoomMember(room=room, user=user) for user in users])
    bridge = Bridge.objects.create(
        name="bench", token_digest="0" * 64, session="s", journal="j" * 32, lease_until=Now() + timedelta(hours=1)
    )
    return room, users, Agent.objects.create(slug="echo", cli_kind="echo", bridge=bridge, who_may_ask="room")


def message(room, users, rng, number):
    from gateway.models import Message

    at = START + timedelta(seconds=30 * number)
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 24)))
    return Message(rc_id=f"m{number}", room=room, user=rng.choice(users), text=text, ts=at, rc_updated_at=at)


def fill(room, users, rng, count):
    from django.db import connection

    from gateway.models import Message

    for start in range(0, count, 2_000):
        rows = [message(room, users, rng, number) for number in range(start, min(start + 2_000, count))]
        Message.objects.bulk_create(rows)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE messages")


def ask(room, users, agent, rng, number):
    from composer.memory import working
    from gateway.invocations import open_invocation

    for offset in range(2):
        row = message(room, users, rng, number + offset)
        row.save()
        working.append(room_id=room.pk, messages=[row])
    invocation = open_invocation(message=row, room=room, agent=agent, root_asker=row.user)
    assert invocation is not None
    return invocation.pk


def settle(invocation_id):
    from gateway.invocations import request_cancel

    request_cancel(invocation_id=invocation_id, reason="stopped")


def report(took, cpu, options):
    from composer.models import Prompt, Summary

    took.sort()
    prompt = Prompt.objects.order_by("-pk").first()
    assert prompt is not None
    row = {
        "messages": options.messages,
        "rounds": options.rounds,
        "p50_ms": round(statistics.median(took), 2),
        "p99_ms": round(took[int(len(took) * 0.99)], 2),
        "cpu_ms": round(statistics.mean(cpu), 2),
        "prompt_tokens": prompt.token_count,
        "summaries": Summary.objects.count(),
    }
    print("compose, claim to hand-over:", " ".join(f"{name}={value}" for name, value in row.items()))
    print(json.dumps({"bench": "compose"} | row))


if __name__ == "__main__":
    main()
