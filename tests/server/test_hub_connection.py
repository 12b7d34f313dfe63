"""One connection without a socket: order, bounds, clocks."""

import asyncio
import json
import time

import pytest

from gateway.hub import connection as connection_module
from gateway.hub.connection import Connection
from gateway.hub.process import CLOSING_S, HELLO_S, Hub
from nexus_bridge.protocol import PEER_DEAD_S, Ack, Error


class Socket:
    """Keeps what was sent; `is_stuck` makes it one that takes nothing."""

    def __init__(self):
        self.sent = []
        self.free = asyncio.Event()
        self.free.set()

    async def send(self, message):
        await self.free.wait()
        self.sent.append(message)

    @property
    def frames(self):
        return [json.loads(message["text"]) for message in self.sent if "text" in message]

    @property
    def code(self):
        return next((message["code"] for message in self.sent if "code" in message), None)


@pytest.fixture
async def socket():
    return Socket()


@pytest.fixture
async def link(socket):
    link = Connection(bridge_id=1, name="alice", token_digest="d", send=socket.send)
    link.session = "s"
    return link


async def test_frames_leave_in_the_order_they_were_posted(link, socket):
    for seq in range(1, 50):
        link.post(Ack(invocation=1, seq=seq))
        if seq % 7 == 0:
            await asyncio.sleep(0)
    await link.drained()

    assert [frame["seq"] for frame in socket.frames] == list(range(1, 50))


async def test_a_bye_is_the_last_word(link, socket):
    link.bye("replaced", reconnect=False)
    link.post(Ack(invocation=1, seq=1))
    link.bye("silent")
    await link.drained()

    assert [frame["type"] for frame in socket.frames] == ["bye"]
    assert socket.code == 4409


async def test_a_peer_that_reads_nothing_is_sent_away_and_holds_no_memory(link, socket, monkeypatch):
    monkeypatch.setattr(connection_module, "MAX_UNSENT_BYTES", 1_000)
    socket.free.clear()
    for _ in range(100):
        link.post(Error(code="x", message="y" * 100))
        await asyncio.sleep(0)
    assert link.is_closing
    socket.free.set()
    await link.drained()

    assert socket.code == 4008
    assert len(socket.sent) < 20


async def test_a_socket_that_breaks_while_sending_ends_nothing_else(socket):
    async def broken(_message):
        raise OSError("gone")

    link = Connection(bridge_id=1, name="alice", token_digest="d", send=broken)
    link.post(Ack(invocation=1, seq=1))
    await link.drained()
    link.post(Ack(invocation=1, seq=2))
    await link.drained()


async def test_the_fifth_bad_frame_is_the_last(link, socket):
    for _ in range(5):
        link.bad_frame(Error(code="bad_json"))
    await link.drained()

    assert [frame["type"] for frame in socket.frames] == ["error"] * 5 + ["bye"]
    assert socket.code == 4400


async def test_old_bad_frames_are_forgiven(link, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for _ in range(12):
        link.bad_frame(Error(code="bad_json"))
        now[0] += 20

    assert not link.is_closing


@pytest.mark.parametrize(
    ("silent_s", "session", "code"), [(PEER_DEAD_S, "s", 4408), (HELLO_S + 1, "", 4401), (5, "s", None), (5, "", None)]
)
async def test_who_is_silent_is_closed(link, socket, silent_s, session, code):
    hub = Hub()
    hub.add(link)
    link.session = session
    link.heard_at = link.opened_at = time.monotonic() - silent_s

    hub._check_clocks()
    await link.drained()

    assert socket.code == code


async def test_who_does_not_hang_up_is_cut_off(socket):
    hub = Hub()
    started = asyncio.Event()

    async def converse():
        link = Connection(bridge_id=1, name="alice", token_digest="d", send=socket.send)
        hub.add(link)
        link.bye("silent")
        link.closing_at = time.monotonic() - CLOSING_S - 1
        started.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(converse())
    await started.wait()
    hub._check_clocks()

    with pytest.raises(asyncio.CancelledError):
        await task
