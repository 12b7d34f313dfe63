"""Who hears what, and what do events carry?"""

from typing import Any

from tests.contract.conftest import Devchat, Person
from tests.contract.ddp_client import DdpClient

MY_MESSAGES = "__my_messages__"


async def listening(client: DdpClient, *events: tuple[str, str]) -> None:
    await client.subscribe("room-messages", MY_MESSAGES)
    for stream, event in events:
        answer = await client.subscribe(stream, event)
        assert answer["msg"] == "ready"
    await client.quiet()


def events(frames: list[dict[str, Any]], name: str) -> list[list[Any]]:
    return [
        frame["fields"]["args"]
        for frame in frames
        if frame.get("msg") == "changed" and frame["fields"]["eventName"] == name
    ]


async def test_a_message_comes_with_who_and_where(devchat: Devchat, alice: Person, bob: Person, room: str) -> None:
    async with devchat.realtime(alice) as client:
        await listening(client)

        bob.say(room, "@alice hello #general `@bob` https://example.org.")
        message, meta = await client.event(MY_MESSAGES)

    assert meta == {"roomParticipant": True, "roomType": "p", "roomName": "backend"}
    assert message["u"] == {"_id": bob.id, "username": "bob", "name": "Bob"}
    assert message["mentions"] == [{"_id": alice.id, "username": "alice", "name": "Alice", "type": "user"}]
    assert message["channels"] == [{"_id": "GENERAL", "name": "general"}]
    assert message["urls"] == [{"url": "https://example.org", "meta": {}}]
    assert message["md"][0]["type"] == "PARAGRAPH"
    assert isinstance(message["ts"]["$date"], int)
    assert isinstance(message["_updatedAt"]["$date"], int)
    assert not {"t", "editedAt", "tmid", "reactions"} & set(message)


async def test_public_rooms_are_heard_without_joining_and_marked_so(
    devchat: Devchat, alice: Person, charlie: Person, room: str
) -> None:
    public = devchat.add_room("plaza", alice, family="channels")
    async with devchat.realtime(charlie) as client:
        await listening(client)

        alice.say(room, "not for Charlie")
        alice.say(public, "for everybody")
        message, meta = await client.event(MY_MESSAGES)
        rest = events(await client.quiet(), MY_MESSAGES)

    assert message["msg"] == "for everybody"
    assert meta == {"roomParticipant": False, "roomType": "c", "roomName": "plaza"}
    assert rest == []


async def test_direct_rooms_have_no_name(devchat: Devchat, alice: Person, bob: Person) -> None:
    direct = bob.ok_post("im.create", username="alice")["room"]["_id"]
    async with devchat.realtime(alice) as client:
        await listening(client)

        bob.say(direct, "psst")

        assert (await client.event(MY_MESSAGES))[1] == {"roomParticipant": True, "roomType": "d"}


async def test_each_change_brings_the_whole_message_again(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    async with devchat.realtime(alice) as client:
        await listening(client)
        sent = bob.say(room, "first")
        await client.event(MY_MESSAGES)

        bob.ok_post("chat.update", roomId=room, msgId=sent["_id"], text="second")
        edited, _ = await client.event(MY_MESSAGES)
        bob.ok_post("chat.react", messageId=sent["_id"], emoji=":eyes:")
        reacted, _ = await client.event(MY_MESSAGES)
        bob.say(room, "a reply", tmid=sent["_id"])
        changes = [(await client.event(MY_MESSAGES))[0] for _ in range(2)]
        alice.ok_post("chat.pinMessage", messageId=sent["_id"])
        pinned = [(await client.event(MY_MESSAGES))[0] for _ in range(2)]

    assert (edited["_id"], edited["msg"], edited["editedBy"]["username"]) == (sent["_id"], "second", "bob")
    assert reacted["reactions"] == {":eyes:": {"usernames": ["bob"]}}
    root = next(message for message in changes if message["_id"] == sent["_id"])
    reply = next(message for message in changes if message["_id"] != sent["_id"])
    assert (root["tcount"], root["replies"], reply["tmid"]) == (1, [bob.id], sent["_id"])
    assert root["editedAt"] == edited["editedAt"]
    assert pinned[0]["pinned"] is True
    assert (pinned[1]["t"], pinned[1]["attachments"][0]["text"]) == ("message_pinned", "second")


async def test_the_same_text_again_is_no_event(devchat: Devchat, alice: Person, bob: Person, room: str) -> None:
    sent = bob.say(room, "same")
    async with devchat.realtime(alice) as client:
        await listening(client)

        bob.ok_post("chat.update", roomId=room, msgId=sent["_id"], text="same")

        assert events(await client.quiet(), MY_MESSAGES) == []


async def test_own_messages_come_back_too(devchat: Devchat, alice: Person, room: str) -> None:
    async with devchat.realtime(alice) as client:
        await listening(client)

        sent = alice.say(room, "mine")

        assert (await client.event(MY_MESSAGES))[0]["_id"] == sent["_id"]


async def test_a_deleted_message_is_told_by_room_only(devchat: Devchat, alice: Person, bob: Person, room: str) -> None:
    sent = bob.say(room, "oops")
    async with devchat.realtime(alice) as client:
        await listening(client, ("notify-room", f"{room}/deleteMessage"))

        bob.ok_post("chat.delete", roomId=room, msgId=sent["_id"])

        assert await client.event(f"{room}/deleteMessage") == [{"_id": sent["_id"]}]
        assert events(await client.quiet(), MY_MESSAGES) == []


async def test_a_deleted_thread_root_leaves_a_tombstone(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    root = bob.say(room, "root")
    bob.say(room, "reply", tmid=root["_id"])
    async with devchat.realtime(alice) as client:
        await listening(client)

        bob.ok_post("chat.delete", roomId=room, msgId=root["_id"])
        message, _ = await client.event(MY_MESSAGES)

    assert (message["_id"], message["t"], message["msg"]) == (root["_id"], "rm", "")
    assert "editedAt" in message


async def test_typing_is_heard_by_others_and_not_by_the_own_connection(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    name = f"{room}/user-activity"
    async with devchat.realtime(alice) as hers, devchat.realtime(bob) as his:
        await listening(hers, ("notify-room", name))
        await listening(his, ("notify-room", name))

        await his.call("stream-notify-room", name, "bob", ["user-typing"], {"tmid": "root"})
        await his.call("stream-notify-room", name, "bob", [], {})

        assert await hers.event(name) == ["bob", ["user-typing"], {"tmid": "root"}]
        assert await hers.event(name) == ["bob", [], {}]
        assert events(await his.quiet(), name) == []


async def test_typing_under_another_name_or_in_another_room_is_ignored_silently(
    devchat: Devchat, alice: Person, bob: Person, charlie: Person, room: str
) -> None:
    name = f"{room}/user-activity"
    async with devchat.realtime(alice) as hers, devchat.realtime(bob) as his, devchat.realtime(charlie) as stranger:
        await listening(hers, ("notify-room", name))

        answers = [
            await his.call("stream-notify-room", name, "alice", ["user-typing"], {}),
            await his.call("stream-notify-room", f"{room}/typing", "bob", True),
            await his.call("stream-notify-room", name, "bob", ["user-dancing"], {}),
            await stranger.call("stream-notify-room", name, "charlie", ["user-typing"], {}),
        ]

        assert events(await hers.quiet(), name) == []
    assert all("error" not in answer and "result" not in answer for answer in answers)


async def test_memberships_are_told_to_their_user(devchat: Devchat, alice: Person, charlie: Person, room: str) -> None:
    name = f"{charlie.id}/subscriptions-changed"
    async with devchat.realtime(charlie) as client:
        await listening(client, ("notify-user", name), ("notify-user", f"{charlie.id}/rooms-changed"))

        alice.ok_post("groups.invite", roomId=room, username="charlie")
        kind, subscription = await client.event(name)
        room_kind, shown = await client.event(f"{charlie.id}/rooms-changed")
        alice.say(room, "welcome @charlie")
        updated, unread = await client.event(name)
        alice.ok_post("groups.kick", roomId=room, userId=charlie.id)
        gone, trace = await client.event(name)
        alice.say(room, "he is gone")
        heard = [args[0]["msg"] for args in events(await client.quiet(), MY_MESSAGES)]

    assert (kind, subscription["rid"], subscription["t"], subscription["name"]) == ("inserted", room, "p", "backend")
    assert (room_kind, shown["_id"]) == ("inserted", room)
    assert (updated, unread["unread"], unread["alert"]) == ("updated", 1, True)
    assert (gone, trace["rid"], trace["u"]["_id"]) == ("removed", room, charlie.id)
    assert "he is gone" not in heard


async def test_strangers_are_refused_with_not_allowed(
    devchat: Devchat, alice: Person, charlie: Person, claude: Person, room: str
) -> None:
    public = devchat.add_room("plaza", family="channels")
    async with devchat.realtime(charlie) as client, devchat.realtime() as nobody:
        refused = [
            await client.subscribe("room-messages", room),
            await client.subscribe("notify-room", f"{room}/deleteMessage"),
            await client.subscribe("notify-user", f"{alice.id}/message"),
            await nobody.subscribe("room-messages", MY_MESSAGES),
        ]
        allowed = await client.subscribe("room-messages", public)

    assert [answer["msg"] for answer in refused] == ["nosub"] * 4
    assert {answer["error"]["error"] for answer in refused} == {"not-allowed"}
    assert allowed["msg"] == "ready"


async def test_bots_may_not_preview_public_rooms_by_id(devchat: Devchat) -> None:
    bot = devchat.add_user("pure-bot", roles=("bot",))
    public = devchat.add_room("plaza", family="channels")
    async with devchat.realtime(bot) as client:
        assert (await client.subscribe("room-messages", public))["msg"] == "nosub"


async def test_unknown_streams_and_empty_events_are_refused(devchat: Devchat, alice: Person) -> None:
    async with devchat.realtime(alice) as client:
        unknown = await client.subscribe("gossip", "x")
        empty = await client.subscribe("room-messages", "")

    assert unknown["error"]["error"] == 404
    assert empty["error"]["error"] == "invalid-event-name"


async def test_old_clients_get_the_added_frame_that_they_need(devchat: Devchat, alice: Person) -> None:
    added = {
        "msg": "added",
        "collection": "stream-room-messages",
        "id": "id",
        "fields": {"eventName": MY_MESSAGES},
    }
    async with devchat.realtime(alice) as client:
        await client.subscribe("room-messages", MY_MESSAGES, True)
        with_flag = await client.quiet()
        await client.subscribe("room-messages", MY_MESSAGES, {"useCollection": True, "args": [None]})
        with_object = await client.quiet()
        await client.subscribe("room-messages", MY_MESSAGES, {"useCollection": False, "args": [False]})
        without = await client.quiet()

    assert added in with_flag
    assert added in with_object
    assert added not in without


async def test_two_subscriptions_deliver_twice_and_unsubscribing_ends_one(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    async with devchat.realtime(alice) as client:
        await client.send(msg="sub", id="one", name="stream-room-messages", params=[MY_MESSAGES, False])
        await client.send(msg="sub", id="two", name="stream-room-messages", params=[MY_MESSAGES, False])
        await client.quiet()

        bob.say(room, "twice")
        twice = events(await client.quiet(), MY_MESSAGES)
        await client.send(msg="unsub", id="one")
        answer = await client.wait_for(lambda frame: frame.get("msg") == "nosub")
        bob.say(room, "once")
        once = events(await client.quiet(), MY_MESSAGES)

    assert len(twice) == 2
    assert answer == {"msg": "nosub", "id": "one"}
    assert len(once) == 1


async def test_a_reused_live_subscription_id_is_dropped_without_a_word(devchat: Devchat, alice: Person) -> None:
    async with devchat.realtime(alice) as client:
        await client.send(msg="sub", id="same", name="stream-room-messages", params=[MY_MESSAGES, False])
        await client.quiet()
        await client.send(msg="sub", id="same", name="stream-notify-user", params=[f"{alice.id}/message", False])

        assert await client.quiet() == []


async def test_system_messages_are_heard_with_their_type(devchat: Devchat, alice: Person, charlie: Person) -> None:
    room = devchat.add_room("plaza", alice, family="channels", owner=alice)
    async with devchat.realtime(alice) as client:
        await listening(client)

        charlie.ok_post("channels.join", roomId=room)
        charlie.ok_post("channels.leave", roomId=room)
        alice.ok_post("channels.invite", roomId=room, userId=charlie.id)
        alice.ok_post("channels.kick", roomId=room, userId=charlie.id)
        alice.ok_post("channels.setTopic", roomId=room, topic="weather")
        heard = [args[0] for args in events(await client.quiet(), MY_MESSAGES)]

    assert [(message["t"], message["msg"], message["u"]["username"]) for message in heard] == [
        ("uj", "charlie", "charlie"),
        ("ul", "charlie", "charlie"),
        ("au", "charlie", "alice"),
        ("ru", "charlie", "alice"),
        ("room_changed_topic", "weather", "alice"),
    ]
