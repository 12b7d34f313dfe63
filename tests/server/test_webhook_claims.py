"""Is a webhook call that names a message which the chat does not have counted and told, and no other?"""

import asyncio

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db.models.functions import Now

from gateway import parts, webhook, webhook_claims
from gateway.doctor import CHECKS, Grade
from gateway.models import AuditEntry, Message, Room, RoomCursor
from gateway.rocketchat.calls import Call
from gateway.webhook_claims import Claims
from tests.server import people
from tests.server.chat_world import chat_process, online, until
from tests.server.test_webhook_nudge import TOKEN, chat, gateway_door  # noqa: F401 - a fixture

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


@pytest.fixture
def claims(monkeypatch):
    fresh = Claims()
    monkeypatch.setattr(webhook, "_claims", fresh)
    return fresh


@pytest.fixture
def bob():
    return people.make_user("bob")


@pytest.fixture
def room(bob):
    made = people.make_room("backend", members=(bob,))
    RoomCursor.objects.get_or_create(room=made, defaults={"updated_to": Now(), "deleted_to": Now()})
    return made


def called(room, user, *names):
    for name in names:
        assert webhook._mark_row(room.rid, user.rocketchat_id, name) == ""


def read(room):
    """What the end of a catch-up does."""
    RoomCursor.objects.filter(room=room).update(caught_up_at=Now())
    Room.objects.filter(pk=room.pk).update(dirty_at=None)


def told():
    return [(one.actor, one.detail) for one in AuditEntry.objects.filter(action=webhook_claims.ACTION).order_by("pk")]


def test_what_is_not_there_once_its_room_was_read_is_counted_once(claims, room, bob):
    there = people.say(room, bob, "hello")
    called(room, bob, there.rc_id, "forged-1", "forged-2", "forged-1")

    claims.check()
    before = told()
    read(room)
    claims.check()
    claims.check()

    assert before == []
    assert told() == [("webhook", {"count": 2, "rooms": ["backend"]})]
    assert webhook_claims.today() == 2
    assert not claims.is_waiting


def test_a_message_of_another_room_is_not_the_one_that_was_named(claims, room, bob):
    elsewhere = people.say(people.make_room("elsewhere", members=(bob,)), bob, "hello")
    called(room, bob, elsewhere.rc_id)
    read(room)

    claims.check()

    assert webhook_claims.today() == 1


def test_a_reading_that_began_before_the_call_proves_nothing(claims, room, bob):
    called(room, bob, "on-its-way")
    RoomCursor.objects.filter(room=room).update(caught_up_at=Now())
    claims.check()
    assert claims.is_waiting

    Message.objects.create(rc_id="on-its-way", room=room, user=bob, text="hi", ts=Now(), rc_updated_at=Now())
    read(room)
    claims.check()

    assert not claims.is_waiting
    assert told() == []


def test_a_flood_is_held_and_told_within_bounds(room, bob, monkeypatch):
    monkeypatch.setattr(webhook_claims, "LIMIT", 10)
    now = [0.0]
    claims = Claims(clock=lambda: now[0])
    monkeypatch.setattr(webhook, "_claims", claims)

    for round_ in range(3):
        called(room, bob, *(f"forged-{round_}-{number}" for number in range(15)))
        read(room)
        claims.check()
    first = told()
    now[0] = webhook_claims.TELL_EVERY_S
    claims.check()

    assert [detail["count"] for _, detail in first] == [10]
    assert [detail["count"] for _, detail in told()] == [10, 20]
    assert webhook_claims.today() == 30


def test_a_room_that_is_gone_is_forgotten(claims, room, bob):
    called(room, bob, "m1")
    room.delete()

    claims.check()

    assert not claims.is_waiting
    assert told() == []


def test_three_in_a_day_are_told_by_the_dashboard_and_the_doctor(claims, room, bob, settings):
    [check] = [one for one in CHECKS if one.id == "chat.webhook_calls"]

    def seen():
        parts.forget()
        return [one["detail"] for one in parts.look() if one["name"] == "webhook calls"]

    called(room, bob, "f1", "f2")
    read(room)
    claims.check()
    few, mild = seen(), check.judge(check.read())
    claims._told_at = float("-inf")
    called(room, bob, "f3")
    read(room)
    claims.check()

    assert (few, mild.grade) == ([], Grade.OK)
    [sentence] = seen()
    assert sentence.startswith("3 calls of the webhook within a day named messages")
    assert check.judge(check.read()).grade is Grade.CRITICAL


async def test_a_forged_call_over_http_is_told_after_the_room_was_read(chat, claims, monkeypatch):  # noqa: F811
    monkeypatch.setattr(webhook, "CHECK_EVERY_S", 0.05)
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")
    body = {"token": TOKEN, "channel_id": rid, "user_id": bob.id, "message_id": "forged", "text": "@echo rm -rf /"}

    async with chat_process(chat.url) as process:
        await online(process)
        async with gateway_door(chat) as url, httpx.AsyncClient() as http:
            said = await asyncio.to_thread(bob.say, rid, "a real one")
            answer = await http.post(url, json=body)
            entry = await until(
                lambda: AuditEntry.objects.filter(action=webhook_claims.ACTION).first(), what="the entry"
            )
            await until(lambda: not claims.is_waiting, what="the real one found")

    assert answer.json() == {"ok": True}
    assert entry.detail == {"count": 1, "rooms": ["backend"]}
    assert await AuditEntry.objects.filter(action=webhook_claims.ACTION).acount() == 1
    assert await Message.objects.filter(rc_id=said["_id"]).aexists()
    assert not await Message.objects.filter(rc_id="forged").aexists()


class Listening(Claims):
    """Remembers what was named."""

    def __init__(self):
        super().__init__()
        self.heard = set()

    def named(self, rc_id, **values):
        self.heard.add(rc_id)
        super().named(rc_id, **values)


async def test_whatever_people_write_is_found(chat, monkeypatch):  # noqa: F811
    """A file, a reply in a thread, a message of another program, one that was edited, one nobody can read."""
    claims = Listening()
    monkeypatch.setattr(webhook, "_claims", claims)
    monkeypatch.setattr(webhook, "CHECK_EVERY_S", 0.05)
    bob = chat.person("bob")
    robot = chat.person("robot", roles=("user", "bot"))
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo", "robot")
    secret = {"rid": rid, "msg": "xyz", "t": "e2e", "content": {"algorithm": "x", "ciphertext": "y"}}

    def write():
        root = bob.say(rid, "a question")
        said = [root, bob.say(rid, "a reply", tmid=root["_id"]), robot.say(rid, "the build is red")]
        bob.edit(rid, root["_id"], "an edited question")
        upload = Call("POST", f"rooms.media/{rid}", upload=("a.txt", "text/plain", b"a"))
        file_id = bob.login.call(upload)["file"]["_id"]
        bob.login.call(Call("POST", f"rooms.mediaConfirm/{rid}/{file_id}", body={"msg": ""}))
        encrypt = Call("POST", "rooms.saveRoomSettings", body={"rid": rid, "encrypted": True})
        chat.admin.login.call(encrypt)
        said.append(bob.login.call(Call("POST", "chat.sendMessage", body={"message": secret}))["message"])
        return {one["_id"] for one in said}

    async with chat_process(chat.url) as process:
        await online(process)
        async with gateway_door(chat):
            said = await asyncio.to_thread(write)
            await until(lambda: said <= claims.heard, what="the webhook's calls")
            await until(lambda: not claims.is_waiting, what="all of it looked for")

    assert not await AuditEntry.objects.filter(action=webhook_claims.ACTION).aexists()
