"""What Nexus takes for granted of a realtime connection."""

from typing import Any

from tests.conformance.conftest import Target
from tests.contract.conftest import Person
from tests.contract.ddp_client import DdpClient


async def listen(client: DdpClient) -> None:
    ready = await client.subscribe("room-messages", "__my_messages__", {"useCollection": False, "args": []})
    assert ready["msg"] == "ready"


async def heard(client: DdpClient, rc_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The next version of this message, and what comes with it."""
    frame = await client.wait_for(
        lambda frame: (
            frame.get("msg") == "changed"
            and frame["fields"]["eventName"] == "__my_messages__"
            and frame["fields"]["args"][0]["_id"] == rc_id
        )
    )
    message, meta = frame["fields"]["args"][:2]
    return message, meta


async def user_event(client: DdpClient, name: str, rid: str, change: str) -> dict[str, Any]:
    frame = await client.wait_for(
        lambda frame: (
            frame.get("msg") == "changed"
            and frame["fields"]["eventName"] == name
            and frame["fields"]["args"][0] == change
            and rid in (frame["fields"]["args"][1].get("rid"), frame["fields"]["args"][1].get("_id"))
        )
    )
    return dict(frame["fields"]["args"][1])


async def test_a_personal_token_logs_in_and_a_wrong_one_does_not(target: Target, claude: Person) -> None:
    async with target.realtime(claude):
        pass
    async with target.realtime() as client:
        refused = await client.call("login", {"resume": "not a token"})

    assert str(refused["error"]["error"]) == "403"


async def test_a_ping_is_answered_with_its_id(target: Target, claude: Person) -> None:
    async with target.realtime(claude) as client:
        await client.send(msg="ping", id="ours")

        assert await client.wait_for(lambda frame: frame.get("msg") == "pong" and frame.get("id") == "ours")


async def test_messages_of_our_rooms_come_with_who_where_and_whom(
    target: Target, bob: Person, claude: Person, room: str
) -> None:
    async with target.realtime(claude) as client:
        await listen(client)

        said = bob.say(room, f"@{claude.username} hello")
        message, meta = await heard(client, said["_id"])

    assert (message["rid"], message["u"]["_id"], message["msg"]) == (room, bob.id, said["msg"])
    assert [one["_id"] for one in message["mentions"]] == [claude.id]
    assert message["ts"]["$date"] <= message["_updatedAt"]["$date"]
    assert (meta["roomParticipant"], meta["roomType"]) == (True, "p")


async def test_edits_reactions_and_thread_replies_bring_the_message_again(
    target: Target, bob: Person, claude: Person, room: str
) -> None:
    async with target.realtime(claude) as client:
        await listen(client)
        said = bob.say(room, "first")
        await heard(client, said["_id"])

        bob.ok_post("chat.update", roomId=room, msgId=said["_id"], text="second")
        edited, _ = await heard(client, said["_id"])
        bob.ok_post("chat.react", messageId=said["_id"], emoji=":eyes:", shouldReact=True)
        while not (again := (await heard(client, said["_id"]))[0]).get("reactions"):
            pass
        bob.say(room, "reply", tmid=said["_id"])
        while not (root := (await heard(client, said["_id"]))[0]).get("tcount"):
            pass

    assert (edited["msg"], edited["editedBy"]["_id"]) == ("second", bob.id)
    assert again["reactions"][":eyes:"]["usernames"] == [bob.username]
    assert root["tcount"] == 1


async def test_our_own_messages_come_back(target: Target, claude: Person, room: str) -> None:
    async with target.realtime(claude) as client:
        await listen(client)
        said = claude.say(room, "my own")

        message, _ = await heard(client, said["_id"])

    assert message["u"]["_id"] == claude.id


async def test_direct_messages_come_without_mention(target: Target, bob: Person, claude: Person) -> None:
    rid = bob.ok_post("im.create", username=claude.username)["room"]["_id"]
    async with target.realtime(claude) as client:
        await listen(client)
        said = bob.say(rid, "just us")

        message, meta = await heard(client, said["_id"])

    assert (message["rid"], meta["roomType"]) == (rid, "d")


async def test_rooms_we_are_not_in_are_marked_or_silent(
    target: Target, bob: Person, claude: Person, room: str
) -> None:
    elsewhere = target.room(bob, kind="c")
    async with target.realtime(claude) as client:
        await listen(client)
        said = bob.say(elsewhere, f"@{claude.username} can you hear me?")
        last = bob.say(room, "the end")
        await heard(client, last["_id"])
        marks = [
            frame["fields"]["args"][1].get("roomParticipant")
            for frame in client.frames
            if frame.get("msg") == "changed" and frame["fields"]["args"][0].get("_id") == said["_id"]
        ]

    assert True not in marks


async def test_coming_into_a_room_and_going_is_told(target: Target, alice: Person, claude: Person) -> None:
    name = f"{claude.id}/subscriptions-changed"
    async with target.realtime(claude) as client:
        await client.subscribe("notify-user", name)
        rid = target.room(alice)
        alice.ok_post("groups.invite", roomId=rid, userId=claude.id)
        inserted = await user_event(client, name, rid, "inserted")
        alice.ok_post("groups.kick", roomId=rid, userId=claude.id)
        removed = await user_event(client, name, rid, "removed")

    assert (inserted["t"], removed["rid"]) == ("p", rid)


async def test_what_a_room_allows_is_told_when_it_changes(
    target: Target, alice: Person, claude: Person, room: str
) -> None:
    name = f"{claude.id}/rooms-changed"
    async with target.realtime(claude) as client:
        await client.subscribe("notify-user", name)
        alice.ok_post("groups.setReadOnly", roomId=room, readOnly=True)
        while not (await user_event(client, name, room, "updated")).get("ro"):
            pass


async def test_deletions_are_told_by_room(target: Target, bob: Person, claude: Person, room: str) -> None:
    async with target.realtime(claude) as client:
        await client.subscribe("notify-room", f"{room}/deleteMessage")
        said = bob.say(room, "soon gone")
        bob.ok_post("chat.delete", roomId=room, msgId=said["_id"])

        [gone] = await client.event(f"{room}/deleteMessage")

    assert gone["_id"] == said["_id"]


async def test_typing_is_seen_by_the_others(target: Target, bob: Person, claude: Person, room: str) -> None:
    name = f"{room}/user-activity"
    async with target.realtime(claude) as agent, target.realtime(bob) as onlooker:
        await onlooker.subscribe("notify-room", name)
        await agent.call("stream-notify-room", name, claude.username, ["user-typing"], {})
        started = await onlooker.event(name)
        await agent.call("stream-notify-room", name, claude.username, [], {})
        stopped = await onlooker.event(name)

    assert started[:2] == [claude.username, ["user-typing"]]
    assert stopped[:2] == [claude.username, []]


async def test_a_strangers_room_is_refused(target: Target, room: str) -> None:
    charlie = target.person("charlie")
    async with target.realtime(charlie) as client:
        answer = await client.subscribe("notify-room", f"{room}/deleteMessage")

    assert answer["msg"] == "nosub"
