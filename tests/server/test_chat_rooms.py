"""Do rooms of every kind appear by themselves, are they followed, and is a room that can't be worked in told so?"""

import asyncio

import pytest
from asgiref.sync import sync_to_async

from gateway.models import Invocation, Message, Notice, Room, RoomMember
from gateway.rocketchat.calls import Call
from gateway.rocketchat.realtime import WatchRefused
from tests.server.chat_world import chat_process, online, until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


def post(person, path, **body):
    return person.login.call(Call("POST", path, body=body))


def messages_of(chat, rid):
    found = chat.control(f"state?room={rid}", method="GET")["messages"]
    return [one for one in found if one["rid"] == rid and "t" not in one]


async def asked(text):
    return await until(lambda: Invocation.objects.select_related("room").filter(message__text=text).first(), what=text)


async def test_channels_groups_direct_rooms_threads_and_discussions_ask_alike(chat):
    bob = chat.person("bob")
    chat.person("alice")
    await sync_to_async(chat.agent)("echo")
    channel = chat.room("open", "bob", "echo", kind="c")

    async with chat_process(chat.url) as process:
        await online(process)
        private = chat.room("closed", "bob", "echo")
        direct = bob.login.open_direct(username="echo")["_id"]
        group = bob.login.call(Call("POST", "im.create", body={"usernames": "echo,alice"}))["room"]["_id"]
        discussion = post(bob, "rooms.createDiscussion", prid=channel, t_name="Which port?", users=["echo"])
        root = bob.say(channel, "a thread begins")
        bob.say(channel, "@echo in a channel")
        bob.say(private, "@echo in a private group")
        bob.say(direct, "in a direct room")
        bob.say(group, "to nobody in a group of three")
        bob.say(group, "@echo in a group of three")
        bob.say(discussion["discussion"]["_id"], "@echo in a discussion")
        bob.say(channel, "@echo in a thread", tmid=root["_id"])

        kinds = {}
        for place in ("a channel", "a private group", "a group of three", "a discussion", "a thread"):
            row = await asked(f"@echo in {place}")
            kinds[place] = (row.room.kind, row.thread)
        kinds["a direct room"] = ((await asked("in a direct room")).room.kind, "")

    assert kinds == {
        "a channel": ("channel", ""),
        "a private group": ("private", ""),
        "a group of three": ("dm", ""),
        "a discussion": ("channel", ""),
        "a thread": ("channel", root["_id"]),
        "a direct room": ("dm", ""),
    }
    assert not await Invocation.objects.filter(message__text__startswith="to nobody").aexists()
    assert (await Room.objects.aget(rid=discussion["discussion"]["_id"])).title == "Which port?"


async def test_names_topics_and_what_a_room_allows_are_followed(chat):
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("before", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        post(chat.admin, "groups.rename", roomId=rid, name="after")
        post(chat.admin, "groups.setTopic", roomId=rid, topic="what we do")
        post(chat.admin, "groups.setReadOnly", roomId=rid, readOnly=True)
        wanted = {"name": "after", "topic": "what we do", "is_read_only": True, "is_archived": False}
        await until(lambda: Room.objects.filter(rid=rid, **wanted), what="name, topic, read-only")
        post(chat.admin, "groups.archive", roomId=rid)
        await until(lambda: Room.objects.filter(rid=rid, is_archived=True), what="archived")
        post(chat.admin, "groups.unarchive", roomId=rid)
        post(chat.admin, "groups.setReadOnly", roomId=rid, readOnly=False)
        await until(lambda: Room.objects.filter(rid=rid, is_archived=False, is_read_only=False), what="open again")


async def test_an_agent_that_is_thrown_out_is_no_member_until_it_is_invited_again(chat):
    bob = chat.person("bob")
    agent = await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")
    bot = await sync_to_async(chat.admin.login.find_user)(username="echo")

    async with chat_process(chat.url) as process:
        await online(process)
        member = RoomMember.objects.filter(room__rid=rid, agent=agent)
        await until(member.all, what="the agent in the room")
        post(chat.admin, "groups.kick", roomId=rid, userId=bot["_id"])
        await until(lambda: not member.exists(), what="the agent out of the room")
        chat.invite(rid, "echo")
        await until(member.all, what="the agent in the room again")
        bob.say(rid, "@echo are you back?")
        await asked("@echo are you back?")


async def test_a_room_that_was_refused_to_somebody_outside_is_heard_once_he_is_invited(chat):
    """The request to hear it and the throwing out cross each other; where only rooms tell messages, all depends on it."""
    chat.control("switches", {"has_my_messages": False})
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")
    bot = await sync_to_async(chat.admin.login.find_user)(username="echo")

    async with chat_process(chat.url) as process:
        await online(process)
        [account] = process.accounts.values()
        post(chat.admin, "groups.kick", roomId=rid, userId=bot["_id"])
        await until(lambda: rid not in account.rooms, what="out")
        process.rooms.heard(account, WatchRefused(rid=rid, is_limit=False))
        chat.invite(rid, "echo")
        await until(lambda: rid in account.rooms, what="in again")
        # The first may still be found by reading what the room said meanwhile.
        for text in ("@echo are you back?", "@echo do you hear me?"):
            bob.say(rid, text)
            await asked(text)


async def test_people_who_come_and_go_are_known(chat):
    bob, alice = chat.person("bob"), chat.person("alice")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "echo", kind="c")

    async with chat_process(chat.url) as process:
        await online(process)
        post(bob, "channels.join", roomId=rid)
        post(alice, "channels.join", roomId=rid)
        members = RoomMember.objects.filter(room__rid=rid, user__username__in=["alice", "bob"])
        await until(lambda: members.count() == 2, what="both in the room")
        post(bob, "channels.leave", roomId=rid)
        post(chat.admin, "channels.addOwner", roomId=rid, userId=alice.id)
        await until(
            lambda: members.filter(is_owner=True).count() == members.count() == 1, what="Alice alone, an owner"
        )


async def test_an_encrypted_room_is_refused_with_one_sentence_where_it_can_be_read(chat):
    """The room takes no plain text, so the sentence comes as a direct message."""
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("vault", "bob", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        await until(lambda: Room.objects.filter(rid=rid), what="the room")
        message = bob.say(rid, "@echo what is the password?")
        await asked(message["msg"])
        post(chat.admin, "rooms.saveRoomSettings", rid=rid, encrypted=True)
        await until(lambda: Room.objects.filter(rid=rid, is_encrypted=True), what="the room encrypted")
        body = {"rid": rid, "msg": "@echo and now?", "t": "e2e", "content": {"algorithm": "x", "ciphertext": "y"}}
        await asyncio.to_thread(post, bob, "chat.sendMessage", message=body)
        await until(lambda: Invocation.objects.filter(reason="encrypted"), what="the refusal")
        await until(lambda: Notice.objects.exclude(failed_reason=""), what="the sentence given up in the room")

    [direct] = [one["_id"] for one in chat.control("state", method="GET")["rooms"] if one["t"] == "d"]
    [told] = messages_of(chat, direct)
    assert told["msg"].startswith("I can't write in #vault: the room is end-to-end encrypted.")
    assert "no key" in told["msg"]
    assert not await Message.objects.filter(text__contains="and now").aexists()
