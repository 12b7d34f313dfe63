"""Does Nexus do in the chat what it does, where the server behaves as version 9 of Rocket.Chat is announced to?"""

import re
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async

from gateway.chat import catch_up, rooms
from gateway.devchat.nine import REMOVED_METHODS
from gateway.models import BotAccount, Invocation, Message
from gateway.rocketchat.calls import Call
from gateway.rocketchat.rest import RefusedError, UnauthorizedError
from tests.server import test_chat_bad_answers as bad_answers
from tests.server import test_chat_process as process_stories
from tests.server import test_chat_resync as resync
from tests.server import test_chat_rooms as room_stories
from tests.server.chat_world import chat_process, online, until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(90)]

NINE = {"version": "9.0.0"}
STORIES = (
    process_stories.test_a_mention_in_a_room_is_stored_and_asked,
    process_stories.test_a_new_direct_chat_needs_no_mention,
    process_stories.test_what_was_said_while_nobody_listened_is_caught_up_in_order,
    process_stories.test_edits_and_deletions_follow_live,
    process_stories.test_rooms_members_and_owners_are_known,
    process_stories.test_a_refused_token_breaks_the_account_and_only_that,
    resync.test_a_token_that_is_revoked_while_connected_breaks_its_account_and_no_other,
    room_stories.test_channels_groups_direct_rooms_threads_and_discussions_ask_alike,
    room_stories.test_an_agent_that_is_thrown_out_is_no_member_until_it_is_invited_again,
)
WITHOUT_ONE_STREAM = (
    process_stories.test_a_mention_in_a_room_is_stored_and_asked,
    process_stories.test_a_new_direct_chat_needs_no_mention,
    process_stories.test_edits_and_deletions_follow_live,
    process_stories.test_a_dropped_connection_loses_nothing,
    process_stories.test_an_agent_that_comes_later_is_heard_at_once,
    room_stories.test_an_agent_that_is_thrown_out_is_no_member_until_it_is_invited_again,
)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_what_nexus_does_with_8_it_does_with_9(chat, story):
    chat.control("switches", NINE)

    await story(chat)


async def test_answers_stream_and_settle_with_9(chat):
    chat.control("switches", NINE)

    fault = {"action": "status", "status": 504, "when": "after"}
    await bad_answers.test_answers_arrive_once_and_in_order_whatever_the_first_calls_were_told(chat, fault)


async def test_a_missing_right_has_the_status_of_a_refused_token_and_breaks_no_account(chat):
    chat.control("switches", NINE)
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")
    elsewhere = chat.room("elsewhere", "bob")
    create = {"username": "x", "name": "x", "email": "x@x.org", "password": "x"}

    async with chat_process(chat.url) as process:
        await online(process)
        [account] = process.accounts.values()
        with pytest.raises(RefusedError) as missing:
            await account.rest.call(Call("POST", "users.create", body=create))
        with pytest.raises(RefusedError) as stranger:
            await account.rest.upload(rid=elsewhere, name="a.txt", content_type="text/plain", data=b"a")
        wrong = Call("GET", "me", headers={"X-Auth-Token": "no token"})
        with pytest.raises(UnauthorizedError):
            await account.rest.call(wrong)
        bob.say(rid, "@echo still there?")
        await until(Invocation.objects.count, what="the question")

    assert (missing.value.status, set(missing.value.codes)) == (401, {"error-unauthorized"})
    assert (stranger.value.status, set(stranger.value.codes)) == (403, {"forbidden"})
    assert not await BotAccount.objects.filter(is_broken=True).aexists()


@pytest.mark.parametrize("story", WITHOUT_ONE_STREAM, ids=lambda story: story.__name__)
async def test_without_the_stream_of_all_messages_rooms_are_heard_one_by_one(chat, story):
    chat.control("switches", NINE | {"has_my_messages": False})

    await story(chat)


async def test_rooms_that_wait_to_be_asked_for_do_not_end_a_connection_that_works(chat, monkeypatch):
    """What a room said before it was asked for is found by reading it, which otherwise is the sign of a dead line."""
    monkeypatch.setattr(catch_up, "UNHEARD_AFTER_MS", 0)
    monkeypatch.setattr(rooms, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(rooms, "EVERY_S", 0.2)
    monkeypatch.setattr(catch_up, "FRESH_S", 0.0)
    chat.control("switches", {"has_my_messages": False})
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rids = [chat.room(f"room-{number}", "bob", "echo") for number in range(30)]

    async with chat_process(chat.url) as process:
        await online(process)
        session = {one["id"] for one in chat.control("state?messages=0", method="GET")["sessions"]}
        for rid in rids:
            bob.say(rid, "word")
        await until(lambda: Message.objects.filter(text="word").count() == len(rids), what="all words")
        after = {one["id"] for one in chat.control("state?messages=0", method="GET")["sessions"]}

    assert after == session


def test_nexus_calls_no_method_that_9_removes():
    """Over the socket it logs in and shows typing; all else is REST."""
    gateway = Path(rooms.__file__).parents[1]
    sources = [path for path in gateway.rglob("*.py") if "devchat" not in path.parts]
    named = {word for path in sources for word in re.findall(r"[\"'](\w+)[\"']", path.read_text())}

    called = re.findall(r"method=(\S+?),", (gateway / "rocketchat" / "realtime.py").read_text())

    assert REMOVED_METHODS & named == set()
    assert set(called) - {"method"} == {'"login"', "NOTIFY_ROOM"}
