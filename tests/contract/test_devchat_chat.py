"""Messages over REST: what is stored, what is refused, and how it is read again."""

import json
from typing import Any

import pytest

from tests.contract.conftest import Devchat, Person


def test_a_chosen_id_is_stored_once(alice: Person, room: str) -> None:
    body = {"rid": room, "msg": "hello", "_id": "chosenIdChosenId1"}

    first = alice.ok_post("chat.sendMessage", message=body)["message"]
    again = alice.post("chat.sendMessage", message={**body, "msg": "changed"})

    assert first["_id"] == "chosenIdChosenId1"
    assert again.status_code == 400
    assert again.json() == {"success": False, "error": "Cannot read properties of undefined (reading 'starred')"}
    assert alice.ok_get("chat.getMessage", msgId="chosenIdChosenId1")["message"]["msg"] == "hello"
    assert len(alice.ok_get("groups.history", roomId=room)["messages"]) == 1


@pytest.mark.parametrize(("manner", "keys"), [("message", {"message", "success"}), ("empty", {"success"})])
def test_the_answer_to_a_repeat_can_be_switched(
    devchat: Devchat, alice: Person, room: str, manner: str, keys: set[str]
) -> None:
    devchat.switch(duplicate_reply=manner)
    alice.say(room, "hello", _id="once")

    again = alice.ok_post("chat.sendMessage", message={"rid": room, "msg": "hello", "_id": "once"})

    assert set(again) == keys


def test_sent_text_is_kept_as_it_is_and_posted_text_is_trimmed(alice: Person, room: str) -> None:
    sent = alice.say(room, "  spaced\x00 out  ")
    posted = alice.ok_post("chat.postMessage", roomId=room, text="  spaced out  ")

    assert sent["msg"] == "  spaced out  "
    assert posted["message"]["msg"] == "spaced out"
    assert posted["channel"] == room
    assert isinstance(posted["ts"], int)
    assert posted["message"]["groupable"] is False


def test_posting_joins_public_rooms_and_sending_does_not(devchat: Devchat, alice: Person, bob: Person) -> None:
    room = devchat.add_room("plaza", family="channels")

    alice.ok_post("chat.postMessage", channel="#plaza", text="here I am")
    bob.say(room, "from outside")

    members = {each["username"] for each in devchat.admin.ok_get("channels.members", roomId=room)["members"]}
    assert members == {"admin", "alice"}
    types = [message.get("t") for message in alice.ok_get("channels.history", roomId=room)["messages"]]
    assert types == [None, None, "uj"]


def test_posting_finds_people_and_rooms_by_name(alice: Person, bob: Person, room: str) -> None:
    direct = alice.ok_post("chat.postMessage", channel="@bob", text="psst")
    named = alice.ok_post("chat.postMessage", channel="backend", text="by name")
    unknown = alice.post("chat.postMessage", channel="#nowhere", text="x")

    assert bob.ok_get("im.history", roomId=direct["channel"])["messages"][0]["msg"] == "psst"
    assert named["channel"] == room
    assert unknown.json()["errorType"] == "invalid-channel"


def test_the_limit_counts_as_javascript_does(alice: Person, room: str) -> None:
    fits = alice.post("chat.sendMessage", message={"rid": room, "msg": "😀" * 2500})
    too_long = alice.post("chat.sendMessage", message={"rid": room, "msg": "😀" * 2500 + "x"})
    in_attachment = alice.post(
        "chat.sendMessage", message={"rid": room, "msg": "x", "attachments": [{"text": "y" * 5001}]}
    )

    assert fits.status_code == 200
    assert too_long.json()["errorType"] == "error-message-size-exceeded"
    assert in_attachment.json()["errorType"] == "error-message-size-exceeded"


def test_edits_are_not_held_to_the_limit(alice: Person, room: str) -> None:
    sent = alice.say(room, "short")

    alice.ok_post("chat.update", roomId=room, msgId=sent["_id"], text="x" * 6000)

    assert len(alice.ok_get("chat.getMessage", msgId=sent["_id"])["message"]["msg"]) == 6000


def test_blank_messages_are_refused(alice: Person, room: str) -> None:
    sent = alice.say(room, "text")

    blank = alice.post("chat.sendMessage", message={"rid": room, "msg": " \n "})
    edit = alice.post("chat.update", roomId=room, msgId=sent["_id"], text="  ")

    assert blank.json()["errorType"] == "error-invalid-message"
    assert edit.json()["errorType"] == "error-invalid-message"


def test_a_message_without_room_is_told_so(alice: Person) -> None:
    answer = alice.post("chat.sendMessage", message={"msg": "where?"})

    assert answer.json()["error"] == "The 'rid' property on the message object is missing."


def test_strangers_neither_write_nor_read(alice: Person, charlie: Person, room: str) -> None:
    sent = alice.say(room, "private")

    write = charlie.post("chat.sendMessage", message={"rid": room, "msg": "let me in"})
    read = charlie.get("chat.getMessage", msgId=sent["_id"])
    react = charlie.post("chat.react", messageId=sent["_id"], emoji="eyes")
    sync = charlie.get("chat.syncMessages", roomId=room, lastUpdate="2020-01-01T00:00:00.000Z")

    assert write.json()["error"] == "error-not-allowed"
    assert (read.status_code, read.json()) == (400, {"success": False})
    assert react.json()["errorType"] == "error-not-allowed"
    assert sync.json()["errorType"] == "error-not-allowed"


def test_only_authors_and_moderators_edit_and_delete(alice: Person, bob: Person, room: str) -> None:
    his = bob.say(room, "his")
    hers = alice.say(room, "hers")

    refused = [
        bob.post("chat.update", roomId=room, msgId=hers["_id"], text="mine now"),
        bob.post("chat.delete", roomId=room, msgId=hers["_id"]),
    ]
    moderated = alice.post("chat.update", roomId=room, msgId=his["_id"], text="tidied")

    assert {answer.json()["errorType"] for answer in refused} == {"error-action-not-allowed"}
    assert moderated.json()["message"]["editedBy"]["username"] == "alice"


def test_editing_names_what_is_wrong(devchat: Devchat, alice: Person, room: str) -> None:
    other = devchat.add_room("other", owner=alice)
    sent = alice.say(room, "text")

    unknown = alice.post("chat.update", roomId=room, msgId="nothing", text="x")
    wrong_room = alice.post("chat.update", roomId=other, msgId=sent["_id"], text="x")

    assert unknown.json()["error"] == 'No message found with the id of "nothing".'
    assert wrong_room.json()["error"] == "The room id provided does not match where the message is from."


def test_bots_may_wear_another_name_and_people_may_not(devchat: Devchat, alice: Person, claude: Person) -> None:
    room = devchat.add_room("shared", alice, claude)

    worn = claude.say(room, "hello", alias="Claude of Alice")
    refused = alice.post("chat.sendMessage", message={"rid": room, "msg": "hello", "alias": "Boss"})

    assert worn["alias"] == "Claude of Alice"
    assert "bot" not in worn
    assert refused.json()["error"] == "Not enough permission"


def test_calling_everybody_needs_the_right(devchat: Devchat, alice: Person) -> None:
    bot = devchat.add_user("robot", roles=("bot",))
    room = devchat.add_room("shared", alice, bot)

    refused = bot.post("chat.sendMessage", message={"rid": room, "msg": "@all wake up"})
    broken = bot.say(room, "@\u200ball wake up")
    in_code = bot.say(room, "`@all`")
    allowed = alice.say(room, "@all wake up")

    assert refused.json()["errorType"] == "error-action-not-allowed"
    assert broken["mentions"] == in_code["mentions"] == []
    assert allowed["mentions"] == [{"_id": "all", "username": "all"}]


def test_bots_cannot_delete_or_pin_by_default(devchat: Devchat) -> None:
    bot = devchat.add_user("robot", roles=("bot",))
    room = devchat.add_room("shared", bot)
    sent = bot.say(room, "mine")

    assert bot.post("chat.delete", roomId=room, msgId=sent["_id"]).json()["errorType"] == "error-action-not-allowed"
    assert bot.post("chat.pinMessage", messageId=sent["_id"]).json()["errorType"] == "error-not-allowed"


def test_read_only_rooms_and_the_muted_are_told_why(devchat: Devchat, alice: Person, bob: Person, room: str) -> None:
    alice.ok_post("rooms.muteUser", roomId=room, username="bob")
    muted = bob.post("chat.sendMessage", message={"rid": room, "msg": "x"})
    alice.ok_post("rooms.unmuteUser", roomId=room, username="bob")
    alice.ok_post("groups.setReadOnly", roomId=room, readOnly=True)
    read_only = bob.post("chat.sendMessage", message={"rid": room, "msg": "x"})

    assert "muted" in muted.json()["error"]
    assert read_only.json()["error"] == "You can't send messages because the room is readonly."
    assert alice.say(room, "owners may")["msg"] == "owners may"


def test_encrypted_rooms_take_no_plain_text(alice: Person, room: str) -> None:
    alice.ok_post("groups.setEncrypted", roomId=room, encrypted=True)

    answer = alice.post("chat.sendMessage", message={"rid": room, "msg": "plain"})

    assert answer.json()["errorType"] == "error-not-allowed"


def test_a_restricted_workspace_reads_but_does_not_write(devchat: Devchat, alice: Person, room: str) -> None:
    sent = alice.say(room, "before")
    devchat.switch(is_restricted=True)

    writes = [
        alice.post("chat.sendMessage", message={"rid": room, "msg": "x"}),
        alice.post("chat.postMessage", roomId=room, text="x"),
        alice.post("chat.update", roomId=room, msgId=sent["_id"], text="x"),
    ]

    assert [(answer.status_code, answer.json()["error"]) for answer in writes] == [(400, "restricted-workspace")] * 3
    assert alice.ok_post("chat.react", messageId=sent["_id"], emoji="eyes")
    assert alice.ok_get("groups.history", roomId=room)["messages"]


def test_reactions_toggle_unless_told_what_is_wanted(alice: Person, room: str) -> None:
    sent = alice.say(room, "text")

    def react(**more: Any) -> dict[str, Any]:
        alice.ok_post("chat.react", messageId=sent["_id"], emoji="eyes", **more)
        return dict(alice.ok_get("chat.getMessage", msgId=sent["_id"])["message"].get("reactions", {}))

    assert react() == {":eyes:": {"usernames": ["alice"]}}
    assert react(shouldReact=True) == {":eyes:": {"usernames": ["alice"]}}
    assert react() == {}
    assert react(shouldReact=False) == {}
    unknown = alice.post("chat.react", messageId=sent["_id"], emoji=":no_such_sign:")
    assert unknown.json()["error"] == "Invalid emoji provided. [error-not-allowed]"


def test_system_types_cannot_be_sent(alice: Person, room: str) -> None:
    answer = alice.post("chat.sendMessage", message={"rid": room, "msg": "alice", "t": "uj"})

    assert answer.status_code == 400
    assert "system messages" in answer.json()["error"]


def test_replies_stay_flat_and_out_of_the_room(alice: Person, bob: Person, room: str) -> None:
    root = alice.say(room, "root")
    reply = bob.say(room, "reply", tmid=root["_id"])
    nested = alice.say(room, "reply to the reply", tmid=reply["_id"])
    shown = bob.say(room, "shown", tmid=root["_id"], tshow=True)

    assert nested["tmid"] == shown["tmid"] == root["_id"]
    thread = alice.ok_get("chat.getThreadMessages", tmid=root["_id"])["messages"]
    assert [message["msg"] for message in thread] == ["reply", "reply to the reply", "shown"]
    history = alice.ok_get("groups.history", roomId=room, showThreadMessages="false")["messages"]
    assert [message["msg"] for message in history] == ["shown", "root"]
    assert alice.ok_get("chat.getThreadsList", rid=room)["threads"][0]["tcount"] == 3


def test_pinning_answers_with_the_system_message(alice: Person, room: str) -> None:
    sent = alice.say(room, "we chose @alice's plan")

    system = alice.ok_post("chat.pinMessage", messageId=sent["_id"])["message"]

    assert system["t"] == "message_pinned"
    assert system["mentions"] == []
    assert system["attachments"][0]["text"] == "we chose @alice's plan"
    pinned = alice.ok_get("chat.getPinnedMessages", roomId=room)["messages"]
    assert [message["_id"] for message in pinned] == [sent["_id"]]
    alice.ok_post("chat.unPinMessage", messageId=sent["_id"])
    assert alice.ok_get("chat.getPinnedMessages", roomId=room)["messages"] == []


def test_message_links_become_quotes_without_their_mentions(
    devchat: Devchat, alice: Person, bob: Person, charlie: Person, room: str
) -> None:
    sent = bob.say(room, "@alice look")
    link = f"[ ]({devchat.url}/group/backend?msg={sent['_id']}) what he said"

    quote = bob.say(room, link)
    blind = charlie.say("GENERAL", link)

    assert quote["attachments"][0]["text"] == "@alice look"
    assert quote["attachments"][0]["author_name"] == "bob"
    assert quote["mentions"] == []
    assert "attachments" not in blind


def test_links_in_attachments_must_be_safe(alice: Person, room: str) -> None:
    message = {"rid": room, "msg": "x", "attachments": [{"title": "t", "title_link": "javascript:alert(1)"}]}

    assert "Invalid href" in alice.post("chat.sendMessage", message=message).json()["error"]


def test_stars_are_private(alice: Person, bob: Person, room: str) -> None:
    sent = alice.say(room, "good")

    alice.ok_post("chat.starMessage", messageId=sent["_id"])

    assert alice.ok_get("chat.getMessage", msgId=sent["_id"])["message"]["starred"] == [{"_id": alice.id}]
    assert bob.ok_get("chat.getMessage", msgId=sent["_id"])["message"]["starred"] == []


def test_texts_are_searched_and_mentions_found(alice: Person, bob: Person, room: str) -> None:
    bob.say(room, "the Database is Postgres")
    bob.say(room, "@alice agreed?")

    found = alice.ok_get("chat.search", roomId=room, searchText="database")["messages"]
    mentioned = alice.ok_get("chat.getMentionedMessages", roomId=room)["messages"]

    assert [message["msg"] for message in found] == ["the Database is Postgres"]
    assert [message["msg"] for message in mentioned] == ["@alice agreed?"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"message":{"rid":"GENERAL","msg":"x","customFields":' + b"[" * 5_000 + b"]" * 5_000 + b"}}",
        b'{"message":{"rid":"GENERAL","msg":NaN}}',
        b"\xff\xfe",
        b"[]",
        b'"text"',
        b"null",
    ],
    ids=["deep", "nan", "bytes", "list", "text", "null"],
)
def test_odd_bodies_are_refused_and_nothing_breaks(devchat: Devchat, alice: Person, raw: bytes) -> None:
    headers = {**alice.headers, "Content-Type": "application/json"}

    assert devchat.http.post("/api/v1/chat.sendMessage", content=raw, headers=headers).status_code == 400
    assert alice.ok_get("channels.history", roomId="GENERAL")


def test_numbers_too_large_for_javascript_are_kept_as_it_would(devchat: Devchat, alice: Person, room: str) -> None:
    attachment = '{"text":"x","ts":%s}' % ("9" * 30)
    raw = '{"message":{"rid":"%s","msg":"x","attachments":[%s]}}' % (room, attachment)  # noqa: UP031

    headers = {**alice.headers, "Content-Type": "application/json"}

    assert devchat.http.post("/api/v1/chat.sendMessage", content=raw, headers=headers).status_code == 200
    assert alice.ok_get("groups.history", roomId=room)["messages"][0]["attachments"][0]["ts"] == 1e30


def test_lone_surrogates_are_stored_as_replacement_signs(devchat: Devchat, alice: Person, room: str) -> None:
    raw = json.dumps({"message": {"rid": room, "msg": "broken \ud83d sign", "_id": "lone"}}).encode()

    answer = devchat.http.post(
        "/api/v1/chat.sendMessage", content=raw, headers={**alice.headers, "Content-Type": "application/json"}
    )

    assert answer.status_code == 200
    assert alice.ok_get("chat.getMessage", msgId="lone")["message"]["msg"] in ("broken ? sign", "broken \ufffd sign")
