"""Does a chat that answers strangely, or tells everything twice, cost a room nothing but time?"""

import pytest
from asgiref.sync import sync_to_async

from gateway.models import Invocation, Message
from tests.server import streaming
from tests.server.chat_world import chat_process, online, until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(90)]


@pytest.mark.parametrize(
    "fault",
    [
        {"action": "status", "status": 429, "retry_after": 1},
        {"action": "status", "status": 502, "html": True},
        {"action": "status", "status": 504, "when": "after"},
        {"action": "status", "status": 200, "body": {"success": False, "error": "strange"}},
        {"action": "drop_socket", "when": "after"},
    ],
    ids=lambda fault: f"{fault['action']}-{fault.get('status', '')}{fault.get('when', '')}",
)
async def test_answers_arrive_once_and_in_order_whatever_the_first_calls_were_told(chat, fault):
    rows = await sync_to_async(streaming.make_running)(chat, agents=1, rooms=2)
    for path in ("chat.sendMessage", "chat.update", "chat.getMessage"):
        chat.fault(match={"path": path}, **fault, count=2)

    async with chat_process(chat.url) as process:
        await online(process)
        await sync_to_async(streaming.say)(rows, "word ")
        await sync_to_async(streaming.finish)(rows)
        await until(lambda: streaming.settled(rows).count() == len(rows), what="both replies settled")

    texts = streaming.shown(chat, "the end")
    assert len(texts) == len(rows)
    assert all(text.startswith("word the end") for text in texts)


async def test_events_that_come_three_times_and_sockets_that_are_cut_between_make_one_row_each(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        chat.fault("duplicate", {"stream": "room-messages"}, copies=3, count="forever")
        for number in range(30):
            bob.say(rid, f"@echo question {number}" if number % 10 == 0 else f"word {number}")
            if number % 12 == 5:
                chat.control("restart_sockets")
        await until(lambda: Message.objects.filter(system_type="").count() == 30, what="thirty messages")
        await until(lambda: Invocation.objects.count() == 3, what="three questions")

    assert await Message.objects.filter(system_type="").acount() == 30
    assert await Invocation.objects.acount() == 3


async def test_a_subscription_that_is_refused_is_tried_again_with_a_new_connection(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")
    chat.fault("error", {"call": "login"}, code="500")

    async with chat_process(chat.url) as process:
        await online(process)
        bob.say(rid, "@echo are you there?")
        await until(Invocation.objects.count, what="the question")
