"""Does the devchat fail in the ways that tests script, and in no other?"""

import json
import time

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.contract.conftest import Devchat, Person
from tests.contract.test_devchat_streams import MY_MESSAGES, events, listening


def test_a_status_strikes_as_often_as_told_and_does_nothing(devchat: Devchat, alice: Person, room: str) -> None:
    devchat.fault("status", {"path": "chat.sendMessage"}, status=429, retry_after=3, count=2)
    body = {"rid": room, "msg": "hello", "_id": "one"}

    answers = [alice.post("chat.sendMessage", message=body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "3"
    assert "Retry-After" not in answers[2].headers


def test_skipped_calls_pass_first(devchat: Devchat, alice: Person) -> None:
    devchat.fault("status", {"path": "me"}, status=503, skip=2)

    assert [alice.get("me").status_code for _ in range(4)] == [200, 200, 503, 200]


def test_an_error_page_may_be_html(devchat: Devchat, alice: Person) -> None:
    devchat.fault("status", {"path": "chat.*", "method": "POST"}, status=502, html=True, count="forever")

    answer = alice.post("chat.update")

    assert answer.status_code == 502
    assert answer.headers["content-type"] == "text/html"
    assert alice.get("chat.getMessage", msgId="x").status_code == 400


def test_faults_can_be_limited_to_a_user(devchat: Devchat, alice: Person, bob: Person) -> None:
    devchat.fault("status", {"path": "*", "user": "alice"}, status=500, count="forever")

    assert alice.get("me").status_code == 500
    assert bob.get("me").status_code == 200


def test_a_dropped_request_is_not_done_and_one_dropped_after_is(devchat: Devchat, alice: Person, room: str) -> None:
    devchat.fault("drop_socket", {"path": "chat.sendMessage"})
    with pytest.raises(httpx.TransportError):
        alice.post("chat.sendMessage", message={"rid": room, "msg": "never", "_id": "never"})

    devchat.fault("drop_socket", {"path": "chat.sendMessage"}, when="after")
    with pytest.raises(httpx.TransportError):
        alice.post("chat.sendMessage", message={"rid": room, "msg": "done", "_id": "done"})

    assert [message["_id"] for message in alice.ok_get("groups.history", roomId=room)["messages"]] == ["done"]


def test_swallowed_requests_are_done_and_never_answered_hanging_ones_not_even_done(
    devchat: Devchat, alice: Person, room: str
) -> None:
    def send(message_id: str) -> None:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{devchat.url}/api/v1/chat.sendMessage",
                json={"message": {"rid": room, "msg": "text", "_id": message_id}},
                headers=alice.headers,
                timeout=0.3,
            )

    devchat.fault("swallow", {"path": "chat.sendMessage"})
    send("swallowed")
    devchat.fault("hang", {"path": "chat.sendMessage"})
    send("hanging")

    assert [message["_id"] for message in alice.ok_get("groups.history", roomId=room)["messages"]] == ["swallowed"]


def test_a_delayed_request_is_answered_late(devchat: Devchat, alice: Person) -> None:
    devchat.fault("delay", {"path": "me"}, delay_ms=200)
    began = time.monotonic()

    assert alice.get("me").status_code == 200

    # A lower bound cannot flake: the answer cannot come before the delay is over.
    assert time.monotonic() - began >= 0.2


async def test_broadcasts_can_be_doubled_swallowed_and_delayed(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    match = {"stream": "room-messages", "event": MY_MESSAGES}
    async with devchat.realtime(alice) as client:
        await listening(client)

        devchat.fault("duplicate", match)
        bob.say(room, "double")
        devchat.fault("swallow_broadcast", match)
        bob.say(room, "swallowed")
        devchat.fault("delay", match, delay_ms=300)
        bob.say(room, "late")
        bob.say(room, "in time")
        at_once = [args[0]["msg"] for args in events(await client.quiet(), MY_MESSAGES)]
        late = (await client.event(MY_MESSAGES))[0]["msg"]

    assert at_once == ["double", "double", "in time"]
    assert late == "late"


async def test_calls_can_fail_be_swallowed_or_lose_their_updated(devchat: Devchat, alice: Person, room: str) -> None:
    async with devchat.realtime(alice) as client:
        await client.quiet()
        devchat.fault("error", {"call": "getUserRoles"}, code="error-odd")
        error = (await client.call("getUserRoles"))["error"]
        devchat.fault("swallow", {"call": "sendMessage"})
        await client.send(msg="method", method="sendMessage", id="x", params=[{"rid": room, "msg": "kept"}])
        nothing = await client.quiet()
        devchat.fault("swallow_updated", {"call": "getUserRoles"})
        await client.send(msg="method", method="getUserRoles", id="y", params=[])
        result_only = await client.quiet()

    assert error["error"] == "error-odd"
    assert nothing == []
    assert [frame["msg"] for frame in result_only] == ["result"]
    assert [message["msg"] for message in alice.ok_get("groups.history", roomId=room)["messages"]] == ["kept"]


async def test_sockets_can_be_cut_by_a_call_by_an_event_and_all_at_once(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    devchat.fault("drop_socket", {"call": "sendMessage", "user": "alice"})
    async with devchat.realtime(alice) as client:
        await client.send(msg="method", method="sendMessage", id="x", params=[{"rid": room, "msg": "lost"}])
        with pytest.raises(ConnectionClosedError):
            await client.quiet()

    devchat.fault("drop_socket", {"stream": "room-messages"})
    async with devchat.realtime(alice) as client:
        await listening(client)
        bob.say(room, "bang")
        with pytest.raises(ConnectionClosedError):
            await client.quiet()

    async with devchat.realtime(alice) as hers, devchat.realtime(bob) as his:
        assert devchat.control("POST", "restart_sockets", {"user": "alice"}) == {"cut": 1}
        with pytest.raises(ConnectionClosedError):
            await hers.quiet()
        assert await his.quiet() is not None

    assert [message["msg"] for message in alice.ok_get("groups.history", roomId=room)["messages"]] == ["bang"]


async def test_a_restart_may_be_polite(devchat: Devchat, alice: Person) -> None:
    async with devchat.realtime(alice) as client:
        devchat.control("POST", "restart_sockets", {"code": 1001})
        await client.socket.wait_closed()

        assert client.socket.close_code == 1001


async def test_a_zombie_answers_pings_and_hears_nothing(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    async with devchat.realtime(alice) as client:
        await listening(client)

        devchat.control("POST", "faults", {"action": "zombie", "match": {"user": "alice"}})
        bob.say(room, "unheard")
        unheard = await client.quiet()
        devchat.control("DELETE", "faults")
        bob.say(room, "heard")

        assert unheard == []
        assert (await client.event(MY_MESSAGES))[0]["msg"] == "heard"


async def test_connecting_can_be_refused_and_dropped(devchat: Devchat, alice: Person) -> None:
    devchat.fault("status", {"path": "websocket"}, status=502)
    with pytest.raises(InvalidStatus):
        await connect(f"ws://127.0.0.1:{devchat.port}/websocket")

    async with devchat.realtime(alice) as client:
        assert await client.quiet() is not None


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"match": {"path": "me"}, "action": "explode"}, "action must be one of"),
        ({"match": {}, "action": "delay"}, "match must be an object"),
        ({"match": {"planet": "mars"}, "action": "delay"}, "match names one door"),
        ({"match": {"path": "me"}, "action": "delay", "colour": "red"}, "unknown field colour"),
        ("delay", "a rule is an object"),
    ],
)
def test_rules_that_make_no_sense_are_refused_with_the_cure(devchat: Devchat, rule: object, complaint: str) -> None:
    answer = devchat.http.post("/devchat/faults", content=json.dumps(rule))

    assert answer.status_code == 400
    assert complaint in answer.json()["error"]


def test_unknown_switches_are_named(devchat: Devchat) -> None:
    answer = devchat.http.post("/devchat/switches", json={"colour": "red"})

    assert answer.status_code == 400
    assert "no switch named colour" in answer.json()["error"]


def test_no_web_page_opens_the_control_door(devchat: Devchat) -> None:
    from_page = devchat.http.get("/devchat/state", headers={"Origin": devchat.url})
    rebound = devchat.http.get("/devchat/state", headers={"Host": "evil.example"})

    assert from_page.status_code == rebound.status_code == 403


def test_the_state_shows_rooms_messages_and_sessions(devchat: Devchat, alice: Person, room: str) -> None:
    alice.say(room, "hello")

    state = devchat.state(room="backend")

    assert [message["msg"] for message in state["messages"]] == ["hello"]
    assert next(each["members"] for each in state["rooms"] if each["_id"] == room) == ["alice", "bob"]
    assert {user["username"] for user in state["users"]} == {"admin", "alice", "bob", "rocket.cat"}
    assert "token" not in json.dumps(state["users"]).lower()
