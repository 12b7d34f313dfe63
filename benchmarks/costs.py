"""U1 to U3: what one more bridge, message and invocation cost: CPU by program, memory, what Postgres and Redis do and keep.

For who has to decide what to scale. Without chat limits and without CLIs: the devchat and bridges that answer at once are not
counted. CPU seconds are of this machine; the counts are of any.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from benchmarks.figures import Figure
from benchmarks.peers import BenchBridge, cpu_seconds, pss_mib
from benchmarks.world import NOT_NEXUS, World, running
from nexus_bridge import protocol

IDS = ("U1", "U2", "U3")
ROOMS, AGENTS, BRIDGES = 10, 2, 200
WATCH_S: Final = 20.0
MESSAGES, INVOCATIONS = 400, 150
PACE_S: Final = 0.05
TABLES: Final = (
    "messages",
    "memories",
    "invocations",
    "prompts",
    "chunks",
    "reply_parts",
    "notices",
)


@dataclass(frozen=True, slots=True)
class Meter:
    """One reading; the difference of two is what something has cost."""

    cpu: dict[str, float]
    commits: int
    rows: int
    redis: int
    kept: int
    at: float = field(default_factory=time.perf_counter)


def measure() -> Iterator[Figure]:
    with running(rooms=ROOMS, agents=AGENTS) as world, asyncio.Runner() as runner:
        for figure in (_bridges, _messages, _invocations):
            yield runner.run(figure(world))


async def _bridges(world: World) -> Figure:
    """Idle ones, each with its heartbeats and its lease, beside a gateway that had none."""
    slugs = await asyncio.to_thread(_make_bridges, BRIDGES)
    gateway = [world.stack.pids()["gateway"]]
    async with AsyncExitStack() as stack:
        (first, *others) = [
            BenchBridge(url=world.stack.hub_url, token=token, slug=slug, on_prompt=_ignore)
            for slug, token in slugs.items()
        ]
        await stack.enter_async_context(first)
        await asyncio.sleep(5)
        before_mib, quiet = pss_mib(gateway), await _spent(world, seconds=WATCH_S)
        for other in others:
            await stack.enter_async_context(other)
        await asyncio.sleep(5)
        grown_kib = (pss_mib(gateway) - before_mib) * 1024 / len(others)
        busy = await _spent(world, seconds=WATCH_S)
    cpu = (sum(busy.cpu.values()) - sum(quiet.cpu.values())) / len(others) / WATCH_S
    writes = (busy.rows - quiet.rows) / len(others) / WATCH_S
    return Figure(
        id="U1",
        what=f"one more idle bridge (of {BRIDGES})",
        value=f"{grown_kib:.0f} KiB, {cpu * 1e6:.0f} us CPU/s",
        note=f"{writes:.2f} rows written a second; one look at the database every 5 s serves all of a gateway's bridges",
    )


async def _messages(world: World) -> Figure:
    """People's talk, which asks nobody: stored, remembered, kept at hand."""
    await _settled()
    idle = await _spent(world, seconds=10)
    before = await _read(world)
    for number in range(MESSAGES):
        text = f"we moved orders to postgres and the port of build {number} is wrong since the deploy"
        await asyncio.to_thread(world.asker.say, room_id=world.rooms[number % ROOMS], text=text)
    await _settled()
    return _cost("U2", "one more message", before, await _read(world), idle=idle, count=MESSAGES)


async def _invocations(world: World) -> Figure:
    """A question, its prompt, a short answer: beside what its message alone has cost."""
    async with AsyncExitStack() as stack:
        for slug, token in world.tokens.items():
            bridge = BenchBridge(url=world.stack.hub_url, token=token, slug=slug, on_prompt=_answer)
            await stack.enter_async_context(bridge)
        await _settled()
        idle = await _spent(world, seconds=10)
        before = await _read(world)
        for number in range(INVOCATIONS):
            slug = list(world.tokens)[number % AGENTS]
            text = f"@{slug} why does the deploy of orders fail, number {number}?"
            await asyncio.to_thread(world.asker.say, room_id=world.rooms[number % ROOMS], text=text)
            await asyncio.sleep(PACE_S)
        await asyncio.to_thread(_wait_ended, INVOCATIONS)
        await _settled()
        return _cost("U3", "one more invocation", before, await _read(world), idle=idle, count=INVOCATIONS)


def _cost(name: str, what: str, before: Meter, after: Meter, *, idle: Meter, count: int) -> Figure:
    """What was spent meanwhile, less what these programs spend when nothing happens."""
    spent = _less(after, before)
    share = (after.at - before.at) / idle.at
    cpu = {program: (used - idle.cpu[program] * share) / count * 1000 for program, used in spent.cpu.items()}
    nexus = {program: used for program, used in cpu.items() if program not in NOT_NEXUS}
    shown = ", ".join(
        f"{program} {used:.1f}" for program, used in sorted(cpu.items(), key=lambda one: -one[1]) if used > 0.05
    )
    return Figure(
        id=name,
        what=what,
        value=f"{sum(nexus.values()):.1f} ms CPU, {spent.kept / count / 1024:.1f} KiB kept",
        note=(
            f"CPU ms: {shown}; Postgres: {(spent.commits - idle.commits * share) / count:.1f} transactions,"
            f" {(spent.rows - idle.rows * share) / count:.1f} rows written;"
            f" Redis: {(spent.redis - idle.redis * share) / count:.0f} commands"
        ),
    )


async def _spent(world: World, *, seconds: float) -> Meter:
    before = await _read(world)
    await asyncio.sleep(seconds)
    return _less(await _read(world), before)


def _less(after: Meter, before: Meter) -> Meter:
    return Meter(
        cpu={program: used - before.cpu.get(program, 0.0) for program, used in after.cpu.items()},
        commits=after.commits - before.commits,
        rows=after.rows - before.rows,
        redis=after.redis - before.redis,
        kept=after.kept - before.kept,
        at=after.at - before.at,
    )


async def _read(world: World) -> Meter:
    return await asyncio.to_thread(_look, world)


def _look(world: World) -> Meter:
    import redis
    from django.conf import settings
    from django.db import connection

    sizes = " + ".join(f"pg_total_relation_size('{table}')" for table in TABLES)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted FROM pg_stat_database"
            " WHERE datname = current_database()"
        )
        commits, rows = cursor.fetchone()
        cursor.execute(f"SELECT {sizes}")
        kept = cursor.fetchone()[0]
    with redis.Redis.from_url(settings.NEXUS_REDIS_URL) as client:
        commands = client.info("stats")["total_commands_processed"]
    cpu = {name: cpu_seconds([pid]) for name, pid in world.stack.pids().items()}
    return Meter(cpu=cpu, commits=commits, rows=rows, redis=commands, kept=kept)


def _make_bridges(count: int) -> dict[str, str]:
    """Rows alone: their agents are in no room."""
    from gateway import bridge_auth
    from gateway.models import Agent, Bridge

    tokens = {}
    for number in range(count):
        token = bridge_auth.new_bridge_token()
        bridge = Bridge.objects.create(name=f"idle-{number}", token_digest=bridge_auth.digest_of(token))
        Agent.objects.create(slug=f"echo-idle-{number}", cli_kind="echo", bridge=bridge, parallel=32)
        tokens[f"echo-idle-{number}"] = token
    return tokens


async def _ignore(_bridge: BenchBridge, _prompt: protocol.Prompt) -> None:
    return


async def _answer(bridge: BenchBridge, prompt: protocol.Prompt) -> None:
    await bridge.answer(prompt, payloads=["the port is wrong: it listens on 5433 since the move"])


def _wait_ended(count: int) -> None:
    from gateway.models import Invocation

    deadline = time.monotonic() + 300
    while Invocation.objects.exclude(reply_settled_at=None).count() < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{Invocation.objects.filter(reply_settled_at=None).count()} answers are not said")
        time.sleep(0.2)


async def _settled() -> None:
    """Until memory has taken everything, which goes on behind what people wait for."""
    from gateway.models import Message

    deadline = time.monotonic() + 180
    while await asyncio.to_thread(lambda: Message.objects.filter(remembered_at=None).exists()):
        if time.monotonic() > deadline:
            raise TimeoutError("memory does not get on")
        await asyncio.sleep(0.5)
    # Postgres tells its counts a second late.
    await asyncio.sleep(3)
