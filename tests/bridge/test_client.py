"""The client carries a session over real sockets to a hub that commits in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from nexus_bridge.client import Client
from nexus_bridge.events import Text, encode
from nexus_bridge.journal import Journal
from nexus_bridge.orders import Ending, Kill, Order, Start
from nexus_bridge.protocol import AgentOffer
from nexus_bridge.session import Session
from nexus_bridge.settings import Hub
from tests.fakes.hub import FakeHub, prompt_for


class QuietWatcher:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def connected(self, *, session: str) -> None:
        self.lines.append("connected")

    def disconnected(self, *, reason: str, retry_in_s: float) -> None:
        self.lines.append(reason)

    def ordered(self, order: Order) -> None: ...

    def said(self, invocation: int, chunks: object) -> None: ...

    def ended(self, invocation: int, ending: Ending) -> None: ...

    def tell(self, text: str) -> None:
        self.lines.append(text)


class Hands:
    """Obeys by remembering."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.client: Client | None = None

    @property
    def session_count(self) -> int:
        return 0

    @property
    def started(self) -> list[int]:
        return [order.prompt.invocation for order in self.orders if isinstance(order, Start)]

    def obey(self, order: Order) -> None:
        self.orders.append(order)
        if isinstance(order, Kill) and self.client is not None:
            self.client.freed(order.invocation)


def no_wait() -> Iterator[float]:
    while True:
        yield 0.01


class Bridge:
    def __init__(self, *, hub: FakeHub, directory: Path) -> None:
        self.journal = Journal.open(directory=directory, now=0.0)
        self.watcher = QuietWatcher()
        self.hands = Hands()
        self.session = Session(
            journal=self.journal,
            agents=[AgentOffer(slug="echo-alice", cli_kind="echo", parallel=4)],
            gate=lambda _: None,
            client_version="0.1.0",
        )
        self.client = Client(
            hub=Hub(url=hub.url), token=hub.token, session=self.session, watcher=self.watcher, delays=no_wait
        )
        self.client.use(self.hands)
        self.hands.client = self.client
        self.task = asyncio.create_task(self.client.run())

    def say(self, invocation: int, *words: str) -> None:
        self.client.spool(invocation, [("text", encode(Text(delta=word))) for word in words])

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.journal.close()


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with FakeHub().running() as hub:
        yield hub
        assert hub.errors == []


@pytest.fixture
async def bridge(hub: FakeHub, tmp_path: Path) -> AsyncIterator[Bridge]:
    bridge = Bridge(hub=hub, directory=tmp_path / "journal")
    yield bridge
    await bridge.close()


async def test_a_prompt_becomes_chunks_and_an_end(hub: FakeHub, bridge: Bridge) -> None:
    await hub.connected()

    row = await hub.offer(prompt_for(7))
    await hub.until(lambda: row.state == "running")
    bridge.say(7, "hel", "lo")
    bridge.client.end(7, Ending(outcome="done"))
    bridge.client.freed(7)
    await hub.until(lambda: row.end is not None)

    assert row.text == "hello"
    assert row.is_whole


async def test_a_cut_in_the_middle_loses_and_doubles_nothing(hub: FakeHub, bridge: Bridge) -> None:
    await hub.connected()
    row = await hub.offer(prompt_for(7))
    await hub.until(lambda: row.state == "running")
    hub.is_acking = False
    bridge.say(7, "one ")
    await hub.until(lambda: len(row.chunks) == 1)

    await hub.cut()
    bridge.say(7, "two ")
    hub.is_acking = True
    await hub.connected(count=2)
    bridge.say(7, "three")
    bridge.client.end(7, Ending(outcome="done"))
    await hub.until(lambda: row.end is not None)

    assert row.text == "one two three"
    assert row.is_whole
    assert bridge.hands.started == [7]
