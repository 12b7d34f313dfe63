"""Rooms: who may create, find, enter and fill them, and what lists say."""

import pytest

from tests.contract.conftest import Devchat, Person


def test_direct_rooms_are_opened_once_whoever_asks(alice: Person, bob: Person) -> None:
    first = alice.ok_post("im.create", username="bob")["room"]
    again = bob.ok_post("dm.create", username="alice")["room"]

    assert first["_id"] == first["rid"] == again["_id"]
    assert first["t"] == "d"
    assert set(first["usernames"]) == {"alice", "bob"}
    assert [room["_id"] for room in bob.ok_get("im.list")["ims"]] == [first["_id"]]


def test_direct_rooms_of_several_keep_their_circle(alice: Person, bob: Person, charlie: Person) -> None:
    three = alice.ok_post("im.create", usernames="bob, charlie")["room"]
    again = charlie.ok_post("im.create", usernames="alice,bob")["room"]
    two = alice.ok_post("im.create", username="bob")["room"]

    assert three["_id"] == again["_id"] != two["_id"]
    assert len(three["uids"]) == 3


def test_unknown_users_get_no_direct_room(alice: Person) -> None:
    answer = alice.post("im.create", username="nobody")

    assert answer.status_code == 400
    assert answer.json()["errorType"] == "error-invalid-user"
    assert alice.ok_get("im.list")["ims"] == []


def test_taken_and_strange_names_are_refused(alice: Person) -> None:
    alice.ok_post("channels.create", name="plaza")

    taken = alice.post("groups.create", name="Plaza")
    strange = alice.post("channels.create", name="two words")

    assert taken.json()["errorType"] == "error-duplicate-channel-name"
    assert strange.json()["errorType"] == "error-invalid-room-name"


def test_only_owners_and_moderators_add_people_to_a_private_room(
    devchat: Devchat, alice: Person, bob: Person, charlie: Person, room: str
) -> None:
    member = bob.post("groups.invite", roomId=room, username="charlie")
    outsider = devchat.admin.post("groups.invite", roomId=room, username="charlie")

    assert member.json()["errorType"] == "error-not-allowed"
    assert outsider.json()["errorType"] == "error-not-allowed"
    assert alice.ok_post("groups.invite", roomId=room, username="charlie")["group"]["_id"] == room
    assert {each["username"] for each in charlie.ok_get("groups.members", roomId=room)["members"]} == {
        "alice",
        "bob",
        "charlie",
    }


def test_the_grant_lets_an_admin_add_people_from_outside(devchat: Devchat, charlie: Person, room: str) -> None:
    devchat.admin.ok_post("permissions.update", permissions=[{"_id": "add-user-to-any-p-room", "roles": ["admin"]}])

    devchat.admin.ok_post("groups.invite", roomId=room, username="charlie")

    assert [each["rid"] for each in charlie.ok_get("subscriptions.get")["update"]] == [room]


def test_private_rooms_are_not_found_by_strangers(charlie: Person, room: str) -> None:
    by_family = charlie.get("groups.info", roomId=room)
    by_id = charlie.get("rooms.info", roomId=room)
    history = charlie.get("groups.history", roomId=room)

    assert by_family.json()["errorType"] == "error-room-not-found"
    assert by_id.json()["errorType"] == "error-not-allowed"
    assert history.status_code == 400
    assert charlie.get("groups.listAll").status_code == 403


def test_lists_are_paged_and_clamped(devchat: Devchat, alice: Person) -> None:
    for number in range(5):
        devchat.add_room(f"room-{number}", family="channels")

    page = alice.ok_get("channels.list", count=2, offset=1)
    clamped = alice.ok_get("channels.list", count=5000)

    assert (page["count"], page["offset"], page["total"]) == (2, 1, 6)
    assert (clamped["count"], clamped["total"]) == (6, 6)


def test_subscriptions_since_a_time_leave_the_older_out(alice: Person, bob: Person, room: str) -> None:
    everything = alice.ok_get("subscriptions.get")["update"]
    later = alice.ok_get("subscriptions.get", updatedSince="2100-01-01T00:00:00.000Z")["update"]

    assert [each["rid"] for each in everything] == [room]
    assert everything[0]["roles"] == ["owner"]
    assert later == []


def test_ended_memberships_are_told_since_a_time(alice: Person, bob: Person, room: str) -> None:
    held = bob.ok_get("subscriptions.get")["update"][0]

    alice.ok_post("groups.kick", roomId=room, userId=bob.id)

    since = bob.ok_get("subscriptions.get", updatedSince="2020-01-01T00:00:00.000Z")
    assert [each["_id"] for each in since["remove"]] == [held["_id"]]
    assert since["update"] == []


def test_reading_clears_what_is_unread(alice: Person, bob: Person, room: str) -> None:
    alice.say(room, "@bob look")
    before = bob.ok_get("subscriptions.getOne", roomId=room)["subscription"]

    bob.ok_post("subscriptions.read", rid=room)

    after = bob.ok_get("subscriptions.getOne", roomId=room)["subscription"]
    assert (before["unread"], before["alert"], before["userMentions"]) == (1, True, 1)
    assert (after["unread"], after["alert"], after["userMentions"]) == (0, False, 0)
    assert after["ls"] > before.get("ls", "")


def test_direct_messages_count_as_unread_without_mention(alice: Person, bob: Person, room: str) -> None:
    direct = alice.ok_post("im.create", username="bob")["room"]["_id"]

    alice.say(direct, "psst")
    alice.say(room, "to nobody in particular")

    unread = {each["rid"]: each["unread"] for each in bob.ok_get("subscriptions.get")["update"]}
    assert unread == {direct: 1, room: 0}


def test_the_last_owner_cannot_leave(alice: Person, room: str) -> None:
    assert alice.post("groups.leave", roomId=room).json()["errorType"] == "error-you-are-last-owner"


@pytest.mark.parametrize("role", ["owner", "moderator"])
def test_roles_in_rooms_can_be_given_and_taken(alice: Person, bob: Person, room: str, role: str) -> None:
    alice.ok_post(f"groups.add{role.capitalize()}", roomId=room, userId=bob.id)
    given = bob.ok_get("subscriptions.getOne", roomId=room)["subscription"]["roles"]
    listed = {each["u"]["username"]: each["roles"] for each in bob.ok_get("groups.roles", roomId=room)["roles"]}

    alice.ok_post(f"groups.remove{role.capitalize()}", roomId=room, userId=bob.id)

    assert given == [role]
    assert listed == {"alice": ["owner"], "bob": [role]}
    assert "roles" not in bob.ok_get("subscriptions.getOne", roomId=room)["subscription"]
