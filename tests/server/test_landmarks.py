"""What does a room keep word for word: by rule, by people, by the chat's own pins; and how is it let go?"""

import pytest
from django.db import connection
from django.utils import timezone

from composer import compaction, landmarks
from composer.models import Landmark
from gateway import links
from gateway.changes import knowledge
from gateway.ingest import Batch, Ingest
from gateway.models import Message, Notice, NoticeKind
from gateway.rocketchat import events
from tests.server.chat_words import document, edited, said
from tests.server.people import make_agent, make_bridge, make_room, make_user, say

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture
def room():
    make_agent(bridge=make_bridge())
    return make_room(members=(make_user("alice"), make_user("bob")))


def _store(*messages):
    Ingest().store(Batch(messages=messages))


def _answer():
    return Notice.objects.filter(kind=NoticeKind.COMMAND).order_by("-pk").values_list("text", flat=True)[0]


def _who(field):
    return Landmark.objects.values_list(f"{field}__username", flat=True).get()


def _live(room):
    return [pinned.line.text for pinned in compaction.landmarks(room_id=room.pk).answer()]


def test_a_decision_is_kept_as_soon_as_it_is_said(room):
    _store(said("decision: orders go to Postgres"), said("hello"))

    row = Landmark.objects.get()
    assert (row.kind, row.found_by, row.room, _who("pinned_by_user")) == ("decision", "rule", room, "bob")
    assert _live(room) == ["decision: orders go to Postgres"]


def test_an_edit_makes_and_takes_away_a_landmark_of_a_rule(room):
    first = document("decision: Postgres")
    _store(events.message(first))

    second = edited(first, "forget it")
    _store(events.message(second))
    assert _live(room) == []

    _store(events.message(edited(second, "decision: Postgres 17")))
    assert _live(room) == ["decision: Postgres 17"]


def test_what_a_person_took_away_no_edit_brings_back(room):
    first = document("decision: Postgres")
    _store(events.message(first))
    _store(said(f"!unpin {Landmark.objects.get().pk}"))

    _store(events.message(edited(first, "decision: Postgres!")))

    assert _live(room) == []
    assert _who("unpinned_by") == "bob"


def test_agents_and_programs_pin_nothing_by_what_they_say(room):
    _store(said("decision: agents rule", by="claude-alice"), said("decision: CI rules", by="ci", bot={"i": "x"}))

    assert Message.objects.count() == 2
    assert not Landmark.objects.exists()


def test_a_deleted_message_is_no_landmark_and_what_it_replaced_counts_again(room):
    _store(said("decision: the port is 5433"))
    number = Landmark.objects.get().pk
    _store(said(f"decision (replaces #{number}): the port is 5434"))
    assert _live(room) == [f"decision (replaces #{number}): the port is 5434"]

    Message.objects.filter(text__contains="5434").update(text="", deleted_at=timezone.now())

    assert _live(room) == ["decision: the port is 5433"]


def test_what_the_site_takes_down_frees_what_it_replaced_as_unpin_does(room):
    _store(said("decision: the port is 5433"))
    number = Landmark.objects.get().pk
    _store(said(f"decision (replaces #{number}): the port is 5434"))
    newer = Landmark.objects.get(superseded_by=None)

    knowledge.change_landmark(landmark_id=newer.pk, actor="staff:carol", is_pinned=False)

    assert _live(room) == ["decision: the port is 5433"]


def test_pin_keeps_the_last_message_its_own_text_or_the_one_that_is_linked(room):
    first, second = said("use tabs"), said("never on Fridays")
    _store(first)
    _store(second)
    _store(said("!pin spec"))
    assert "spec" in _answer()
    assert "never on Fridays" in _answer()
    _store(said("!pin decision: spaces it is"))
    _store(said(f"!pin code https://chat.example/channel/backend?msg={first.rc_id}"))

    kinds = dict(Landmark.objects.values_list("message__text", "kind"))
    assert kinds == {"never on Fridays": "spec", "!pin decision: spaces it is": "decision", "use tabs": "code"}


def test_the_word_for_its_kind_is_not_shown_as_part_of_what_is_pinned(room):
    _store(said("!pin decision we deploy on Tuesdays"))

    assert "decision `#" in _answer()
    assert "`: we deploy on Tuesdays." in _answer()


def test_pin_in_a_thread_means_the_threads_last_message(room):
    root = said("a thread")
    _store(root)
    _store(said("inside", tmid=root.rc_id))
    _store(said("outside"))

    _store(said("!pin", tmid=root.rc_id))

    assert Landmark.objects.get().message.text == "inside"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("!pin", "Nothing was said here yet"),
        ("!pin https://chat.example/channel/other?msg=elsewhere", "no such message in this room"),
        ("!pin 99999", "No landmark of this room has that number"),
        ("!unpin", "Say which"),
        ("!unpin 99999", "not pinned here"),
        ("!decisions", "Nothing is pinned here yet"),
    ],
)
def test_what_cannot_be_done_is_said(room, text, answer):
    other = make_room("other")
    Message.objects.filter(pk=say(other, make_user("bob"), "secret").pk).update(rc_id="elsewhere")

    _store(said(text))

    assert answer in _answer()
    assert not Landmark.objects.exists()


def test_another_rooms_landmark_can_be_neither_seen_nor_taken_away_here(room):
    other = make_room("other")
    number = landmarks.pin(message_id=say(other, make_user("bob"), "secret plan").pk, room_id=other.pk)

    _store(said(f"!unpin {number}"))
    _store(said("!pins"))

    assert _live(other) == ["secret plan"]
    assert "secret" not in _answer()


def test_a_pushpin_pins_and_the_list_links_to_the_message(room, settings):
    settings.NEXUS_PUBLIC_URL = "https://nexus.example"
    first = document("we go with Valkey")
    _store(events.message(first))

    at = {"$date": first["_updatedAt"]["$date"] + 1}
    _store(events.message(first | {"_updatedAt": at, "reactions": {":pushpin:": {"usernames": ["alice"]}}}))
    _store(said("!decisions"))

    assert _who("pinned_by_user") == "alice"
    assert f"https://nexus.example/m/{first['_id']}" in _answer()
    assert "bob: we go with Valkey" in _answer()


def test_pins_of_the_chat_itself_come_and_go(room):
    first = document("the runbook")
    _store(events.message(first))
    pinned = first | {
        "_updatedAt": {"$date": first["_updatedAt"]["$date"] + 1},
        "pinned": True,
        "pinnedBy": {"_id": "uid-alice", "username": "alice"},
    }
    _store(events.message(pinned))
    assert (Landmark.objects.get().found_by, _who("pinned_by_user")) == ("chat", "alice")

    _store(events.message(first | {"_updatedAt": {"$date": first["_updatedAt"]["$date"] + 2}, "pinned": False}))

    assert _live(room) == []


def test_the_list_shows_replaced_decisions_only_when_all_are_asked_for(room):
    _store(said("decision: the orders database listens on port 5433"))
    _store(said("decision: the orders database now listens on port 5434"))

    _store(said("!decisions"))
    assert "5433" not in _answer()
    _store(said("!decisions all"))

    assert "5433 (replaced by" in _answer()


def test_the_newest_come_first_and_older_ones_by_what_is_asked(room):
    bob = make_user("bob")
    for number in range(30):
        word = "kubernetes" if number == 3 else f"topic{number}"
        landmarks.pin(message_id=say(room, bob, f"decision: about {word}").pk, room_id=room.pk)
        # `now()` is the transaction's: told apart by hand.
        Landmark.objects.filter(message__text__endswith=word).update(created_at=timezone.now())

    found = compaction.landmarks(room_id=room.pk, question="what about kubernetes?").answer()

    texts = [pinned.line.text for pinned in found]
    assert texts[0] == "decision: about topic29"
    assert texts[compaction.NEWEST_LANDMARKS] == "decision: about kubernetes"
    assert len(texts) == 30


def test_a_landmarks_room_is_always_its_messages(room):
    other = make_room("other")
    row = Landmark.objects.create(message=say(room, make_user("bob"), "x"), kind="spec", room=other)

    with connection.cursor() as cursor:
        cursor.execute("UPDATE landmarks SET room_id = %s", [other.pk])

    row.refresh_from_db()
    assert row.room == room


@pytest.mark.parametrize(
    ("kind", "path"), [("channel", "/channel/backend"), ("private", "/group/backend"), ("dm", "/direct/rid-backend")]
)
def test_our_short_link_leads_to_the_message_in_the_chat(rf, settings, kind, path):
    settings.NEXUS_CHAT_URL = "https://chat.example/"
    message = say(make_room(kind=kind), make_user("bob"), "hello")

    answer = links.follow(rf.get("/"), message.rc_id)

    assert answer["location"] == f"https://chat.example{path}?msg={message.rc_id}"
    assert links.follow(rf.get("/"), "unknown").status_code == 404
