"""Does a room that only the webhook tells of get read, once, whatever the webhook does?"""

import asyncio
import time
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from asgiref.sync import sync_to_async

from docker.ports import free_ports
from gateway import webhook
from gateway.models import Invocation, Message, Notice, RoomCursor, SetAside
from tests.server.chat_world import Chat, chat_process, online, until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]

TOKEN = "the-token-of-the-webhook-in-these-tests"


@pytest.fixture
def chat(devchat_url, db, settings):
    settings.NEXUS_WEBHOOK_TOKEN = TOKEN
    return Chat(devchat_url)


@asynccontextmanager
async def gateway_door(chat):
    """The webhook's door on a port, and Rocket.Chat's integration that calls it."""
    [port] = free_ports(1)
    config = uvicorn.Config(webhook.application, port=port, lifespan="off", log_level="warning", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{port}/rc/webhook"
    chat.admin.login.create_webhook(name="nexus", url=url, token=TOKEN, username="rocket.cat")
    try:
        yield url
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def deaf_chat(chat, rid):
    """A chat process that has read the room and hears no message of it any more."""
    async with chat_process(chat.url) as process:
        await online(process)
        await until(lambda: RoomCursor.objects.filter(room__rid=rid, caught_up_at__isnull=False), what="a catch-up")
        chat.fault("swallow_broadcast", {"stream": "room-messages"}, count="forever")
        yield process


async def test_a_mention_that_only_the_webhook_told_of_is_asked_once_and_nothing_is_said_back(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")

    async with deaf_chat(chat, rid), gateway_door(chat):
        said = await asyncio.to_thread(bob.say, rid, "@echo what did we decide?")
        await until(lambda: Invocation.objects.filter(message__rc_id=said["_id"]), what="the question")

    assert await Invocation.objects.acount() == 1
    spoken = [one for one in chat.control("state", method="GET")["messages"] if "t" not in one]
    assert [one["msg"] for one in spoken] == ["@echo what did we decide?"]


async def test_repeats_in_any_order_after_edits_and_deletions_make_one_row_and_one_question(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")

    async with deaf_chat(chat, rid), gateway_door(chat) as url, httpx.AsyncClient(timeout=30) as http:
        first = await asyncio.to_thread(bob.say, rid, "@echo first")
        second = await asyncio.to_thread(bob.say, rid, "to be deleted")
        await asyncio.to_thread(bob.edit, rid, first["_id"], "@echo first, edited")
        await until(lambda: Message.objects.filter(text="to be deleted"), what="both messages")
        await asyncio.to_thread(bob.delete, rid, second["_id"])
        bodies = [
            {
                "token": TOKEN,
                "channel_id": rid,
                "user_id": bob.id,
                "message_id": rc_id,
                "text": text,
                "isEdited": edited,
            }
            for rc_id, text, edited in [(second["_id"], "forged", False), (first["_id"], "@echo first", True)] * 10
        ]
        answers = await asyncio.gather(*(http.post(url, json=body) for body in bodies))
        await until(lambda: Message.objects.filter(rc_id=second["_id"], deleted_at__isnull=False), what="the deletion")
        await until(lambda: Message.objects.filter(text="@echo first, edited"), what="the edit")

    assert {answer.status_code for answer in answers} == {200}
    assert await Message.objects.filter(system_type="").acount() == 2
    assert await Invocation.objects.acount() == 1
    assert not await Message.objects.filter(text="forged").aexists()
    assert not await SetAside.objects.aexists()


async def test_a_mention_that_comes_an_hour_late_is_said_to_be_old_and_runs_by_retry_only(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")

    async with deaf_chat(chat, rid) as process, gateway_door(chat):
        process.feed._ingest._clock = lambda: time.time() + 3600
        await asyncio.to_thread(bob.say, rid, "@echo why is CI red?")
        late = await until(Invocation.objects.first, what="the late question")
        notice = await until(lambda: Notice.objects.filter(invocation=late).first(), what="the sentence")
        process.feed._ingest._clock = time.time
        await asyncio.to_thread(bob.say, rid, "!retry")
        again = await until(lambda: Invocation.objects.filter(attempt=2).first(), what="the question asked again")

    assert (late.state, late.reason) == ("failed", "too_old")
    assert "60 minutes" in notice.text or "1 hour" in notice.text
    assert again.state == "queued"
