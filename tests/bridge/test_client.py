"""The client carries a session over real sockets to a hub that commits in memory."""

import asyncio
import itertools
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from nexus_bridge.client import Client, reconnect_delays
from nexus_bridge.errors import ConnectionFailed, CredentialsRefused, FinalError, Replaced, UpgradeRequired
from nexus_bridge.events import Text, encode
from nexus_bridge.journal import Journal
from nexus_bridge.link import connection_error
from nexus_bridge.orders import Ending, Kill, Order, Start
from nexus_bridge.protocol import AgentOffer, Bye, Error, Heartbeat, HubLimits
from nexus_bridge.session import Session
from nexus_bridge.settings import Hub
from tests.fakes.hub import FakeHub, prompt_for

pytestmark = pytest.mark.timeout(60)  # seconds; a busy machine is no failure


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
    def __init__(
        self,
        *,
        hub: FakeHub,
        directory: Path,
        ca_file: Path | None = None,
        delays: Callable[[], Iterator[float]] = no_wait,
    ) -> None:
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
            hub=Hub(url=hub.url, ca_file=ca_file),
            token=hub.token,
            session=self.session,
            watcher=self.watcher,
            delays=delays,
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
    bridge.say(7, "hell", "o")
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


# Refused


@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN])
async def test_refused_credentials_are_final(hub: FakeHub, tmp_path: Path, status: HTTPStatus) -> None:
    hub.refuse_with = status
    bridge = Bridge(hub=hub, directory=tmp_path / "journal")

    with pytest.raises(CredentialsRefused, match="unknown, revoked or expired"):
        await bridge.task

    assert len(hub.authorizations) == 1
    await bridge.close()


async def test_a_hub_of_another_version_is_final(hub: FakeHub, tmp_path: Path) -> None:
    hub.refuse_with = HTTPStatus.UPGRADE_REQUIRED
    bridge = Bridge(hub=hub, directory=tmp_path / "journal")

    with pytest.raises(UpgradeRequired, match="needs another version"):
        await bridge.task

    await bridge.close()


async def test_a_hub_in_trouble_is_tried_again(hub: FakeHub, bridge: Bridge) -> None:
    hub.refuse_with = HTTPStatus.SERVICE_UNAVAILABLE
    await hub.cut()
    await until(lambda: len(hub.authorizations) > 2)

    hub.refuse_with = None
    await hub.connected()

    assert f"{hub.url} answered HTTP 503; is it your Nexus, and is it up?" in bridge.watcher.lines


async def test_a_redirect_is_not_followed_and_the_token_stays_here(hub: FakeHub, tmp_path: Path) -> None:
    async with FakeHub().running() as elsewhere:
        hub.redirect_to = elsewhere.url
        bridge = Bridge(hub=hub, directory=tmp_path / "journal")
        await until(lambda: bridge.watcher.lines)

        assert f"{hub.url} redirects to {elsewhere.url}; if that is right, write it into `hub`" in bridge.watcher.lines
        assert elsewhere.authorizations == []
        await bridge.close()


@pytest.mark.parametrize(("code", "error"), [(4403, CredentialsRefused), (4409, Replaced), (4426, UpgradeRequired)])
async def test_a_close_code_says_it_when_the_bye_is_lost(
    hub: FakeHub, bridge: Bridge, code: int, error: type[FinalError]
) -> None:
    await hub.connected()

    await hub.close(code)

    with pytest.raises(error, match="for good"):
        await bridge.task


async def test_a_bye_for_good_ends_the_bridge(hub: FakeHub, bridge: Bridge) -> None:
    await hub.connected()

    await hub.send(Bye(reason="replaced", reconnect=False))

    with pytest.raises(Replaced):
        await bridge.task


async def test_a_bye_with_a_way_back_brings_the_bridge_back(hub: FakeHub, bridge: Bridge) -> None:
    await hub.connected()

    await hub.send(Bye(reason="shutting_down", reconnect=True))
    await hub.connected(count=2)

    assert "the hub said bye (shutting_down)" in bridge.watcher.lines


# The network


async def test_a_silent_hub_is_noticed(hub: FakeHub, bridge: Bridge) -> None:
    await hub.connected()
    hub.welcome = {"limits": HubLimits(heartbeat_s=0.02, peer_dead_s=0.1)}
    await hub.cut()
    await hub.connected(count=2)

    hub.is_silent = True
    await until(lambda: "the hub was silent for 0.1 s" in bridge.watcher.lines)
    hub.is_silent = False

    await hub.connected(count=3)


async def test_heartbeats_keep_the_connection(hub: FakeHub, bridge: Bridge) -> None:
    hub.welcome = {"limits": HubLimits(heartbeat_s=0.02, peer_dead_s=0.2)}
    await hub.connected()
    await hub.cut()
    await hub.connected(count=2)

    await hub.until(lambda: sum(isinstance(frame, Heartbeat) for frame in hub.received) > 15)

    assert len(hub.hellos) == 2


async def test_what_is_no_frame_is_answered_and_the_connection_stays(hub: FakeHub, bridge: Bridge) -> None:
    await hub.connected()

    await hub.send_raw("what?")
    await hub.send_raw(b"\x00\x01")
    await hub.send_raw('{"type": "dance"}')
    await hub.until(lambda: sum(isinstance(frame, Error) for frame in hub.received) == 3)

    assert [frame.code for frame in hub.received if isinstance(frame, Error)] == [
        "bad_json",
        "bad_frame",
        "unknown_type",
    ]


async def test_a_prompt_of_several_megabytes_arrives(hub: FakeHub, bridge: Bridge) -> None:
    await hub.connected()

    row = await hub.offer(prompt_for(7, text="x" * 5_000_000))
    await hub.until(lambda: row.state == "running")

    assert bridge.hands.started == [7]


async def test_output_larger_than_the_window_arrives_whole_over_many_cuts(hub: FakeHub, bridge: Bridge) -> None:
    await hub.connected()
    row = await hub.offer(prompt_for(7))
    await hub.until(lambda: row.state == "running")

    words = [f"{number} ".ljust(900, "x") for number in range(1_000)]
    for first in range(0, 1_000, 100):
        bridge.say(7, *words[first : first + 100])
        if first % 300 == 0:
            await hub.cut()
        await asyncio.sleep(0)
    bridge.client.end(7, Ending(outcome="done"))
    await hub.until(lambda: row.end is not None)

    assert row.text == "".join(words)
    assert row.is_whole


async def test_a_network_that_hands_over_single_bytes_changes_nothing(hub: FakeHub, tmp_path: Path) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while byte := await reader.read(1):
            writer.write(byte)
            await writer.drain()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", int(hub.url.rsplit(":", 1)[1]))
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            writer.close()
            back.close()

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as slow:
        near = FakeHub()
        near.url = f"ws://127.0.0.1:{slow.sockets[0].getsockname()[1]}"
        bridge = Bridge(hub=near, directory=tmp_path / "journal")
        await hub.connected()
        row = await hub.offer(prompt_for(7))
        await hub.until(lambda: row.state == "running")
        bridge.say(7, *(f"{number} " for number in range(50)))
        bridge.client.end(7, Ending(outcome="done"))
        await hub.until(lambda: row.end is not None)

        assert row.is_whole
        await bridge.close()


async def test_a_clock_that_is_off_is_told(hub: FakeHub, tmp_path: Path) -> None:
    hub.date = "Sun, 06 Nov 1994 08:49:37 GMT"
    bridge = Bridge(hub=hub, directory=tmp_path / "journal")
    await until(lambda: "connected" in bridge.watcher.lines)

    assert any("minutes off the hub's; set it right" in line for line in bridge.watcher.lines)
    await bridge.close()


async def test_a_date_that_is_none_is_left_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.date = "yesterday"
    bridge = Bridge(hub=hub, directory=tmp_path / "journal")
    await until(lambda: bridge.watcher.lines)

    assert bridge.watcher.lines == ["connected"]
    await bridge.close()


async def test_a_certificate_that_nobody_vouches_for_is_named(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.tls = self_signed(tmp_path)
    async with hub.running():
        bridge = Bridge(hub=hub, directory=tmp_path / "journal")
        await until(lambda: bridge.watcher.lines)

        assert "is not accepted: self-signed certificate" in bridge.watcher.lines[0]
        assert "`ca_file`" in bridge.watcher.lines[0]
        assert hub.authorizations == []
        await bridge.close()


async def test_a_team_may_vouch_for_its_own_certificate(tmp_path: Path) -> None:
    hub = FakeHub()
    hub.tls = self_signed(tmp_path)
    async with hub.running():
        bridge = Bridge(hub=hub, directory=tmp_path / "journal", ca_file=tmp_path / "cert.pem")

        await hub.connected()
        await bridge.close()


# Stopping


async def test_stop_waits_for_live_turns_and_their_acks(hub: FakeHub, bridge: Bridge) -> None:
    await hub.connected()
    row = await hub.offer(prompt_for(7))
    await hub.until(lambda: row.state == "running")

    stopping = asyncio.create_task(bridge.client.stop(grace_s=5.0))
    await asyncio.sleep(0)
    bridge.client.end(7, Ending(outcome="done"))
    bridge.client.freed(7)
    await stopping
    await bridge.task

    assert row.end is not None
    assert row.end.outcome == "done"


async def test_stop_while_apart_ends_the_wait(hub: FakeHub, tmp_path: Path) -> None:
    hub.refuse_with = HTTPStatus.SERVICE_UNAVAILABLE
    bridge = Bridge(hub=hub, directory=tmp_path / "journal", delays=lambda: iter([3_600.0]))
    await until(lambda: bridge.watcher.lines)

    await bridge.client.stop(grace_s=0.0)
    await bridge.task
    await bridge.close()


async def test_stop_does_not_wait_for_a_hub_that_never_answers(tmp_path: Path) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        hub = FakeHub()
        hub.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        bridge = Bridge(hub=hub, directory=tmp_path / "journal")
        await asyncio.sleep(0.05)  # so that it is connecting; earlier would be right too

        await bridge.client.stop(grace_s=0.0)
        await bridge.task
        await bridge.close()


# Errors in words


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TimeoutError(), "did not answer within 15 s"),
        (socket.gaierror(-2, "unknown"), "the name in wss://x.org is not known"),
        (ConnectionRefusedError(111, "Connection refused"), "no connection to wss://x.org: Connection refused"),
        (ImportError("python-socks is required"), "the proxy of this machine can't be used"),
        (EOFError("nothing"), "does not speak WebSocket there"),
    ],
)
def test_each_failure_is_a_sentence(error: Exception, told: str) -> None:
    found = connection_error(error, hub=Hub(url="wss://x.org"))

    assert isinstance(found, ConnectionFailed)
    assert told in str(found)


def test_waits_grow_from_one_second_to_half_a_minute_and_differ() -> None:
    shortest = list(itertools.islice(reconnect_delays(lambda: 0.0), 12))
    longest = list(itertools.islice(reconnect_delays(lambda: 1.0), 12))

    assert shortest[0] == 1.0
    assert longest[0] == 1.5
    assert shortest == sorted(shortest)
    assert sum(longest[:4]) < 15
    assert (shortest[-1], longest[-1]) == (15.0, 30.0)


async def until(is_so: Callable[[], object], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.001)


def self_signed(directory: Path) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 that is its own authority."""
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=nexus"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")),
        ),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context
