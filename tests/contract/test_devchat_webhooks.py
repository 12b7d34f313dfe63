"""Outgoing webhooks: when they fire, what they carry, what an answer does, and when they are tried again."""

import asyncio
import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gateway.devchat.accounts import create_user
from gateway.devchat.events import Occurrence
from gateway.devchat.rooms import create_room
from gateway.devchat.store import Store
from gateway.devchat.webhooks import Answer, Verdict, Webhooks, judge, retry_delay, trigger_word
from tests.contract.conftest import Devchat, Person

JSON = "application/json"


class Receiver:
    """A web server that keeps what it is sent and answers as told."""

    def __init__(self) -> None:
        self.calls: queue.Queue[dict[str, Any]] = queue.Queue()
        self.answer: tuple[int, bytes] = (200, b"{}")
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, content = receiver.answer
                self.send_response(status)
                self.send_header("Content-Type", JSON)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                receiver.calls.put({"body": json.loads(body), "headers": dict(self.headers)})

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def next_call(self) -> dict[str, Any]:
        return self.calls.get(timeout=5)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def create(devchat: Devchat, url: str, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "webhook-outgoing",
        "name": "nexus",
        "enabled": True,
        "event": "sendMessage",
        "username": "rocket.cat",
        "channel": "all_public_channels,all_private_groups,all_direct_messages",
        "urls": [url],
        "scriptEnabled": False,
        "token": "our secret",
        "retryFailedCalls": True,
        "retryCount": 6,
        "retryDelay": "powers-of-ten",
    }
    return dict(devchat.admin.ok_post("integrations.create", **{**body, **more})["integration"])


def test_a_message_is_delivered_with_the_secret(
    devchat: Devchat, alice: Person, room: str, receiver: Receiver
) -> None:
    integration = create(devchat, receiver.url)

    sent = alice.say(room, "hello hook")
    call = receiver.next_call()

    assert integration["channel"] == ["all_public_channels", "all_private_groups", "all_direct_messages"]
    assert call["body"] == {
        "token": "our secret",
        "bot": False,
        "channel_id": room,
        "channel_name": "backend",
        "message_id": sent["_id"],
        "timestamp": sent["ts"],
        "user_id": alice.id,
        "user_name": "alice",
        "text": "hello hook",
        "siteUrl": devchat.url,
    }
    assert call["headers"]["Content-Type"] == JSON


def test_direct_rooms_have_no_name_and_threads_their_root(
    devchat: Devchat, alice: Person, bob: Person, receiver: Receiver
) -> None:
    create(devchat, receiver.url)
    direct = alice.ok_post("im.create", username="bob")["room"]["_id"]

    root = alice.say(direct, "root")
    first = receiver.next_call()["body"]
    bob.say(direct, "reply", tmid=root["_id"])
    second = receiver.next_call()["body"]

    assert "channel_name" not in first
    assert second["tmid"] == root["_id"]


def test_edits_fire_only_when_asked_for(devchat: Devchat, alice: Person, room: str, receiver: Receiver) -> None:
    create(devchat, receiver.url, name="with edits", runOnEdits=True)
    sent = alice.say(room, "first")
    receiver.next_call()

    alice.ok_post("chat.update", roomId=room, msgId=sent["_id"], text="second")
    edit = receiver.next_call()["body"]

    assert (edit["text"], edit["isEdited"]) == ("second", True)


def test_an_answer_with_text_is_posted_as_the_integrations_user(
    devchat: Devchat, alice: Person, room: str, receiver: Receiver
) -> None:
    receiver.answer = (200, b'{"text":"from the hook","alias":"Hook"}')
    integration = create(devchat, receiver.url, triggerWords=["!ask"])

    alice.say(room, "nothing asked")
    alice.say(room, "!ask hi")
    call = receiver.next_call()["body"]
    posted = wait_for_message(alice, room, "from the hook")

    assert (call["trigger_word"], call["text"]) == ("!ask", "!ask hi")
    assert (posted["u"]["username"], posted["alias"]) == ("rocket.cat", "Hook")
    assert posted["bot"] == {"i": integration["_id"]}


def wait_for_message(person: Person, room: str, text: str) -> dict[str, Any]:
    for _ in range(100):
        for message in person.ok_get("groups.history", roomId=room)["messages"]:
            if message["msg"] == text:
                return dict(message)
    raise AssertionError(f"{text!r} was never posted")


def test_gone_disables_the_integration(devchat: Devchat, alice: Person, room: str, receiver: Receiver) -> None:
    receiver.answer = (410, b"gone")
    integration = create(devchat, receiver.url)

    alice.say(room, "hello")
    receiver.next_call()

    for _ in range(100):
        if not devchat.admin.ok_get("integrations.get", integrationId=integration["_id"])["integration"]["enabled"]:
            break
    else:
        pytest.fail("the integration stayed enabled")


def test_failures_are_tried_again(devchat: Devchat, alice: Person, room: str, receiver: Receiver) -> None:
    receiver.answer = (503, b"later")
    create(devchat, receiver.url)

    sent = alice.say(room, "hello")
    first = receiver.next_call()
    receiver.answer = (200, b"{}")
    second = receiver.next_call()

    assert first["body"]["message_id"] == second["body"]["message_id"] == sent["_id"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"username": "nobody"}, "error-invalid-user"),
        ({"urls": []}, "error-invalid-urls"),
        ({"urls": [""]}, "invalid-params"),
        ({"event": "sunrise"}, "error-invalid-event-type"),
        ({"channel": "#nowhere"}, "error-invalid-room"),
        ({"channel": "general"}, "error-invalid-channel-start-with-chars"),
    ],
)
def test_wrong_integrations_are_refused(devchat: Devchat, change: dict[str, Any], code: str) -> None:
    body = {
        "type": "webhook-outgoing",
        "name": "n",
        "enabled": True,
        "event": "sendMessage",
        "scriptEnabled": False,
        "username": "rocket.cat",
        "channel": "#general",
        "urls": ["http://127.0.0.1:9/"],
    }

    assert devchat.admin.post("integrations.create", **{**body, **change}).json()["errorType"] == code


def test_people_without_the_right_create_none(alice: Person) -> None:
    body = {
        "type": "webhook-outgoing",
        "name": "n",
        "enabled": True,
        "event": "sendMessage",
        "scriptEnabled": False,
        "username": "rocket.cat",
        "channel": "#general",
        "urls": ["http://127.0.0.1:9/"],
    }

    assert alice.post("integrations.create", **body).status_code == 403


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, b"{}", Verdict.DELIVERED),
        (201, b"{}", Verdict.DELIVERED),
        (202, b"{}", Verdict.DELIVERED),
        (200, b"", Verdict.RETRY),
        (204, b"", Verdict.RETRY),
        (302, b"moved", Verdict.RETRY),
        (400, b"{}", Verdict.RETRY),
        (410, b"", Verdict.DISABLE),
        (500, b"broken", Verdict.GIVE_UP),
        (500, b"", Verdict.RETRY),
        (503, b"later", Verdict.RETRY),
    ],
)
def test_each_answer_has_its_verdict(status: int, body: bytes, verdict: Verdict) -> None:
    assert judge(Answer(status, JSON, body)) is verdict


@pytest.mark.parametrize(
    ("manner", "delays"),
    [
        ("powers-of-ten", [0.1, 1, 10, 100]),
        ("powers-of-two", [2, 4, 8, 16]),
        ("increments-of-two", [2, 4, 6, 8]),
    ],
)
def test_pauses_grow_as_chosen_and_end_with_the_count(manner: str, delays: list[float]) -> None:
    integration = {"retryFailedCalls": True, "retryDelay": manner, "retryCount": 4}

    assert [retry_delay(integration, tries) for tries in range(5)] == [*delays, None]


def test_a_senseless_count_means_four_and_no_retry_means_none() -> None:
    assert retry_delay({"retryFailedCalls": True, "retryCount": -1}, 3) == 100
    assert retry_delay({"retryFailedCalls": True, "retryCount": -1}, 4) is None
    assert retry_delay({"retryFailedCalls": False, "retryCount": 6}, 0) is None


def test_trigger_words_stand_at_the_start_unless_told_otherwise() -> None:
    integration: dict[str, Any] = {"triggerWords": ["!ask", "!stop"]}

    assert trigger_word(integration, "!stop it") == "!stop"
    assert trigger_word(integration, "please !stop") is None
    assert trigger_word({**integration, "triggerWordAnywhere": True}, "please !stop") == "!stop"
    assert trigger_word({}, "anything") == ""


async def test_unreachable_addresses_are_not_tried_again_and_the_next_one_is_called() -> None:
    store = Store()
    user = create_user(store, username="alice", name="Alice", email="", password="x")
    room = create_room(store, kind="c", name="plaza", creator=user, members=[])
    asked: list[str] = []
    done = asyncio.Event()

    async def fetch(url: str, body: bytes) -> Answer:
        asked.append(url)
        if url == "first":
            raise ConnectionRefusedError
        done.set()
        return Answer(200, JSON, b"{}")

    webhooks = Webhooks(store=store, fetch=fetch)
    store.integrations["i"] = {
        "_id": "i",
        "name": "n",
        "enabled": True,
        "event": "sendMessage",
        "token": "t",
        "username": "alice",
        "channel": ["#plaza"],
        "urls": ["first", "second"],
        "retryFailedCalls": True,
        "retryCount": 6,
    }
    message = {"_id": "m", "msg": "x", "ts": 0, "u": user.author()}

    webhooks.fire(Occurrence("sendMessage", room, user, message))
    await asyncio.wait_for(done.wait(), 5)
    await webhooks.stop()

    assert asked == ["first", "second"]
