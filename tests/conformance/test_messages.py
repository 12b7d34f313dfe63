"""What Nexus takes for granted of messages: ids of its own, edits, limits, mentions, threads, reactions, files."""

import secrets

import pytest

from tests.conformance.conftest import Target
from tests.contract.conftest import Person


def new_id() -> str:
    return f"conf{secrets.token_hex(7)}"[:17]


def count(person: Person, room: str, text: str) -> int:
    found = person.ok_get("groups.history", roomId=room, count=100)["messages"]
    return sum(one["msg"] == text for one in found)


def test_a_message_under_our_own_id_is_stored_once(claude: Person, room: str) -> None:
    message = {"_id": new_id(), "rid": room, "msg": "said once"}

    first = claude.post("chat.sendMessage", message=message)
    again = claude.post("chat.sendMessage", message=message | {"msg": "said twice"})

    assert first.json()["message"]["_id"] == message["_id"]
    assert again.status_code < 500
    assert claude.ok_get("chat.getMessage", msgId=message["_id"])["message"]["msg"] == "said once"
    assert (count(claude, room, "said once"), count(claude, room, "said twice")) == (1, 0)


def test_an_edit_replaces_the_text_and_says_so(claude: Person, room: str) -> None:
    message = claude.say(room, "first")

    claude.ok_post("chat.update", roomId=room, msgId=message["_id"], text="second")

    found = claude.ok_get("chat.getMessage", msgId=message["_id"])["message"]
    assert (found["msg"], bool(found.get("editedAt"))) == ("second", True)
    assert found["editedBy"]["_id"] == claude.id


def test_an_edit_to_the_same_text_changes_nothing(claude: Person, room: str) -> None:
    message = claude.say(room, "the same")

    claude.ok_post("chat.update", roomId=room, msgId=message["_id"], text="the same")

    assert "editedAt" not in claude.ok_get("chat.getMessage", msgId=message["_id"])["message"]


def test_nobody_edits_a_message_that_is_gone(claude: Person, room: str) -> None:
    message = claude.say(room, "soon gone")
    claude.ok_post("chat.delete", roomId=room, msgId=message["_id"])

    answer = claude.post("chat.update", roomId=room, msgId=message["_id"], text="back")

    assert answer.status_code == 400
    assert claude.get("chat.getMessage", msgId=message["_id"]).status_code == 400


def test_the_limit_counts_utf_16_units(claude: Person, room: str) -> None:
    [setting] = claude.ok_get("settings.public", _id="Message_MaxAllowedSize")["settings"]
    limit = int(setting["value"])

    fits = claude.post("chat.sendMessage", message={"rid": room, "msg": "😀" * (limit // 2)})
    too_long = claude.post("chat.sendMessage", message={"rid": room, "msg": "😀" * (limit // 2) + "x"})

    assert fits.status_code == 200
    assert too_long.status_code == 400
    assert "error-message-size-exceeded" in too_long.text


@pytest.mark.parametrize(
    ("text", "is_mention"),
    [
        ("{name} why?", True),
        ("so ({name}) what", True),
        ("{name}, why?", True),
        ("hey\n{name}\nlook", True),
        ("**{name}**", True),
        ("`{name}`", False),
        ("```\n{name}\n```", False),
        ("{broken}", False),
        ("mail x{name}", False),
    ],
)
def test_mentions_are_found_where_we_expect_them(
    bob: Person, claude: Person, room: str, text: str, is_mention: bool
) -> None:
    name = f"@{claude.username}"

    message = bob.say(room, text.format(name=name, broken=f"@\u200b{claude.username}"))

    assert [one["_id"] for one in message["mentions"]] == ([claude.id] if is_mention else [])


def test_threads_are_flat_and_their_root_is_not_edited_by_replies(bob: Person, claude: Person, room: str) -> None:
    root = bob.say(room, "root")
    reply = claude.say(room, "reply", tmid=root["_id"])

    found = bob.ok_get("chat.getMessage", msgId=root["_id"])["message"]

    assert reply["tmid"] == root["_id"]
    assert found["tcount"] == 1
    assert "editedAt" not in found


def test_a_reaction_that_is_wanted_stays_however_often_it_is_set(claude: Person, bob: Person, room: str) -> None:
    message = bob.say(room, "look")

    for _ in range(2):
        claude.post("chat.react", messageId=message["_id"], emoji=":eyes:", shouldReact=True)

    found = claude.ok_get("chat.getMessage", msgId=message["_id"])["message"]
    assert found["reactions"] == {":eyes:": {"usernames": [claude.username]}}


def test_strangers_neither_read_nor_write_a_private_room(target: Target, room: str) -> None:
    charlie = target.person("charlie")

    assert charlie.post("chat.sendMessage", message={"rid": room, "msg": "hello"}).status_code in (400, 403)
    assert charlie.get("chat.syncMessages", roomId=room, lastUpdate="2026-01-01T00:00:00.000Z").status_code != 200


def test_a_file_is_uploaded_in_two_steps_and_fetched_with_a_token_only(
    target: Target, claude: Person, room: str
) -> None:
    files = {"file": ("notes.txt", b"what we decided", "text/plain")}
    uploaded = target.http.post(f"/api/v1/rooms.media/{room}", files=files, headers=claude.headers).json()["file"]

    message = claude.ok_post(f"rooms.mediaConfirm/{room}/{uploaded['_id']}", msg="minutes")["message"]

    assert message["file"]["name"] == "notes.txt"
    link = message["attachments"][0]["title_link"]
    assert target.http.get(link, headers=claude.headers).content == b"what we decided"
    assert target.http.get(link).status_code in (401, 403)


def test_changes_are_paged_oldest_first_with_edits_and_threads(bob: Person, claude: Person, room: str) -> None:
    messages = [bob.say(room, f"message {number}") for number in range(5)]
    thread = bob.say(room, "in a thread", tmid=messages[0]["_id"])
    bob.ok_post("chat.update", roomId=room, msgId=messages[1]["_id"], text="message 1, edited")

    seen: list[str] = []
    after: str | None = "1"
    while after:
        query = {"roomId": room, "type": "UPDATED", "next": after, "count": 3}
        result = claude.ok_get("chat.syncMessages", **query)["result"]
        seen += [one["_id"] for one in result["updated"]]
        after = (result.get("cursor") or {}).get("next")

    wanted = [messages[number]["_id"] for number in (2, 3, 4)] + [thread["_id"], messages[1]["_id"]]
    assert [one for one in seen if one in wanted] == wanted
    assert seen[-1] == messages[1]["_id"]


def test_deletions_are_told_afterwards(bob: Person, claude: Person, room: str) -> None:
    message = bob.say(room, "soon gone")
    bob.ok_post("chat.delete", roomId=room, msgId=message["_id"])

    query = {"roomId": room, "type": "DELETED", "next": "1", "count": 50}
    result = claude.ok_get("chat.syncMessages", **query)["result"]

    assert message["_id"] in [one["_id"] for one in result["deleted"]]
