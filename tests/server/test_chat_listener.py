"""Does a connection come back after whatever ends it, and stop trying where trying can't help?"""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve

from gateway.chat import listener as listening
from gateway.chat.listener import Listener, waits
from gateway.rocketchat.realtime import Conversation, Ready, Said, Skipped, Watched

MESSAGE = {"_id": "m1", "rid": "r1", "msg": "x", "ts": {"$date": 5}, "u": {"_id": "u", "username": "u"}}


class Server:
    """Speaks enough DDP to become ready; `behave` decides what comes after."""

    def __init__(self, behave=None, *, login=None) -> None:
        self.behave = behave
        self.login = login or {}
        self.connections = 0
        self.frames: list[dict] = []

    async def handle(self, socket) -> None:
        self.connections += 1
        await socket.send('{"server_id":"0"}')
        async for text in socket:
            frame = json.loads(text)
            self.frames.append(frame)
            match frame["msg"]:
                case "connect":
                    await socket.send('{"msg":"connected","session":"s"}')
                case "method" if frame["method"] == "login":
                    await socket.send(json.dumps({"msg": "result", "id": frame["id"]} | self.login))
                case "sub":
                    await socket.send(json.dumps({"msg": "ready", "subs": [frame["id"]]}))
                    if self.behave is not None and "rooms-changed" in frame["params"][0]:
                        await self.behave(socket, self.connections)


@asynccontextmanager
async def _listening(server: Server):
    """Yields the events heard and the reasons of refusals."""
    events: asyncio.Queue = asyncio.Queue()
    refused: asyncio.Queue = asyncio.Queue()
    async with serve(server.handle, "127.0.0.1", 0) as running:
        port = running.sockets[0].getsockname()[1]
        listener = Listener(
            url=f"ws://127.0.0.1:{port}/websocket",
            make_conversation=lambda: Conversation(user_id="bot", username="bot", token="t"),
            on_event=events.put_nowait,
            on_refused=refused.put_nowait,
            name="bot",
            make_waits=lambda: iter([0.0] * 1_000),
        )
        task = asyncio.create_task(listener.run())
        try:
            yield listener, events, refused
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _until(events: asyncio.Queue, kind: type, count: int = 1):
    found = None
    for _ in range(count):
        while not isinstance(found := await asyncio.wait_for(events.get(), 5), kind):
            pass
    return found


async def test_a_connection_that_is_closed_comes_back():
    async def close_first(socket, number):
        if number == 1:
            await socket.close()

    server = Server(close_first)
    async with _listening(server) as (_, events, _refused):
        await _until(events, Ready, 2)

    assert server.connections == 2


async def test_a_silent_connection_is_pinged_and_then_given_up(monkeypatch):
    monkeypatch.setattr(listening, "PING_AFTER_S", 0.02)
    monkeypatch.setattr(listening, "DEAD_AFTER_S", 0.1)
    server = Server()

    async with _listening(server) as (_, events, _refused):
        await _until(events, Ready, 2)

    assert any(frame["msg"] == "ping" for frame in server.frames)


async def test_a_frame_that_is_too_large_costs_the_connection_and_nothing_more():
    async def pour(socket, number):
        if number == 1:
            await socket.send("x" * (listening.MAX_FRAME_BYTES + 1))
            await socket.wait_closed()

    server = Server(pour)
    async with _listening(server) as (_, events, _refused):
        await _until(events, Ready, 2)


async def test_bad_frames_are_skipped_on_the_same_connection():
    async def mumble(socket, _number):
        for frame in ("not json", b"binary", "[]", '{"msg":"changed"}', '{"msg":"surprise"}'):
            await socket.send(frame)
        fields = {"eventName": "__my_messages__", "args": [MESSAGE, {"roomParticipant": True, "roomType": "c"}]}
        await socket.send(json.dumps({"msg": "changed", "collection": "stream-room-messages", "fields": fields}))

    server = Server(mumble)
    async with _listening(server) as (_, events, _refused):
        await _until(events, Skipped, 5)
        said = await _until(events, Said)

    assert said.message.rc_id == "m1"
    assert server.connections == 1


async def test_a_refused_token_is_told_and_not_tried_again_at_once():
    server = Server(login={"error": {"error": 403, "reason": "You've been logged out by the server"}})

    async with _listening(server) as (_, _events, refused):
        reason = await asyncio.wait_for(refused.get(), 5)

    assert "logged out" in reason
    assert server.connections == 1


async def test_typing_without_a_connection_says_so():
    listener = Listener(
        url="ws://127.0.0.1:9/websocket",
        make_conversation=lambda: Conversation(user_id="bot", username="bot", token="t"),
        on_event=lambda _: None,
        on_refused=lambda _: None,
        name="bot",
    )

    with pytest.raises(ConnectionError):
        await listener.typing(rid="r1", thread="", is_typing=True)


async def test_rooms_are_watched_once_ready():
    server = Server()
    async with _listening(server) as (listener, events, _refused):
        await _until(events, Ready)
        listener.watch("r1")
        listener.watch("r1")

        async def watched():
            while not any(frame.get("name") == "stream-notify-room" for frame in server.frames):
                await asyncio.sleep(0.005)

        await asyncio.wait_for(watched(), 5)

    assert sum(frame.get("name") == "stream-notify-room" for frame in server.frames) == 1


async def test_a_room_where_something_was_said_is_watched_before_those_that_wait(monkeypatch):
    monkeypatch.setattr(listening, "STREAM_EVERY_S", 0.01)
    rooms = [f"r{number}" for number in range(40)]
    server = Server()
    async with _listening(server) as (listener, events, _refused):
        await _until(events, Ready)
        for rid in rooms:
            listener.watch(rid)
        listener.watch_first("r39")
        listener.unwatch("r38")
        heard = [(await _until(events, Watched)).rid for _ in range(39)]

    assert heard[0] == "r39"
    assert sorted(heard) == sorted(set(rooms) - {"r38"})


async def test_a_room_that_was_left_is_watched_anew_after_coming_back():
    server = Server()
    async with _listening(server) as (listener, events, _refused):
        await _until(events, Ready)
        listener.watch("r1")
        await _until(events, Watched)

        listener.unwatch("r1")
        listener.watch("r1")
        await _until(events, Watched)

    assert [frame["msg"] for frame in server.frames[-3:]] == ["sub", "unsub", "sub"]


async def test_a_connection_that_says_nothing_can_be_started_anew():
    server = Server()
    async with _listening(server) as (listener, events, _refused):
        await _until(events, Ready)
        listener.reconnect()
        await _until(events, Ready)

    assert server.connections == 2


def test_waits_grow_to_half_a_minute_with_jitter():
    pauses = waits()
    found = [next(pauses) for _ in range(12)]

    assert found[0] <= 1
    assert all(15 <= pause <= 30 for pause in found[6:])
