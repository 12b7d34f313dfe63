"""Does the chat process come back from what happens to servers, tokens, connections and clocks, with nothing lost?"""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest
from asgiref.sync import sync_to_async

from docker.ports import free_ports
from gateway.chat import catch_up
from gateway.models import BotAccount, Invocation, Message, Notice
from gateway.rocketchat.calls import Call
from gateway.rocketchat.clock import ChatClock
from tests.server.chat_world import ADMIN_PASSWORD, Chat, chat_process, online, until

HOUR_S = 3600


def in_chat(function):
    marks = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(90)]
    for mark in marks:
        function = mark(function)
    return function


@contextmanager
def kept_devchat(port, snapshot):
    """One that remembers in a file, on a port that stays the same."""
    argv = [sys.executable, "-m", "gateway.devchat", "--port", str(port), "--snapshot", str(snapshot), "--no-limits"]
    process = subprocess.Popen(argv, env={**os.environ, "ADMIN_PASS": ADMIN_PASSWORD}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/api/info", timeout=2)
            break
        except httpx.TransportError:
            time.sleep(0.05)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


@in_chat
async def test_a_server_that_restarts_is_found_again_and_nothing_said_meanwhile_is_lost(db, tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.chat.listener.waits", lambda: iter(lambda: 0.1, None))
    [port] = free_ports(1)
    with kept_devchat(port, tmp_path / "chat.json"):
        chat = Chat(f"http://127.0.0.1:{port}")
        bob = chat.person("bob")
        await sync_to_async(chat.agent)("echo")
        rid = chat.room("backend", "bob", "echo")
        running = chat_process(chat.url)
        process = await running.__aenter__()
        await online(process)
        bob.say(rid, "before the restart")
        await until(lambda: Message.objects.filter(text="before the restart"), what="the first message")
    try:
        with kept_devchat(port, tmp_path / "chat.json"):
            bob.say(rid, "@echo said before you were back")
            row = await until(lambda: Invocation.objects.select_related("message").first(), what="the question")
            await online(process)
            bob.say(rid, "and after")
            await until(lambda: Message.objects.filter(text="and after"), what="the last message")
    finally:
        await running.__aexit__(None, None, None)

    assert row.message.text == "@echo said before you were back"
    assert await Message.objects.filter(system_type="").acount() == 3


@in_chat
async def test_a_token_that_is_revoked_while_connected_breaks_its_account_and_no_other(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    await sync_to_async(chat.agent)("claude")
    rid = chat.room("backend", "bob", "echo", "claude")

    async with chat_process(chat.url) as process:
        await online(process, 2)
        revoke = Call("POST", "users.removePersonalAccessToken", body={"tokenName": "nexus"})
        [account] = [one for one in process.accounts.values() if one.held.username == "claude"]
        await account.rest.call(revoke)
        broken = await until(lambda: BotAccount.objects.filter(is_broken=True).first(), what="the account broken")
        bob.say(rid, "@echo still there?")
        await until(lambda: Invocation.objects.filter(agent__slug="echo"), what="echo is asked")

    assert broken.username == "claude"
    assert broken.broken_reason


@in_chat
async def test_a_connection_that_answers_pings_and_tells_nothing_is_started_anew(chat, monkeypatch):
    monkeypatch.setattr(catch_up, "UNHEARD_AFTER_MS", 0)
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        chat.control("faults", {"match": {"user": "echo"}, "action": "zombie"})
        bob.say(rid, "unheard")
        [before] = [one["id"] for one in chat.control("state", method="GET")["sessions"]]
        process.rooms.catch_up.request(rid)
        await until(lambda: Message.objects.filter(text="unheard"), what="the message by catch-up")

        async def renewed():
            while before in [one["id"] for one in chat.control("state", method="GET")["sessions"]]:
                await asyncio.sleep(0.05)

        await asyncio.wait_for(renewed(), 20)
        await online(process)
        bob.say(rid, "heard again")
        await until(lambda: Message.objects.filter(text="heard again"), what="a live message")


@in_chat
@pytest.mark.parametrize("off_s", [-HOUR_S, HOUR_S], ids=["behind", "ahead"])
async def test_a_host_whose_clock_is_wrong_takes_questions_for_what_they_are(chat, off_s):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")

    async with chat_process(chat.url, wall=lambda: time.time() + off_s) as process:
        await online(process)
        bob.say(rid, "@echo what time is it?")
        row = await until(Invocation.objects.first, what="the question")
        [account] = process.accounts.values()

    assert row.reason == ""
    assert abs(account.ready_ms / 1000 - time.time()) < HOUR_S / 2


@in_chat
@pytest.mark.parametrize("late_s", [0, HOUR_S], ids=["young", "old"])
async def test_the_first_missed_mention_is_answered_if_it_is_young_and_said_to_be_old_otherwise(chat, late_s):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")
    async with chat_process(chat.url) as process:
        await online(process)
        bob.say(rid, "before")
        await until(lambda: Message.objects.filter(text="before"), what="the first message")

    for number in range(120):
        bob.say(rid, "@echo first question" if number == 3 else f"missed {number}")
    async with chat_process(chat.url) as process:
        process.feed._ingest._clock = lambda: time.time() + late_s
        row = await until(lambda: Invocation.objects.select_related("message").first(), what="the missed question")
        await until(lambda: Message.objects.filter(text="missed 119"), what="the last message")

    texts = [
        text
        async for text in Message.objects.filter(system_type="").order_by("ts", "pk").values_list("text", flat=True)
    ]
    assert row.message.text == "@echo first question"
    assert texts[:6] == ["before", "missed 0", "missed 1", "missed 2", "@echo first question", "missed 4"]
    assert (row.reason, await Notice.objects.filter(invocation=row).aexists()) == (
        ("too_old", True) if late_s else ("", False)
    )


@pytest.mark.parametrize(
    ("date", "ahead_s"),
    [
        ("Sun, 22 Nov 2026 09:00:00 GMT", 0),
        ("Sun, 22 Nov 2026 10:00:00 GMT", HOUR_S),
        ("Sun, 22 Nov 2026 08:00:00 GMT", -HOUR_S),
        ("Sun, 22 Nov 2026 09:00:03 GMT", 0),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_the_chats_time_is_told_by_its_answers(date, ahead_s):
    nine = 1_795_338_000.0
    clock = ChatClock(clock=lambda: nine)

    clock.heard(date)

    assert clock.time() - nine == pytest.approx(ahead_s, abs=1)
