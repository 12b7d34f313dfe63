"""A whole Nexus to measure: the embedded stack in a scratch directory, rooms, one asker, agents with bench bridges.

    with running() as world: ...

Durable Postgres as in production; chat limits off, for they would measure the chat. Django runs in the measuring process
too, against the same database, to set the scene and to read it.
"""

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import django

from docker.programs import ALL
from docker.stack import Stack

LANES = 32
NOT_NEXUS = ("postgres", "valkey", "devchat", "bridge")
WORDS = [
    "the",
    "build",
    "fails",
    "since",
    "we",
    "moved",
    "orders",
    "to",
    "postgres",
    "and",
    "the",
    "port",
    "is",
    "wrong",
    "deploy",
    "review",
    "branch",
    "merge",
    "test",
    "green",
    "red",
    "pipeline",
    "cache",
    "token",
    "rotate",
    "server",
    "client",
    "queue",
    "worker",
    "retry",
    "timeout",
    "error",
    "stack",
    "trace",
    "null",
    "index",
    "table",
    "migration",
    "column",
    "user",
    "login",
    "session",
    "cookie",
    "header",
    "proxy",
    "nginx",
    "docker",
    "image",
    "layer",
    "volume",
    "disk",
    "memory",
    "cpu",
    "load",
]


@dataclass(slots=True)
class World:
    """`tokens` has the bridge token of each agent by slug."""

    stack: Stack
    asker: "Person"  # type: ignore[name-defined]  # noqa: F821 - Django must be set up before it is imported
    rooms: list[str]
    tokens: dict[str, str]

    @property
    def nexus_pids(self) -> list[int]:
        """The processes of Nexus itself: no databases, no chat, no developer's bridge."""
        return [pid for name, pid in self.stack.pids().items() if name not in NOT_NEXUS]


@contextmanager
def running(*, rooms: int, agents: int, settings: dict[str, str] | None = None) -> Iterator[World]:
    """Start everything, yield, stop everything and remove the scratch directory."""
    directory = Path(tempfile.mkdtemp(prefix="nexus-bench-"))
    programs = [name for name in ALL if name != "bridge"]
    stack = Stack(state_dir=directory, programs=programs, settings=settings, chat_arguments=("--no-limits",))
    try:
        with stack:
            os.environ.update(stack.env)
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")
            django.setup()
            yield _populate(stack, rooms=rooms, agents=agents)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def fill_room(*, room_id: str, count: int) -> None:
    """Put `count` messages of three users into a room's history, as ingest would have stored them."""
    from django.db import connection
    from django.utils import timezone

    from gateway.models import Message, Room, User

    rng = random.Random(7)
    deadline = time.monotonic() + 60
    while not (room := Room.objects.filter(rid=room_id).first()):
        if time.monotonic() > deadline:
            raise TimeoutError("the chat process did not find the room")
        time.sleep(0.1)
    users = [
        User.objects.get_or_create(rocketchat_id=f"bench{number}", defaults={"username": f"bench{number}"})[0]
        for number in range(3)
    ]
    start = timezone.now() - timedelta(seconds=count * 30 + 60)
    Message.objects.bulk_create(
        [
            Message(
                rc_id=f"bench{number:012d}",
                room=room,
                user=rng.choice(users),
                text=" ".join(rng.choices(WORDS, k=rng.randint(4, 30))),
                ts=start + timedelta(seconds=number * 30),
                rc_updated_at=start + timedelta(seconds=number * 30),
                remembered_at=start,
            )
            for number in range(count)
        ],
        batch_size=2_000,
    )
    # Autovacuum does it within a minute of such a load; a measurement does not wait for it.
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE messages")


def _populate(stack: Stack, *, rooms: int, agents: int) -> World:
    from django.conf import settings

    from gateway import bridges
    from gateway.demo import chat
    from gateway.models import Agent

    admin = chat.log_in(
        url=stack.chat_url, username=settings.NEXUS_ROCKETCHAT_ADMIN, password=settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD
    )
    chat.make_person(admin=admin, username="bob", name="Bob", password="bench-password-of-bob")
    bob = chat.log_in(url=stack.chat_url, username="bob", password="bench-password-of-bob")
    room_ids = [chat.make_room(owner=bob, name=f"bench-{n}", members=[], is_private=False) for n in range(rooms)]
    tokens = {}
    for number in range(agents):
        made = bridges.create(user="bob", cli="echo", role=f"bench-{number}", rooms=[], actor="bench")
        Agent.objects.filter(slug=made.slug).update(parallel=LANES, who_may_ask="room")
        tokens[made.slug] = made.token
        account = Agent.objects.get(slug=made.slug).bot_account
        for room_id in room_ids:
            bob.post("channels.invite", roomId=room_id, userId=account.rocketchat_id)
    return World(stack=stack, asker=bob, rooms=room_ids, tokens=tokens)
