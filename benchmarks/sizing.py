"""Z1: how large must a host be? Memory and CPU of the whole stack with 1, 5, 20 and 100 developers, idle and with a tenth of them answering.

Each developer is an agent with a bot account and a connected bridge; twenty share a room. Nexus, Postgres and Valkey are told
apart; the chat server is not counted. SIZING="5 100" chooses the numbers.
"""

import asyncio
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

from benchmarks.figures import Figure
from benchmarks.peers import BenchBridge, cpu_seconds, pss_mib
from benchmarks.world import World, running
from nexus_bridge import protocol

IDS = ("Z1",)

TEAM = 20
SETTLE_S, IDLE_S = 20.0, 20.0
STREAM_S, CHUNKS_PER_S = 20.0, 10
PROMPT_TIMEOUT_S = 120.0
LIMIT_S = 600
WORDS = "The quick brown fox jumps over the lazy dog. "


def measure() -> Iterator[Figure]:
    counts = os.environ.get("SIZING", "1 5 20 100").split()
    if len(counts) > 1:
        for count in counts:
            yield from _measure_apart(count)
        return
    developers = int(counts[0])
    with running(rooms=math.ceil(developers / TEAM), agents=developers) as world:
        yield asyncio.run(_Team(world).measure())


def _measure_apart(count: str) -> Iterator[Figure]:
    """In a process of its own: Django is set up once, for one database."""
    argv = [sys.executable, "-m", "benchmarks", "--script", "sizing"]
    env = {**os.environ, "SIZING": count}
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT_S)
    yield from (Figure(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{"))


class _Team:
    """All developers of one host, for one measurement."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._prompted = asyncio.Semaphore(0)

    async def measure(self) -> Figure:
        count = len(self._world.tokens)
        answering = math.ceil(count / 10)
        async with AsyncExitStack() as bridges:
            for slug, token in self._world.tokens.items():
                url = self._world.stack.hub_url
                bridge = BenchBridge(url=url, token=token, slug=slug, on_prompt=self._stream)
                await bridges.enter_async_context(bridge)
            await asyncio.sleep(SETTLE_S)
            idle = await self._watch(IDLE_S)
            await self._ask(answering)
            busy = await self._watch(STREAM_S / 2)
            await asyncio.sleep(STREAM_S)
        return Figure(
            id="Z1",
            what=f"{count} developers: idle; {answering} answering at once",
            value=f"{idle}; {busy}",
            note="memory (PSS) and cores of Nexus + Postgres + Valkey",
        )

    async def _ask(self, answering: int) -> None:
        """Returns when the last of them has its prompt."""
        for number, slug in enumerate(list(self._world.tokens)[:answering]):
            rid = self._world.rooms[number % len(self._world.rooms)]
            message = {"rid": rid, "msg": f"@{slug} question {number}"}
            await asyncio.to_thread(self._world.asker.post, "chat.sendMessage", message=message)
        async with asyncio.timeout(PROMPT_TIMEOUT_S):
            for _ in range(answering):
                await self._prompted.acquire()

    async def _stream(self, bridge: BenchBridge, prompt: protocol.Prompt) -> None:
        self._prompted.release()
        payloads = [WORDS] * int(STREAM_S * CHUNKS_PER_S)
        await bridge.answer(prompt, payloads=payloads, pause_s=1 / CHUNKS_PER_S)

    async def _watch(self, seconds: float) -> str:
        pids = self._world.stack.pids()
        groups = (self._world.nexus_pids, [pids["postgres"]], [pids["valkey"]])
        began, before = time.monotonic(), [cpu_seconds(group) for group in groups]
        await asyncio.sleep(seconds)
        took = time.monotonic() - began
        cores = [(cpu_seconds(group) - used) / took for group, used in zip(groups, before, strict=True)]
        memory = [pss_mib(group) for group in groups]
        return f"{' + '.join(f'{one:.0f}' for one in memory)} MiB, {' + '.join(f'{one:.2f}' for one in cores)} cores"
