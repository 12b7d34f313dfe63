"""Does every message land in `messages` exactly once, and follow the chat from then on?"""

import pytest

from gateway.ingest import Batch, Ingest
from gateway.models import Invocation, Message, SetAside
from gateway.rocketchat import events
from tests.server.chat_words import document, edited, said
from tests.server.people import make_agent, make_bridge, make_room, make_user

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture
def room():
    from gateway.models import RoomMember

    alice = make_user("alice")
    room = make_room(members=(alice, make_user("bob")))
    agent = make_agent(owner=alice, bridge=make_bridge(owner=alice))
    RoomMember.objects.create(room=room, agent=agent, joined_at=events.moment(1_000))
    return room


def test_the_same_message_by_three_paths_is_one_row_and_one_invocation(room):
    message = said("@claude-alice why is CI red?", mentions=("claude-alice",))
    ingest = Ingest()

    first = ingest.store(Batch(messages=[message, message]))
    second = ingest.store(Batch(messages=[message]))
    third = Ingest().store(Batch(messages=[message]))

    assert Message.objects.count() == 1
    assert Invocation.objects.count() == 1
    assert (first.new, first.opened, second.new, third.opened) == (1, 1, 0, 0)


def test_an_edit_follows_and_opens_nothing(room):
    first = document("let us see")
    Ingest().store(Batch(messages=[events.message(first)]))

    Ingest().store(
        Batch(messages=[events.message(edited(first, "@claude-alice see", mentions=[{"_id": "uid-claude-alice"}]))])
    )

    row = Message.objects.get()
    assert row.text == "@claude-alice see"
    assert row.edited_at is not None
    assert not Invocation.objects.exists()


def test_what_was_said_within_one_millisecond_stays_in_the_order_the_chat_told_it(room):
    at = {"$date": 1_795_338_000_000}
    told = [said(f"line {number}", _id=f"{9 - number}-sorts-otherwise", ts=at) for number in range(10)]

    Ingest().store(Batch(messages=told))

    assert [row.text for row in Message.objects.order_by("ts", "pk")] == [message.text for message in told]


def test_an_older_version_that_comes_late_changes_nothing(room):
    first = document("first")
    newer = edited(first, "second")
    Ingest().store(Batch(messages=[events.message(newer)]))

    Ingest().store(Batch(messages=[events.message(first)]))

    assert Message.objects.get().text == "second"


def test_a_question_edited_in_the_same_batch_is_asked_once_with_the_newest_text(room):
    first = document("@claude-alice whi?", mentions=("claude-alice",))
    newer = edited(first, "@claude-alice why?")

    outcome = Ingest().store(Batch(messages=[events.message(newer), events.message(first)]))

    assert outcome.opened == 1
    assert Invocation.objects.get().message.text == "@claude-alice why?"


def test_a_deletion_empties_the_row_and_stops_what_it_asked(room):
    message = said("@claude-alice why?", mentions=("claude-alice",))
    Ingest().store(Batch(messages=[message]))

    Ingest().store(Batch(deleted=[message.rc_id]))
    Ingest().store(Batch(messages=[events.message(edited(document(), "again") | {"_id": message.rc_id})]))

    row = Message.objects.get(rc_id=message.rc_id)
    assert row.text == ""
    assert row.deleted_at is not None
    assert Invocation.objects.get().state == "cancelled"
    assert Invocation.objects.get().reason == "message_deleted"


def test_a_tombstone_of_the_chat_is_a_deletion(room):
    first = document("@claude-alice why?", mentions=("claude-alice",))
    Ingest().store(Batch(messages=[events.message(first)]))

    Ingest().store(Batch(messages=[events.message(edited(first, "", t="rm"))]))

    assert Message.objects.get().deleted_at is not None
    assert Invocation.objects.get().state == "cancelled"


def test_messages_of_a_room_without_a_row_are_left_out_and_named(room):
    outcome = Ingest().store(Batch(messages=[said(rid="rid-elsewhere"), said()]))

    assert outcome.unknown == {"rid-elsewhere"}
    assert Message.objects.count() == 1


def test_an_ephemeral_message_is_no_message(room):
    Ingest().store(Batch(messages=[said(private=True)]))

    assert not Message.objects.exists()


def test_a_poison_message_is_set_aside_and_the_rest_goes_on(room, monkeypatch):
    from gateway.ingest import rows

    plain = rows.row
    monkeypatch.setattr(
        rows, "row", lambda said, **ids: plain(said, **ids) | ({"ts": "soon"} if said.text == "bad" else {})
    )

    outcome = Ingest().store(Batch(messages=[said("one"), said("bad"), said("two"), said("three")]))

    assert sorted(Message.objects.values_list("text", flat=True)) == ["one", "three", "two"]
    assert outcome.set_aside == 1
    assert "bad" in SetAside.objects.get().body


def test_documents_that_cannot_be_read_are_set_aside_with_their_reason(room):
    Ingest().store(Batch(bad=[({"_id": "x1", "rid": "rid-backend", "msg": "a\x00b"}, "message_without_u")]))
    Ingest().store(Batch(bad=[({"_id": "x1"}, "message_without_u")]))

    row = SetAside.objects.get()
    assert (row.rc_id, row.rid, row.reason) == ("x1", "rid-backend", "message_without_u")


def test_an_agents_own_message_belongs_to_the_agent(room):
    Ingest().store(Batch(messages=[said("I say @claude-alice", by="claude-alice", mentions=("claude-alice",))]))

    row = Message.objects.get()
    assert row.agent is not None
    assert row.agent.slug == "claude-alice"
    assert row.user is None
    assert not Invocation.objects.exists()


def test_a_new_name_of_a_person_is_taken_over(room):
    ingest = Ingest()
    ingest.store(Batch(messages=[said()]))

    ingest.store(Batch(messages=[said(u={"_id": "uid-bob", "username": "robert", "name": "Robert"})]))

    user = make_user("bob")
    assert (user.username, user.display_name) == ("robert", "Robert")


@pytest.mark.parametrize(
    "text",
    ["", "\u202eevil\u202c", "x" * 100_000, "@claude-alice " * 5_000, "line\r\nline", "\u0000nul", "😀" * 6_000],
)
def test_any_text_is_stored(room, text):
    outcome = Ingest().store(Batch(messages=[said(text)]))

    assert outcome.new == 1
    assert Message.objects.get().text == text.replace("\x00", "")


def test_a_question_that_comes_together_with_its_deletion_asks_nobody(room):
    question = said("@claude-alice my secret plan", mentions=("claude-alice",))

    outcome = Ingest().store(Batch(messages=[question], deleted=[question.rc_id]))

    row = Message.objects.get()
    assert (row.text, row.deleted_at is None) == ("", False)
    assert outcome.opened == 0
    assert not Invocation.objects.exists()
