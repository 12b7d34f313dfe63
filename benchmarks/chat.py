"""C2 to C4: the chat process beside a chat server: three paths at once, catching up, and edits against the limit.

The devchat stands in for Rocket.Chat, in a process of its own, with its limits on; the chat process runs here.
"""

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.figures import Figure
from benchmarks.ingest import database
from docker.ports import free_ports

IDS = ("C2", "C3", "C4")

MESSAGES = 10_000
WRITERS = 8
LISTENERS = 3
AGENTS, ROOMS_EACH = 10, 4
"""Each agent writes in so many rooms of its own, and all of them write in one more."""

STREAM_S = 15.0
WORD_EVERY_S = 0.1
PATIENCE_S = 600.0
PASSWORD = secrets.token_urlsafe(12)


def measure() -> Iterator[Figure]:
    with database(), devchat() as url:
        yield asyncio.run(three_paths(url))
        yield asyncio.run(missed(url))
        yield asyncio.run(streaming(url))


async def three_paths(url: str) -> Figure:
    """Each message comes by three connections, by reading after webhook nudges, and by reading on request."""
    server = Server(url)
    rid = await asyncio.to_thread(server.room, "paths", [f"listener-{number}" for number in range(LISTENERS)])
    async with chat_process(url) as process:
        await until(lambda: online(process) == LISTENERS)
        began = time.perf_counter()
        nudging = asyncio.create_task(nudge(process, rid))
        await asyncio.to_thread(server.say, rid, MESSAGES, "by three paths")
        await until_stored("by three paths", MESSAGES)
        took_s = time.perf_counter() - began
        process.rooms.catch_up.request(rid)
        nudging.cancel()
        rows = await count("by three paths")
        known = process.feed.counts["known"]
    return Figure(
        id="C2",
        what="10,000 messages by three paths at once → rows",
        value=f"{rows:,} rows, {rows / took_s:,.0f}/s",
        goal=f"{MESSAGES:,} rows",
        is_met=rows == MESSAGES,
        note=f"{LISTENERS} connections, a webhook's nudge and a request five times a second; {known:,} deliveries came after"
        " their row was there. The rate is that of the devchat, which posts and is read.",
    )


async def nudge(process: Any, rid: str) -> None:
    """What a webhook does, and a round beside it."""
    from asgiref.sync import sync_to_async

    from gateway import webhook

    while True:
        await sync_to_async(webhook._mark_row)(rid, "somebody", "m1")
        process.rooms.catch_up.request(rid)
        await asyncio.sleep(0.2)


async def missed(url: str) -> Figure:
    """Everything was said while nobody listened; the first message asks an agent."""
    from asgiref.sync import sync_to_async

    from gateway.models import Invocation

    server = Server(url)
    rid = await asyncio.to_thread(server.room, "missed", ["catcher"])
    async with chat_process(url) as process:
        await until(lambda: any(rid in account.rooms for account in process.accounts.values()))
    await asyncio.to_thread(server.say_as_person, rid, "@catcher the first question")
    await asyncio.to_thread(server.say, rid, MESSAGES, "missed")
    began = time.perf_counter()
    async with chat_process(url):
        await until_stored("missed", MESSAGES)
        took_s = time.perf_counter() - began
    asked = await sync_to_async(
        lambda: list(Invocation.objects.filter(message__room__rid=rid).values_list("reason"))
    )()
    rate = MESSAGES / took_s
    return Figure(
        id="C3",
        what="catching up 10,000 missed messages, from start",
        value=f"{rate:,.0f}/s, {took_s:.1f} s",
        goal="1,000/s",
        is_met=rate >= 1_000 and asked == [("",)],
        note=f"the first of them asked an agent, and it was asked: {asked == [('',)]}",
    )


async def streaming(url: str) -> Figure:
    """Ten agents write in four rooms each and all of them in one more; a word every tenth of a second."""
    server = Server(url)
    rows, crowd = await asyncio.to_thread(running_rows, server)
    before = server.state()["refused_by_limits"]
    edits: Counter[str] = Counter()
    async with chat_process(url) as process:
        await until(lambda: online(process) >= AGENTS)
        for account in process.accounts.values():
            counted(account.rest, edits)
        began = time.perf_counter()
        while time.perf_counter() - began < STREAM_S:
            await asyncio.to_thread(say_words, rows)
            for account in process.accounts.values():
                if account.poster is not None:
                    account.poster.nudge()
            await asyncio.sleep(WORD_EVERY_S)
        took_s = time.perf_counter() - began
        total = sum(edits.values())
    refused = server.state()["refused_by_limits"] - before
    busiest = max(edits.values(), default=0) / took_s
    return Figure(
        id="C4",
        what="edits with 50 replies streaming, of 1/s a room",
        value=f"{total / took_s:.0f}/s, {refused} refused",
        goal="0 refused",
        is_met=refused == 0 and busiest <= 1.1,
        note=f"{len(edits)} rooms, {AGENTS} agents, all of them in one; the busiest room {busiest:.2f}/s, that one"
        f" {edits[crowd] / took_s:.2f}/s",
    )


def counted(rest: Any, edits: Counter[str]) -> None:
    whole = rest.update_message

    async def update(*, rid: str, rc_id: str, text: str) -> Any:
        edits[rid] += 1
        return await whole(rid=rid, rc_id=rc_id, text=text)

    rest.update_message = update


def running_rows(server: "Server") -> tuple[list[Any], str]:
    """One running invocation per agent and room, as a bridge's acceptance leaves it; and the room that all are in."""
    from datetime import timedelta

    from django.db import connection
    from django.db.models.functions import Now

    from gateway.invocations import accepted, claim_next, composed, offer, open_invocation
    from gateway.models import Agent, Bridge, Message, Room, RoomMember, User

    lease = Now() + timedelta(hours=1)
    bridge = Bridge.objects.create(name="b", token_digest="0" * 64, session="s", journal="j", lease_until=lease)
    asker = User.objects.create(rocketchat_id="asker", username="asker")
    found = []
    slugs = [f"writer-{number}" for number in range(AGENTS)]
    crowd = server.room("stream-all", slugs)
    for number, slug in enumerate(slugs):
        Agent.objects.filter(slug=slug).update(bridge=bridge, parallel=ROOMS_EACH + 1)
        for place in range(ROOMS_EACH + 1):
            rid = server.room(f"stream-{number}-{place}", [slug]) if place < ROOMS_EACH else crowd
            room, _ = Room.objects.get_or_create(rid=rid, defaults={"kind": "private", "name": rid})
            RoomMember.objects.get_or_create(room=room, user=asker)
            question = Message.objects.create(
                rc_id=f"q{number:08d}{place:08d}", room=room, user=asker, text="?", ts=Now(), rc_updated_at=Now()
            )
            question.refresh_from_db()
            agent = Agent.objects.get(slug=slug)
            row = open_invocation(message=question, room=room, agent=agent, root_asker=asker)
            assert row is not None
            claim = claim_next(invocation_id=row.pk)
            assert claim is not None
            composed(invocation_id=row.pk, fence=claim.fence)
            offer(invocation_id=row.pk)
            row.refresh_from_db()
            accepted(invocation_id=row.pk, fence=row.fence, session=row.bridge_session)
            row.refresh_from_db()
            found.append(row)
    connection.close()
    return found, crowd


def say_words(rows: list[Any]) -> None:
    from django.db import connection

    from nexus_bridge import events
    from runtime.models import Chunk

    event = events.Text(delta=f"word {time.perf_counter():.1f} ")
    kind, payload = events.kind_of(event), events.encode(event)
    for row in rows:
        row.last_seq += 1
    Chunk.objects.bulk_create(Chunk(invocation=row, seq=row.last_seq, kind=kind, payload=payload) for row in rows)
    type(rows[0]).objects.filter(pk__in=[row.pk for row in rows]).update(last_seq=rows[0].last_seq)
    connection.close()


class Server:
    """The devchat, by its admin."""

    def __init__(self, url: str) -> None:
        from gateway.rocketchat.admin import Login

        self.url = url
        self.admin = Login(base_url=url, user="admin", password=PASSWORD).__enter__()

    def room(self, name: str, slugs: list[str]) -> str:
        for slug in slugs:
            self._agent(slug)
        return str(self.admin.create_room(kind="p", name=name, members=tuple(slugs))["_id"])

    def _agent(self, slug: str) -> None:
        from gateway.bridges import accounts
        from gateway.models import Agent

        agent, is_new = Agent.objects.get_or_create(slug=slug, defaults={"cli_kind": "echo", "who_may_ask": "room"})
        if is_new:
            account = accounts.ensure_account(self.admin, slug=slug, name=slug)
            accounts.store_account(agent=agent, account=account)

    def say(self, rid: str, number: int, text: str) -> None:
        """By several writers at once, as fast as the server takes it."""
        headers = {name: str(self.admin._session.headers[name]) for name in ("X-User-Id", "X-Auth-Token")}

        async def write(http: httpx.AsyncClient, count: int) -> None:
            for index in range(count):
                body = {"message": {"rid": rid, "msg": f"{text} {index}"}}
                (await http.post("/api/v1/chat.sendMessage", json=body)).raise_for_status()

        async def write_all() -> None:
            async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, trust_env=False) as http:
                await asyncio.gather(*(write(http, number // WRITERS) for _ in range(WRITERS)))

        asyncio.run(write_all())

    def say_as_person(self, rid: str, text: str) -> None:
        from gateway.rocketchat.calls import send

        self.admin.call(send(rid=rid, rc_id=secrets.token_hex(8), text=text))

    def state(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.url}/devchat/state?messages=0", timeout=60).json())


async def count(text: str) -> int:
    from gateway.models import Message

    return await Message.objects.filter(text__startswith=text).acount()


async def until_stored(text: str, number: int) -> None:
    deadline = time.perf_counter() + PATIENCE_S
    while await count(text) < number:
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{await count(text)} of {number} were stored")
        await asyncio.sleep(0.05)


async def until(look: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + PATIENCE_S
    while not look():
        if time.perf_counter() > deadline:
            raise TimeoutError("never happened")
        await asyncio.sleep(0.02)


def online(process: Any) -> int:
    return sum(account.is_online and bool(account.rooms) for account in process.accounts.values())


@asynccontextmanager
async def chat_process(url: str) -> AsyncIterator[Any]:
    from gateway.chat.process import ChatProcess

    process, stop = ChatProcess(base_url=url), asyncio.Event()
    task: Awaitable[None] = asyncio.create_task(process.run(stop))
    try:
        yield process
    finally:
        stop.set()
        await task


@contextmanager
def devchat() -> Iterator[str]:
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "gateway.devchat", "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(argv, env={**os.environ, "ADMIN_PASS": PASSWORD}, stdout=log, stderr=log)
        try:
            deadline = time.perf_counter() + 30
            while time.perf_counter() < deadline:
                try:
                    httpx.get(f"{url}/api/info", timeout=2)
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            # Many accounts are made here in one go; everything else keeps to the limits.
            httpx.post(f"{url}/devchat/switches", json={"rest_limit_calls": 100}).raise_for_status()
            yield url
        finally:
            process.terminate()
            process.wait(10)
