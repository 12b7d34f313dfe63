"""What Nexus takes for granted of rooms, their people and the webhook."""

import json
import secrets

from gateway.rocketchat import admin_calls
from tests.conformance.conftest import Catcher, Target, eventually
from tests.contract.conftest import Person


def test_an_account_is_told_its_rooms_and_since_when(claude: Person, room: str) -> None:
    [subscription] = [one for one in claude.ok_get("subscriptions.get")["update"] if one["rid"] == room]
    [document] = [one for one in claude.ok_get("rooms.get")["update"] if one["_id"] == room]

    assert (subscription["t"], document["t"]) == ("p", "p")
    assert subscription["ts"]


def test_members_and_owners_are_told(alice: Person, claude: Person, room: str) -> None:
    members = claude.ok_get("groups.members", roomId=room)["members"]
    roles = claude.ok_get("groups.roles", roomId=room)["roles"]

    assert {alice.id, claude.id} <= {one["_id"] for one in members}
    assert [one["u"]["_id"] for one in roles if "owner" in one["roles"]] == [alice.id]


def test_a_direct_room_is_the_same_whoever_opens_it(bob: Person, claude: Person) -> None:
    first = bob.ok_post("im.create", username=claude.username)["room"]
    again = claude.ok_post("im.create", username=bob.username)["room"]

    assert first["_id"] == again["_id"]
    assert set(first["usernames"]) == {bob.username, claude.username}


def test_only_its_own_people_invite_into_a_private_room(target: Target, alice: Person, bob: Person) -> None:
    private = target.room(alice)
    charlie = target.person("charlie")

    refused = charlie.post("groups.invite", roomId=private, userId=bob.id)
    alice.ok_post("groups.invite", roomId=private, userId=bob.id)

    assert refused.status_code in (400, 403)
    history = bob.ok_get("groups.history", roomId=private)["messages"]
    assert [one["msg"] for one in history if one.get("t") == "au"] == [bob.username]


def test_who_was_thrown_out_can_not_write(target: Target, alice: Person, claude: Person) -> None:
    private = target.room(alice, claude)
    alice.ok_post("groups.kick", roomId=private, userId=claude.id)

    answer = claude.post("chat.sendMessage", message={"rid": private, "msg": "still here?"})

    assert answer.status_code in (400, 403)
    assert private not in [one["rid"] for one in claude.ok_get("subscriptions.get")["update"]]


def test_read_only_and_archived_rooms_refuse_and_say_so_in_their_documents(
    target: Target, alice: Person, claude: Person
) -> None:
    quiet, closed = target.room(alice, claude), target.room(alice, claude)
    alice.ok_post("groups.setReadOnly", roomId=quiet, readOnly=True)
    alice.ok_post("groups.archive", roomId=closed)

    answers = [claude.post("chat.sendMessage", message={"rid": rid, "msg": "hello"}) for rid in (quiet, closed)]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert alice.ok_get("rooms.info", roomId=quiet)["room"]["ro"] is True
    assert alice.ok_get("rooms.info", roomId=closed)["room"]["archived"] is True


def test_a_new_name_is_in_the_rooms_document(target: Target, alice: Person) -> None:
    private, name = target.room(alice), f"renamed-{secrets.token_hex(4)}"

    alice.ok_post("groups.rename", roomId=private, name=name)

    assert alice.ok_get("rooms.info", roomId=private)["room"]["name"] == name


def test_a_discussion_is_a_room_of_its_own(target: Target, alice: Person, claude: Person, room: str) -> None:
    body = {"prid": room, "t_name": "Which port?", "users": [claude.username]}
    made = alice.ok_post("rooms.createDiscussion", **body)["discussion"]
    target.rooms.append(("groups", made["_id"]))

    assert made["prid"] == room
    assert made["_id"] in [one["rid"] for one in claude.ok_get("subscriptions.get")["update"]]


def test_a_webhook_is_made_listed_called_and_removed(
    target: Target, alice: Person, room: str, catcher: Catcher
) -> None:
    name = f"conformance-{target.run}"
    call = admin_calls.create_webhook(name=name, url=catcher.url, token="a-secret-word", username="rocket.cat")
    made = target.admin.call(call)["integration"]
    target.hooks.append(made["_id"])
    listed = [one for one in target.admin.webhooks() if one["_id"] == made["_id"]]

    message = alice.say(room, "to be caught")
    caught = eventually(lambda: [json.loads(body) for body in catcher.bodies if message["_id"].encode() in body])

    assert listed[0]["channel"] == ["all_public_channels", "all_private_groups", "all_direct_messages"]
    wanted = {"token": "a-secret-word", "channel_id": room, "user_id": alice.id, "text": "to be caught"}
    assert caught[0].items() >= wanted.items()
    target.admin.remove_webhook(integration_id=made["_id"])
    assert made["_id"] not in [one["_id"] for one in target.admin.webhooks()]
