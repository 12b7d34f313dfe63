"""C1: durable messages a second through the chat process's ingest, and what one mention costs from frame to commit.

Everything but the socket: DDP frames through the conversation, the feed, one transaction per batch on a durable
Postgres, working memory and the nudges behind it. Beside it, in turn and on the same Postgres and Valkey, the usual
design: `ingest_peer.cjs`, one request, one insert and one BullMQ job for each message.
"""

import asyncio
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django

from benchmarks import npm
from benchmarks.figures import Figure, median, ms, percentile
from docker.stack import Stack

IDS = ("C1",)

ROOMS, PEOPLE = 50, 200
MESSAGES = 20_000
ROUNDS = 3
MENTIONS = 200
PEER = Path(__file__).with_name("ingest_peer.cjs")
PEER_CONNECTIONS, PEER_S = 64, 4
TURN = 64
"""Frames read before the feed gets its turn, as many as the listener's socket holds ready."""


def measure() -> Iterator[Figure]:
    with database():
        populate()
        rates, cpu, peer = [], [], []
        for number in range(ROUNDS):
            if (one := peer_rate()) is not None:
                peer.append(one)
            rate, used = asyncio.run(pour(number))
            rates.append(rate)
            cpu.append(used)
        yield _figure(rates, peer=peer, cpu=median(cpu))
        took = asyncio.run(ask())
        yield Figure(
            id="C1",
            what="one mention alone: frame in → row open and committed",
            value=f"{ms(median(took))}, p99 {ms(percentile(took, 0.99))}",
            goal="3 ms",
            is_met=median(took) <= 0.003,
            note="the ingest's part of H1",
        )


def _figure(rates: list[float], *, peer: list[float], cpu: float) -> Figure:
    rate = median(rates)
    what = "chat events stored durably, in batches"
    note = f"rounds {_listed(rates)}; CPU of this process {cpu * 1e6:.0f} us a message"
    if not peer:
        return Figure(
            id="C1", what=what, value=f"{rate:,.0f}/s", goal="1x of Bun", note=f"{note}; npm's bun is not here"
        )
    usual = median(peer)
    return Figure(
        id="C1",
        what=what,
        value=f"{rate:,.0f}/s = {rate / usual:.2f}x of {usual:,.0f}/s",
        goal="1x of Bun + BullMQ",
        is_met=rate >= usual,
        note=f"{note}; the peer's {_listed(peer)}",
    )


def _listed(rates: list[float]) -> str:
    return ", ".join(f"{one:,.0f}" for one in rates)


def peer_rate() -> float | None:
    """Requests a second of Bun, each inserted and queued before it is answered; None without Bun."""
    bun = npm.bun()
    if bun is None:
        return None
    database, redis = os.environ["NEXUS_DATABASE_URL"], os.environ["NEXUS_REDIS_URL"]
    env = {**os.environ, "BENCH_DATABASE": database, "BENCH_REDIS": redis, "NODE_PATH": str(npm.modules())}
    server = subprocess.Popen([str(bun), str(PEER), "serve"], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        argv = [str(bun), str(PEER), "load", port, str(PEER_CONNECTIONS), str(PEER_S)]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=True)
        return float(done.stdout)
    finally:
        server.kill()
        server.wait(10)


async def pour(number: int) -> tuple[float, float]:
    """All frames of a round; messages a second and CPU seconds a message."""
    from gateway.chat.database import DatabaseThread
    from gateway.chat.feed import Feed
    from gateway.ingest import Ingest
    from gateway.models import Message
    from gateway.rocketchat.realtime import Said

    frames = [
        frame(f"m{number}-{index}", text="we moved orders to postgres, the port is 5433", who=index)
        for index in range(MESSAGES)
    ]
    thread = DatabaseThread(name="feed")
    feed = Feed(database=thread, ingest=Ingest())
    conversation = ready_conversation()
    running = asyncio.create_task(feed.run())
    began, began_cpu = time.perf_counter(), cpu_s()
    for index, text in enumerate(frames):
        for event in conversation.feed(text):
            assert isinstance(event, Said)
            feed.offer(event.message)
        if index % TURN == 0:
            await asyncio.sleep(0)
    await feed.idle()
    took, used = time.perf_counter() - began, cpu_s() - began_cpu
    stored = await thread.run(Message.objects.filter(rc_id__startswith=f"m{number}-").count)
    assert stored == MESSAGES, f"{stored} of {MESSAGES} were stored"
    running.cancel()
    thread.close()
    return MESSAGES / took, used / MESSAGES


async def ask() -> list[float]:
    from gateway.chat.database import DatabaseThread
    from gateway.chat.feed import Feed
    from gateway.ingest import Ingest
    from gateway.models import Invocation

    thread = DatabaseThread(name="feed")
    feed = Feed(database=thread, ingest=Ingest())
    conversation = ready_conversation()
    running = asyncio.create_task(feed.run())
    took = []
    for number in range(MENTIONS + 20):
        text = frame(f"q{number}", text="@echo why is CI red?", who=number % PEOPLE, mention="echo")
        await asyncio.sleep(0.005)
        began = time.perf_counter()
        for event in conversation.feed(text):
            feed.offer(event.message)
        await feed.idle()
        if number >= 20:
            took.append(time.perf_counter() - began)
    opened = await thread.run(Invocation.objects.count)
    assert opened == MENTIONS + 20, f"{opened} rows were opened"
    running.cancel()
    thread.close()
    return took


def frame(rc_id: str, *, text: str, who: int, mention: str = "") -> str:
    now = int(time.time() * 1000)
    message: dict[str, Any] = {
        "_id": rc_id,
        "rid": f"room{who % ROOMS}",
        "msg": text,
        "ts": {"$date": now},
        "_updatedAt": {"$date": now},
        "u": {"_id": f"uid{who % PEOPLE}", "username": f"person{who % PEOPLE}", "name": f"Person {who % PEOPLE}"},
        "mentions": [{"_id": f"uid-{mention}", "username": mention, "type": "user"}] if mention else [],
        "channels": [],
        "urls": [],
        "md": [{"type": "PARAGRAPH", "value": [{"type": "PLAIN_TEXT", "value": text}]}],
    }
    meta = {"roomParticipant": True, "roomType": "c", "roomName": "room"}
    fields = {"eventName": "__my_messages__", "args": [message, meta]}
    return json.dumps({"msg": "changed", "collection": "stream-room-messages", "id": "id", "fields": fields})


def ready_conversation() -> Any:
    from gateway.rocketchat.realtime import Conversation

    return Conversation(user_id="uid-echo", username="echo", token="-")


def populate() -> None:
    from datetime import timedelta

    from django.utils import timezone

    from gateway.models import Agent, BotAccount, Room, RoomMember

    agent = Agent.objects.create(slug="echo", cli_kind="echo", who_may_ask="room")
    BotAccount.objects.create(agent=agent, rocketchat_id="uid-echo", username="echo")
    since = timezone.now() - timedelta(hours=1)
    for number in range(ROOMS):
        room = Room.objects.create(rid=f"room{number}", kind="channel", name=f"room{number}")
        RoomMember.objects.create(room=room, agent=agent, joined_at=since)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def database() -> Iterator[None]:
    """A durable Postgres and a Valkey of its own, migrated."""
    directory = Path(tempfile.mkdtemp(prefix="nexus-bench-"))
    try:
        with Stack(state_dir=directory, programs=[]) as stack:
            os.environ.update(stack.env)
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")
            django.setup()
            yield
            from django.db import connection

            connection.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
