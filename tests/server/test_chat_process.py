"""Does the chat process hear everything, once, and go on after whatever happens to its connections?"""

import pytest
from asgiref.sync import sync_to_async

from gateway.models import BotAccount, Invocation, Message, Room, RoomCursor, RoomMember
from tests.server.chat_world import chat_process, online, until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


def _rows():
    return list(Message.objects.filter(system_type="").order_by("ts", "pk").values_list("text", flat=True))


def _told(rc_ids):
    """Text and time of these messages, the time as the chat writes it."""
    rows = Message.objects.filter(rc_id__in=rc_ids).values_list("rc_id", "text", "ts")
    return {rc_id: (text, ts.isoformat(timespec="milliseconds").replace("+00:00", "Z")) for rc_id, text, ts in rows}


async def test_a_mention_in_a_room_is_stored_and_asked(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        bob.say(rid, "good morning")
        bob.say(rid, "@echo what did we decide?")
        row = await until(lambda: Invocation.objects.select_related("message", "agent").first(), what="an invocation")

    assert row.message.text == "@echo what did we decide?"
    assert row.agent.slug == "echo"
    assert await sync_to_async(_rows)() == ["good morning", "@echo what did we decide?"]


async def test_a_new_direct_chat_needs_no_mention(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    chat.room("lobby", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        rid = str(bob.login.open_direct(username="echo")["_id"])
        bob.say(rid, "are you there?")
        row = await until(lambda: Invocation.objects.select_related("message", "room").first(), what="an invocation")

    assert row.message.text == "are you there?"
    assert row.room.kind == "dm"


async def test_what_was_said_while_nobody_listened_is_caught_up_in_order(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")
    async with chat_process(chat.url) as process:
        await online(process)
        bob.say(rid, "before")
        await until(lambda: Message.objects.filter(text="before"), what="the first message")

    messages = [bob.say(rid, f"meanwhile {number}") for number in range(250)]
    bob.edit(rid, messages[3]["_id"], "edited meanwhile")
    bob.delete(rid, messages[4]["_id"])
    async with chat_process(chat.url):
        await until(lambda: Message.objects.filter(text="meanwhile 249"), what="the last message")
        await until(lambda: Message.objects.filter(text="edited meanwhile"), what="the edit")

    # What is said within one millisecond has no order in the chat, so times are compared, not places.
    expected = {said["_id"]: (said["msg"], said["ts"]) for said in messages if said is not messages[4]}
    expected[messages[3]["_id"]] = ("edited meanwhile", messages[3]["ts"])
    assert await sync_to_async(_told)(expected) == expected
    assert await sync_to_async(Message.objects.filter(system_type="", deleted_at=None).count)() == 250


async def test_edits_and_deletions_follow_live(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        first, second = bob.say(rid, "first"), bob.say(rid, "second")
        await until(lambda: Message.objects.filter(text="second"), what="both messages")
        bob.edit(rid, first["_id"], "first, edited")
        bob.delete(rid, second["_id"])
        await until(lambda: Message.objects.filter(text="first, edited"), what="the edit")
        await until(lambda: Message.objects.filter(rc_id=second["_id"], deleted_at__isnull=False), what="the deletion")


async def test_deletions_are_heard_at_once_in_a_room_that_appears_later_among_many(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    for number in range(30):
        chat.room(f"old-{number}", "bob", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        rid = chat.room("new", "bob", "echo")
        said = bob.say(rid, "a slip of the tongue")
        account = next(iter(process.accounts.values()))
        await until(lambda: rid in account.watched, what="the new room is known")
        await until(lambda: Message.objects.filter(rc_id=said["_id"]), what="the message")
        bob.delete(rid, said["_id"])
        await until(lambda: Message.objects.filter(rc_id=said["_id"], deleted_at__isnull=False), what="the deletion")


async def test_a_dropped_connection_loses_nothing(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        chat.control("restart_sockets")
        bob.say(rid, "@echo said into the gap")
        row = await until(lambda: Invocation.objects.select_related("message").first(), what="the invocation")

    assert row.message.text == "@echo said into the gap"
    assert await Message.objects.filter(text=row.message.text).acount() == 1


async def test_rooms_members_and_owners_are_known(chat):
    chat.person("alice")
    chat.person("bob")
    chat.person("charlie")
    agent = await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "alice", "bob", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        await until(lambda: RoomMember.objects.filter(room__rid=rid, user__username="bob"), what="Bob in the room")
        assert await RoomMember.objects.filter(room__rid=rid, agent=agent).aexists()
        assert await RoomMember.objects.filter(room__rid=rid, user__username="admin", is_owner=True).aexists()
        assert not await RoomMember.objects.filter(user__username="charlie").aexists()

        chat.invite(rid, "charlie")
        await until(lambda: RoomMember.objects.filter(room__rid=rid, user__username="charlie"), what="Charlie invited")


async def test_an_agent_that_comes_later_is_heard_at_once(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")

    async with chat_process(chat.url) as process:
        await online(process)
        await sync_to_async(chat.agent)("claude")
        chat.invite(rid, "claude")
        bob.say(rid, "@claude hello")
        await until(lambda: Invocation.objects.filter(agent__slug="claude"), what="Claude is asked")
        await online(process, 2)

    assert await Invocation.objects.acount() == 1


async def test_a_refused_token_breaks_the_account_and_only_that(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    await sync_to_async(chat.agent)("claude")
    rid = chat.room("backend", "bob", "echo", "claude")
    from gateway.secrets import seal

    await BotAccount.objects.filter(username="claude").aupdate(access_token=seal("not its token"))
    async with chat_process(chat.url) as process:
        await online(process)
        broken = await until(lambda: BotAccount.objects.filter(is_broken=True).first(), what="a broken account")
        bob.say(rid, "@echo still there?")
        await until(lambda: Invocation.objects.filter(agent__slug="echo"), what="echo is asked")

    assert broken.username == "claude"
    assert broken.broken_reason


async def test_a_webhook_makes_a_room_read_at_once(chat):
    bob = chat.person("bob")
    await sync_to_async(chat.agent)("echo")
    rid = chat.room("backend", "bob", "echo")
    async with chat_process(chat.url) as process:
        await online(process)
        await until(lambda: RoomCursor.objects.filter(room__rid=rid, caught_up_at__isnull=False), what="a catch-up")
        chat.fault("swallow_broadcast", {"stream": "room-messages"}, count="forever")
        bob.say(rid, "unheard")
        from django.utils import timezone

        await Room.objects.filter(rid=rid).aupdate(dirty_at=timezone.now())
        process._on_nudge({"agent": None, "room": 1})
        await until(lambda: Message.objects.filter(text="unheard"), what="the message by catch-up")
        await until(lambda: Room.objects.filter(rid=rid, dirty_at=None), what="the room clean again")


async def test_two_processes_share_the_accounts(chat):
    for slug in ("one", "two", "three", "four"):
        await sync_to_async(chat.agent)(slug)
    chat.room("backend", "one", "two", "three", "four")

    async with chat_process(chat.url, owner="first") as first, chat_process(chat.url, owner="second") as second:

        def is_shared():
            owners = list(BotAccount.objects.values_list("lease_owner", flat=True))
            return sorted(owners) == ["first", "first", "second", "second"]

        await until(is_shared, what="two accounts each")
        await online(first, 2)
        await online(second, 2)
