"""Does catching up by change find everything, page by page and in order?"""

from typing import Any

import pytest

from tests.contract.conftest import Devchat, Person


def pages(person: Person, room: str, count: int) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    cursor: str | None = "1"
    while cursor:
        result = person.ok_get("chat.syncMessages", roomId=room, type="UPDATED", next=cursor, count=count)["result"]
        found.append(result["updated"])
        cursor = result["cursor"]["next"]
    return found


def test_cursors_walk_the_changes_oldest_first(alice: Person, room: str) -> None:
    sent = [alice.say(room, f"text {number}") for number in range(5)]
    alice.ok_post("chat.update", roomId=room, msgId=sent[0]["_id"], text="text 0, edited")

    found = pages(alice, room, 2)

    assert [[message["msg"] for message in page] for page in found] == [
        ["text 1", "text 2"],
        ["text 3", "text 4"],
        ["text 0, edited"],
    ]
    times = [message["_updatedAt"] for page in found for message in page]
    assert times == sorted(times)


def test_pages_include_system_and_thread_messages(alice: Person, bob: Person, room: str) -> None:
    root = alice.say(room, "root")
    bob.say(room, "reply", tmid=root["_id"])
    alice.ok_post("groups.setTopic", roomId=room, topic="plans")

    found = [message for page in pages(alice, room, 50) for message in page]

    assert {message.get("t") for message in found} == {None, "room_changed_topic"}
    assert {message["msg"] for message in found} == {"root", "reply", "plans"}


def test_the_form_by_time_is_unbounded_newest_first_and_knows_the_deleted(alice: Person, room: str) -> None:
    sent = [alice.say(room, f"text {number}") for number in range(60)]
    alice.ok_post("chat.delete", roomId=room, msgId=sent[3]["_id"])

    result = alice.ok_get("chat.syncMessages", roomId=room, lastUpdate="2020-01-01T00:00:00.000Z")["result"]

    assert len(result["updated"]) == 59
    assert result["updated"][0]["msg"] == "text 59"
    assert [each["_id"] for each in result["deleted"]] == [sent[3]["_id"]]
    assert "cursor" not in result or result["cursor"] is None


def test_only_what_changed_later_is_given(alice: Person, room: str) -> None:
    first, second = alice.say(room, "first"), alice.say(room, "second")

    result = alice.ok_get("chat.syncMessages", roomId=room, lastUpdate=first["_updatedAt"])["result"]

    assert {message["_id"] for message in result["updated"]} <= {second["_id"]}


def test_deletions_are_paged_too(alice: Person, room: str) -> None:
    sent = [alice.say(room, f"text {number}") for number in range(3)]
    for message in sent:
        alice.ok_post("chat.delete", roomId=room, msgId=message["_id"])

    result = alice.ok_get("chat.syncMessages", roomId=room, type="DELETED", next="1", count=2)["result"]
    listed = alice.ok_get("chat.getDeletedMessages", roomId=room, since="2020-01-01T00:00:00.000Z")["messages"]

    assert [each["_id"] for each in result["deleted"]] == [message["_id"] for message in sent[:2]]
    assert result["updated"] == []
    assert result["cursor"]["next"]
    assert [each["_id"] for each in listed] == [message["_id"] for message in sent]


def test_the_cursor_back_gives_what_came_before(alice: Person, room: str) -> None:
    for number in range(4):
        alice.say(room, f"text {number}")

    result = alice.ok_get("chat.syncMessages", roomId=room, type="UPDATED", previous="9999999999999", count=2)[
        "result"
    ]

    assert [message["msg"] for message in result["updated"]] == ["text 3", "text 2"]


def test_a_kind_without_cursor_gives_nothing(alice: Person, room: str) -> None:
    alice.say(room, "text")

    result = alice.ok_get("chat.syncMessages", roomId=room, type="UPDATED")["result"]

    assert result["updated"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "error-param-required"),
        ({"type": "ALL"}, "error-type-param-not-supported"),
        ({"next": "1", "lastUpdate": "2020-01-01T00:00:00.000Z"}, "error-type-param-required"),
        ({"type": "UPDATED", "next": "1", "previous": "2"}, "error-cursor-conflict"),
        (
            {"type": "UPDATED", "next": "1", "lastUpdate": "2020-01-01T00:00:00.000Z"},
            "error-cursor-and-lastUpdate-conflict",
        ),
        ({"lastUpdate": "yesterday"}, "error-lastUpdate-param-invalid"),
    ],
)
def test_contradictions_are_named(alice: Person, room: str, query: dict[str, str], code: str) -> None:
    assert alice.get("chat.syncMessages", roomId=room, **query).json()["errorType"] == code


def test_history_is_by_time_of_posting(devchat: Devchat, alice: Person, room: str) -> None:
    sent = [alice.say(room, f"text {number}") for number in range(30)]

    newest = alice.ok_get("groups.history", roomId=room)["messages"]
    older = alice.ok_get("groups.history", roomId=room, count=5, latest=sent[3]["ts"], inclusive="true")["messages"]
    later = alice.ok_get("groups.history", roomId=room, oldest=sent[-1]["ts"])["messages"]

    assert [message["msg"] for message in newest] == [f"text {number}" for number in range(29, 9, -1)]
    assert older[0]["ts"] <= sent[3]["ts"]
    assert later == []
