"""Does a realtime connection shake hands, keep alive, log in and answer calls as Rocket.Chat's does?"""

import hashlib
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from gateway.devchat.ddp import SILENCE_MS, Session
from gateway.devchat.store import Store
from gateway.devchat.workspace import Workspace
from tests.contract.conftest import PASSWORD, Clock, Devchat, Person
from tests.contract.ddp_client import DdpClient


async def test_the_first_frame_names_the_server_and_no_message(devchat: Devchat) -> None:
    async with connect(f"ws://127.0.0.1:{devchat.port}/websocket") as socket:
        assert await socket.recv() == '{"server_id":"0"}'


@pytest.mark.parametrize("version", ["1", "pre2", "pre1"])
async def test_three_versions_are_spoken(devchat: Devchat, version: str) -> None:
    async with DdpClient.connect(f"ws://127.0.0.1:{devchat.port}/websocket", version=version) as client:
        assert await client.quiet() == [{"server_id": "0"}]


async def test_an_unknown_version_is_told_which_one_to_take(devchat: Devchat) -> None:
    async with connect(f"ws://127.0.0.1:{devchat.port}/websocket") as socket:
        await socket.recv()
        await socket.send('{"msg":"connect","version":"9","support":["9"]}')

        assert json.loads(await socket.recv()) == {"msg": "failed", "version": "1"}
        await socket.wait_closed()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (["not json"], 1007),
        (['{"msg":"ping"}'], 1002),
        (['{"msg":"connect","version":"1"}', '{"msg":"method","method":"login"}'], 1002),
        (['{"msg":"connect","version":"1"}', '{"msg":"sub","id":"1"}'], 1002),
        (['{"msg":"connect","version":"1"}', "[1]"], 1007),
        ([b"\x00binary"], 1007),
    ],
    ids=["no json", "no connect", "method without id", "sub without name", "no object", "binary"],
)
async def test_broken_frames_close_with_a_code(devchat: Devchat, frames: list[str | bytes], code: int) -> None:
    async with connect(f"ws://127.0.0.1:{devchat.port}/websocket") as socket:
        for frame in frames:
            await socket.send(frame)

        with pytest.raises(ConnectionClosedError) as closed:
            await drain(socket)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


@pytest.mark.parametrize(
    "frame",
    [
        {"msg": "sub", "id": "1", "name": "stream-room-messages", "params": {"0": "x"}},
        {"msg": "sub", "id": "1", "name": "stream-room-messages", "params": [["x"]]},
        {"msg": "sub", "id": "1", "name": "stream-notify-room", "params": ["x/y/z", 7]},
        {"msg": "method", "id": "1", "method": "login", "params": "x"},
        {"msg": "method", "id": "1", "method": "login", "params": [{"user": 7}]},
        {"msg": "method", "id": "1", "method": "loadHistory", "params": [None, "x", "many"]},
        {"msg": "method", "id": "1", "method": "stream-notify-room", "params": []},
        {"msg": "method", "id": "1", "method": "sendMessage", "params": [{"rid": "GENERAL", "attachments": ["x"]}]},
        {"msg": "unheard of"},
        {"no": "msg"},
    ],
)
async def test_odd_frames_are_answered_and_the_conversation_goes_on(
    devchat: Devchat, alice: Person, frame: dict[str, Any]
) -> None:
    async with devchat.realtime(alice) as client:
        await client.quiet()
        await client.send(**frame)

        answers = [answer for answer in await client.quiet() if answer.get("msg") != "updated"]

    assert len(answers) == 1
    assert answers[0]["msg"] in ("nosub", "error", "result")
    assert "error" in answers[0] or answers[0].get("reason") == "Bad request" or answers[0]["msg"] == "result"


async def drain(socket: ClientConnection) -> None:
    while True:
        await socket.recv()


async def test_a_ping_is_answered_with_its_id_if_it_has_one(devchat: Devchat) -> None:
    async with devchat.realtime() as client:
        await client.send(msg="ping", id="7")
        await client.send(msg="ping")

        assert await client.wait_for(lambda frame: frame.get("msg") == "pong") == {"msg": "pong", "id": "7"}
        assert await client.wait_for(lambda frame: frame.get("msg") == "pong") == {"msg": "pong"}


def test_a_silent_client_is_pinged_and_then_hung_up_on(silent: Session) -> None:
    silent.feed('{"msg":"connect","version":"1"}')
    silent.take()

    step(silent, SILENCE_MS)
    silent.tick()
    silent.tick()
    pings = silent.take()
    step(silent, SILENCE_MS)
    silent.tick()

    assert pings == ['{"msg":"ping"}']
    assert silent.closing == (4000, "TIMEOUT")


def test_any_frame_resets_the_silence(silent: Session) -> None:
    silent.feed('{"msg":"connect","version":"1"}')
    step(silent, SILENCE_MS)
    silent.tick()

    silent.feed('{"msg":"pong"}')
    step(silent, SILENCE_MS - 1)
    silent.tick()

    assert silent.closing is None


def step(session: Session, ms: int) -> None:
    clock = session.host.store.now
    assert isinstance(clock, Clock)
    clock.now_ms += ms


@pytest.fixture
def silent(tmp_path) -> Session:
    workspace = Workspace(folder=tmp_path, store=Store(clock=Clock()))
    return Session(host=workspace, wake=lambda: None)


async def test_rest_tokens_passwords_digests_and_personal_tokens_all_log_in(devchat: Devchat, alice: Person) -> None:
    personal = alice.ok_post("users.generatePersonalAccessToken", tokenName="laptop")["token"]
    digest = {"digest": hashlib.sha256(PASSWORD.encode()).hexdigest(), "algorithm": "sha-256"}
    ways = [
        {"resume": alice.token},
        {"resume": personal},
        {"user": {"username": "alice"}, "password": digest},
        {"user": {"email": "alice@example.org"}, "password": PASSWORD},
    ]

    for way in ways:
        async with devchat.realtime() as client:
            result = (await client.call("login", way))["result"]

            assert result["id"] == alice.id
            assert isinstance(result["tokenExpires"]["$date"], int)
            assert (
                devchat.http.get(
                    "/api/v1/me", headers={"X-User-Id": alice.id, "X-Auth-Token": result["token"]}
                ).json()["username"]
                == "alice"
            )


async def test_wrong_passwords_and_unknown_users_are_told_the_same(devchat: Devchat, alice: Person) -> None:
    async with devchat.realtime() as client:
        wrong = await client.call("login", {"user": {"username": "alice"}, "password": "no"})
        unknown = await client.call("login", {"user": {"username": "nobody"}, "password": "no"})

    assert wrong["error"] == unknown["error"]
    assert wrong["error"]["error"] == 403
    assert wrong["error"]["reason"] == "User not found"


async def test_a_bad_token_is_told_to_log_in_again(devchat: Devchat) -> None:
    async with devchat.realtime() as client:
        error = (await client.call("login", {"resume": "stale"}))["error"]

    assert error["error"] == 403
    assert "logged out by the server" in error["reason"]


async def test_a_revoked_token_ends_its_connections(devchat: Devchat, alice: Person) -> None:
    async with devchat.realtime(alice) as client:
        alice.ok_post("logout")

        await client.socket.wait_closed()


async def test_errors_have_the_shape_of_meteor(devchat: Devchat, alice: Person) -> None:
    async with devchat.realtime(alice) as client:
        unknown = (await client.call("noSuchMethod"))["error"]
        mismatch = (await client.call("sendMessage", {"rid": 7}))["error"]
        refused = (await client.call("getRoomIdByNameOrId", "no-room"))["error"]

    assert unknown["error"] == 404
    assert unknown["reason"] == "Method 'noSuchMethod' not found"
    assert mismatch["error"] == 400
    assert refused == {
        "isClientSafe": True,
        "error": "error-not-allowed",
        "reason": "Not allowed",
        "message": "Not allowed [error-not-allowed]",
        "errorType": "Meteor.Error",
        "details": {"method": "getRoomIdByNameOrId"},
    }


@pytest.mark.parametrize(("is_reversed", "order"), [(False, ["result", "updated"]), (True, ["updated", "result"])])
async def test_both_orders_of_result_and_updated_can_be_had(
    devchat: Devchat, alice: Person, is_reversed: bool, order: list[str]
) -> None:
    devchat.switch(updated_before_result=is_reversed)
    async with devchat.realtime(alice) as client:
        await client.quiet()
        await client.send(msg="method", method="getUserRoles", id="a", params=[])

        assert [frame["msg"] for frame in await client.quiet()] == order


async def test_calls_of_one_connection_are_answered_in_order(devchat: Devchat, alice: Person, room: str) -> None:
    async with devchat.realtime(alice) as client:
        await client.quiet()
        for number in range(5):
            await client.send(
                msg="method", method="sendMessage", id=str(number), params=[{"rid": room, "msg": f"text {number}"}]
            )

        results = [frame for frame in await client.quiet() if frame["msg"] == "result"]

    assert [frame["id"] for frame in results] == ["0", "1", "2", "3", "4"]


async def test_sent_messages_are_returned_and_repeats_are_swallowed(
    devchat: Devchat, alice: Person, room: str
) -> None:
    async with devchat.realtime(alice) as client:
        first = await client.call("sendMessage", {"_id": "once", "rid": room, "msg": "hello"})
        again = await client.call("sendMessage", {"_id": "once", "rid": room, "msg": "hello"})

    assert first["result"]["msg"] == "hello"
    assert isinstance(first["result"]["ts"]["$date"], int)
    assert "result" not in again
    assert "error" not in again
    assert len(alice.ok_get("groups.history", roomId=room)["messages"]) == 1


async def test_messages_with_keys_that_8x_does_not_take_are_refused(devchat: Devchat, claude: Person) -> None:
    async with devchat.realtime(claude) as client:
        error = (await client.call("sendMessage", {"rid": "GENERAL", "msg": "x", "alias": "Boss"}))["error"]

    assert error["error"] == 400


async def test_refusals_of_sent_messages_come_as_a_whisper(devchat: Devchat, alice: Person, room: str) -> None:
    async with devchat.realtime(alice) as client:
        await client.subscribe("notify-user", f"{alice.id}/message")

        result = await client.call("sendMessage", {"rid": room, "msg": "x" * 5001})
        note = (await client.event(f"{alice.id}/message"))[0]

    assert "result" not in result
    assert "error" not in result
    assert note["private"] is True
    assert note["u"]["_id"] == "rocket.cat"
    assert "error-message-size-exceeded" in note["msg"]


async def test_clocks_that_are_far_off_are_refused_and_near_ones_replaced(
    devchat: Devchat, alice: Person, room: str
) -> None:
    async with devchat.realtime(alice) as client:
        now = (await client.call("sendMessage", {"rid": room, "msg": "now"}))["result"]["ts"]["$date"]
        late = await client.call("sendMessage", {"rid": room, "msg": "far", "ts": {"$date": now - 120_000}})
        near = await client.call("sendMessage", {"rid": room, "msg": "near", "ts": {"$date": now - 30_000}})
        right = await client.call("sendMessage", {"rid": room, "msg": "right", "ts": {"$date": now - 1_000}})

    assert late["error"]["error"] == "error-message-ts-out-of-sync"
    assert near["result"]["ts"]["$date"] >= now
    assert right["result"]["ts"]["$date"] == now - 1_000


async def test_rooms_and_history_are_read_over_the_socket(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    for number in range(3):
        bob.say(room, f"text {number}")
    async with devchat.realtime(alice) as client:
        rooms = (await client.call("rooms/get"))["result"]
        since = (await client.call("rooms/get", {"$date": 0}))["result"]
        subscriptions = (await client.call("subscriptions/get"))["result"]
        name = (await client.call("getRoomNameById", room))["result"]
        history = (await client.call("loadHistory", room, None, 2))["result"]
        missed = (await client.call("loadMissedMessages", room, {"$date": 0}))["result"]
        synced = (await client.call("messages/get", room, {"lastUpdate": {"$date": 1}}))["result"]

    assert [each["_id"] for each in rooms] == [each["_id"] for each in since["update"]] == [room]
    assert [each["rid"] for each in subscriptions] == [room]
    assert name == "backend"
    assert [message["msg"] for message in history["messages"]] == ["text 2", "text 1"]
    assert [message["msg"] for message in missed] == ["text 2", "text 1", "text 0"]
    assert len(synced["updated"]) == 3


async def test_an_open_connection_is_presence(devchat: Devchat, alice: Person, bob: Person) -> None:
    async with devchat.realtime(bob) as watcher:
        await watcher.subscribe("notify-logged", "user-status")
        async with devchat.realtime(alice):
            online = await watcher.event("user-status")
            status = bob.ok_get("users.info", username="alice")["user"]["status"]
        offline = await watcher.event("user-status")

    assert online == [[alice.id, "alice", 1, ""]]
    assert status == "online"
    assert offline == [[alice.id, "alice", 0, ""]]


async def test_methods_can_be_called_over_rest(devchat: Devchat, alice: Person, room: str) -> None:
    frame = json.dumps(
        {"msg": "method", "id": "9", "method": "sendMessage", "params": [{"rid": room, "msg": "by rest"}]}
    )

    answer = json.loads(alice.ok_post("method.call/sendMessage", message=frame)["message"])

    assert answer["msg"] == "result"
    assert answer["id"] == "9"
    assert answer["result"]["msg"] == "by rest"
    assert isinstance(answer["result"]["ts"]["$date"], int)
