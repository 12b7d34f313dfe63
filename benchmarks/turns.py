"""H1 to H4, M1, M2: what Nexus adds to a turn, as a room and a bridge see it; memory and work of its processes.

The whole embedded stack runs; the chat is the devchat, heard by an ear of our own on the same event; the bridge answers at
once. So a figure is Nexus's own time: from the event in the chat to the prompt frame at the bridge, and from the first
chunk at the bridge to the text in the chat less the chat's own time for a post.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from benchmarks import peer_hub
from benchmarks.figures import Figure, median, ms, percentile
from benchmarks.peers import BenchBridge, Ear, cpu_seconds, pss_mib
from benchmarks.queue import how_much_slower
from benchmarks.world import World, fill_room, running
from nexus_bridge import protocol

IDS = ("H1", "H2", "H3", "H4", "M1", "M2")
ROOMS, AGENTS = 50, 2
HISTORY = 10_000
IDLE_TURNS = 60
STREAM_S, CHUNKS_PER_S = 20, 20
BURST = 400
ROUNDS = 3
"""Of H1, in turn with its named peer where that is here."""

STEADY_S, TURNS_PER_S = 10, 20


class Idle(NamedTuple):
    """p50 and p99 in seconds, ours and those of H1's named peer just before, if it is here."""

    ours: tuple[float, float]
    peer: tuple[float, float] | None


def measure() -> Iterator[Figure]:
    slower, peer = how_much_slower(), peer_hub.in_this_hour()
    earlier: list[Idle] = []
    while peer is not None and len(earlier) < ROUNDS - 1:
        earlier.append(Idle(_idle_alone(), peer))
        peer = peer_hub.in_this_hour()
    with running(rooms=ROOMS, agents=AGENTS) as world:
        time.sleep(5)
        idle_mib = pss_mib(world.nexus_pids)
        fill_room(room_id=world.rooms[0], count=HISTORY)
        figures = _Run(world, slower=slower, peer=peer, earlier=earlier).all(idle_mib)
        # Figure by figure, so that what is measured is shown even when a later measurement fails.
        with asyncio.Runner() as runner, contextlib.suppress(StopAsyncIteration):
            while True:
                yield from runner.run(_next(figures))


def _idle_alone() -> tuple[float, float]:
    """H1 in a stack of its own, for the peer must have the machine to itself; in a process of its own, as Django's settings."""
    asked = [sys.executable, "-m", "benchmarks.turns"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=180, check=True)
    p50, p99 = json.loads(done.stdout.strip().splitlines()[-1])
    return p50, p99


def main() -> None:
    with running(rooms=ROOMS, agents=AGENTS) as world:
        time.sleep(5)
        fill_room(room_id=world.rooms[0], count=HISTORY)
        sys.stdout.write(json.dumps(asyncio.run(_Run(world).idle_alone())))


class _Run:
    """One run over a world; the bridges are shared by all its measurements."""

    def __init__(
        self,
        world: World,
        *,
        slower: float = 1.0,
        peer: tuple[float, float] | None = None,
        earlier: Sequence[Idle] = (),
    ) -> None:
        self.world = world
        self.slower = slower
        self.peer = peer
        self.earlier = earlier
        self.bridges: list[BenchBridge] = []
        self.ear: Ear
        self.streaming: set[int] = set()
        self.first_chunk_at: dict[int, float] = {}
        self.stream = False
        self._arrived: dict[int, asyncio.Event] = {}

    async def all(self, idle_mib: float) -> AsyncIterator[list[Figure]]:
        async with self._connected():
            yield await self._idle()
            yield await self._under_streams(idle_mib)
            yield await self._steady()
            yield await self._burst()

    async def idle_alone(self) -> tuple[float, float]:
        async with self._connected():
            waits, _ = await self._ask_idle()
        return median(waits), percentile(waits, 0.99)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        asker = self.world.asker
        async with Ear(url=self.world.stack.chat_url, token=asker.session.headers["X-Auth-Token"]) as self.ear:
            for slug, token in self.world.tokens.items():
                bridge = BenchBridge(url=self.world.stack.hub_url, token=token, slug=slug, on_prompt=self._on_prompt)
                self.bridges.append(await bridge.__aenter__())
            await self._wait_members()
            try:
                yield
            finally:
                for bridge in self.bridges:
                    await bridge.__aexit__()

    async def _on_prompt(self, bridge: BenchBridge, prompt: protocol.Prompt) -> None:
        marker = prompt.prompt.rpartition("turn-")[2].split()[0]
        self.first_chunk_at[int(marker)] = time.perf_counter()
        self._arrived.setdefault(int(marker), asyncio.Event()).set()
        if self.stream and int(marker) < ROOMS:
            await bridge.answer(prompt, payloads=["word "] * (STREAM_S * CHUNKS_PER_S), pause_s=1 / CHUNKS_PER_S)
        else:
            await bridge.answer(prompt, payloads=[f"answer-{marker} to what was asked"])

    async def _ask(self, number: int, *, room: int, agent: int = 0) -> float:
        """Seconds from the event in the chat to the prompt at the bridge."""
        slug = self.bridges[agent].slug
        text = f"@{slug} why does the deploy of orders fail turn-{number} "
        heard = asyncio.create_task(self.ear.hear(lambda message: f"turn-{number} " in message["msg"] + " "))
        await self.ear.say(room_id=self.world.rooms[room], text=text)
        asked_at = await heard
        return await self._prompt_at(number) - asked_at

    async def _prompt_at(self, number: int, *, timeout_s: float = 60.0) -> float:
        arrived = self._arrived.setdefault(number, asyncio.Event())
        try:
            await asyncio.wait_for(arrived.wait(), timeout_s)
        except TimeoutError:
            ends = [(bridge.slug, bridge.ended, bridge.last) for bridge in self.bridges]
            raise TimeoutError(f"{await asyncio.to_thread(_where_is, number)}; bridges {ends}") from None
        return self.first_chunk_at[number]

    async def _wait_members(self) -> None:
        """Until Nexus knows its rooms: a first mention in each is answered."""
        for room in range(ROOMS):
            await self._ask(900_000 + room, room=room, agent=room % AGENTS)
        await asyncio.sleep(2)

    async def _ask_idle(self) -> tuple[list[float], list[float]]:
        """Seconds from event to prompt, and from first chunk to text, of one question after the other."""
        waits, posts = [], []
        for number in range(100_000, 100_000 + IDLE_TURNS):
            answered = asyncio.create_task(self.ear.hear(partial(_starts_with, start=f"answer-{number} ")))
            waits.append(await self._ask(number, room=0))
            posts.append(await answered - self.first_chunk_at[number])
            # What comes after an answer (the final edit, its row, its footer) is over before the next question.
            await asyncio.sleep(peer_hub.PAUSE_S)
        return waits, posts

    async def _idle(self) -> list[Figure]:
        waits, posts = await self._ask_idle()
        own = median([await self._chat_own_s(number) for number in range(20)])
        rounds = [*self.earlier, Idle((median(waits), percentile(waits, 0.99)), self.peer)]
        p50, p99 = (median([one.ours[at] for one in rounds]) for at in (0, 1))
        if self.peer is not None:
            self.peer = (
                median([one.peer[0] for one in rounds if one.peer]),
                median([one.peer[1] for one in rounds if one.peer]),
            )
        slower50, slower99 = self._beside_peer()
        post = median(posts) - own
        return [
            Figure(
                id="H1",
                what=f"chat event to prompt frame, idle, {HISTORY} messages, p50 / p99",
                value=f"{ms(p50)} / {ms(p99)}",
                goal="15 / 25 ms (must 25 / 60)",
                is_met=p50 <= 0.015 * slower50 and p99 <= 0.025 * slower99,
                note=f"must {'holds' if p50 <= 0.025 * slower50 and p99 <= 0.06 * slower99 else 'MISSED'};"
                f" n={len(waits)}, median of {len(rounds)}; {self._peer_said() if self.peer else self._calibration()}",
            ),
            Figure(
                id="H3",
                what="first chunk at the bridge to text in chat, less the chat's own, p50",
                value=ms(post),
                goal="10 ms (must 15)",
                is_met=post <= 0.010 * self.slower,
                note=f"must {'holds' if post <= 0.015 * self.slower else 'MISSED'}; {self._calibration()}; with the chat's own {ms(own)}: {ms(median(posts))}",
            ),
        ]

    def _beside_peer(self) -> tuple[float, float]:
        """By how much H1's goals grow: as much as its named peer is slower here, else as a bare Celery chain is."""
        if self.peer is None:
            return self.slower, self.slower
        return self.peer[0] / peer_hub.P50_THERE_S, self.peer[1] / peer_hub.P99_THERE_S

    def _peer_said(self) -> str:
        p50, p99 = self.peer or (0.0, 0.0)
        there = f"{ms(peer_hub.P50_THERE_S)} / {ms(peer_hub.P99_THERE_S)}"
        return f"the peer hub takes {ms(p50)} / {ms(p99)} here, {there} where the goals were set, and the goals grow with it"

    def _calibration(self) -> str:
        return f"a bare Celery chain takes {self.slower:.1f} of what it took where the goals were set, and the goals with it"

    async def _chat_own_s(self, number: int) -> float:
        """From a post's REST call to its event at another connection, with nothing of Nexus between."""
        text = f"own-{number}-{time.time()}"
        heard = asyncio.create_task(self.ear.hear(lambda message: message["msg"] == text))
        started_at = time.perf_counter()
        await self.ear.say(room_id=self.world.rooms[1], text=text)
        return await heard - started_at

    async def _burst(self) -> list[Figure]:
        waits = await self._at_once(range(200_000, 200_050))
        started_at = time.perf_counter()
        numbers = range(210_000, 210_000 + BURST)
        await self._at_once(numbers)
        rate = BURST / (max(self.first_chunk_at[number] for number in numbers) - started_at)
        p99 = percentile(waits, 0.99)
        return [
            Figure(
                id="H4",
                what="50 mentions in 50 rooms at once to prompts, p99; drain of 400",
                value=f"{ms(p99)}; {rate:.0f}/s",
                goal="380 ms; 150/s",
                is_met=p99 <= 0.380 and rate >= 150,
                note="from the chat's event of each mention; the drain includes posting the 400 mentions",
            )
        ]

    async def _at_once(self, numbers: range) -> list[float]:
        asks = [self._ask(number, room=index % ROOMS, agent=index % AGENTS) for index, number in enumerate(numbers)]
        return await asyncio.gather(*asks)

    async def _steady(self) -> list[Figure]:
        """CPU per turn at a steady rate, workers' and chat's included."""
        await asyncio.sleep(3)
        before, started_at = cpu_seconds(self.world.nexus_pids), time.perf_counter()
        asks = []
        for index in range(STEADY_S * TURNS_PER_S):
            asks.append(asyncio.create_task(self._ask(300_000 + index, room=index % ROOMS, agent=index % AGENTS)))
            await asyncio.sleep(max(0.0, started_at + (index + 1) / TURNS_PER_S - time.perf_counter()))
        await asyncio.gather(*asks)
        await asyncio.sleep(2)
        used = (cpu_seconds(self.world.nexus_pids) - before) / len(asks)
        return [
            Figure(
                id="M2",
                what=f"CPU of all Nexus processes per turn at {TURNS_PER_S} turns/s",
                value=ms(used),
                goal="25 ms",
                is_met=used <= 0.025,
            )
        ]

    async def _under_streams(self, idle_mib: float) -> list[Figure]:
        """50 rooms stream while one new mention comes each second; memory with 20 agents' worth of streams and more."""
        self.stream = True
        await self._at_once(range(ROOMS))
        waits = []
        for number in range(400_000, 400_000 + STREAM_S - 3):
            waits.append(await self._ask(number, room=number % ROOMS, agent=1 - number % AGENTS))
            await asyncio.sleep(1)
        busy_mib = pss_mib(self.world.nexus_pids)
        p99 = percentile(waits, 0.99)
        return [
            Figure(
                id="H2",
                what="the same while 50 rooms stream 20 chunks/s each, p99",
                value=ms(p99),
                goal="250 ms",
                is_met=p99 <= 0.250,
                note=f"p50 {ms(median(waits))}, n={len(waits)}",
            ),
            Figure(
                id="M1",
                what="PSS of all Nexus processes, idle / with 50 rooms streaming",
                value=f"{idle_mib:.0f} / {busy_mib:.0f} MiB",
                goal="600 / 900 MB",
                is_met=idle_mib <= 572 and busy_mib <= 858,
            ),
        ]


async def _next(figures: AsyncIterator[list[Figure]]) -> list[Figure]:
    return await anext(figures)


def _starts_with(message: dict[str, Any], *, start: str) -> bool:
    return bool(message["msg"].startswith(start))


def _where_is(number: int) -> str:
    """What became of a turn that reached no bridge, for whoever mends it."""
    from django.db.models import Count

    from gateway.models import Invocation, Message

    rows = Invocation.objects.filter(message__text__contains=f"turn-{number} ").values(
        "id", "state", "reason", "detail"
    )
    messages = Message.objects.filter(text__contains=f"turn-{number} ").count()
    states = list(Invocation.objects.values_list("state", "agent__slug", "fence").annotate(Count("id")))
    return f"turn {number} reached no bridge: messages {messages}, rows {list(rows)}, all states {states}"


if __name__ == "__main__":
    main()
