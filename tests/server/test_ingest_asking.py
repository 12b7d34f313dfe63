"""Who is asked by what was said, in rooms, direct chats and threads; and what happens when it can't be?"""

from datetime import timedelta

import pytest
from django.utils import timezone

from gateway.ingest import Batch, Ingest, places
from gateway.models import Agent, BotAccount, Invocation, Message, Notice, Room, RoomMember, State
from gateway.rocketchat import events
from tests.server.chat_words import document, said
from tests.server.people import make_agent, make_bridge, make_room, make_user

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture
def alice():
    return make_user("alice")


@pytest.fixture
def agent(alice) -> Agent:
    return make_agent(owner=alice, bridge=make_bridge(owner=alice))


@pytest.fixture
def room(alice, agent) -> Room:
    return _with_agents(make_room(members=(alice, make_user("bob"))), agent)


def _with_agents(room: Room, *agents: Agent) -> Room:
    for agent in agents:
        RoomMember.objects.create(room=room, agent=agent, joined_at=timezone.now() - timedelta(hours=1))
    return room


def _store(*messages):
    return Ingest().store(Batch(messages=messages))


def test_a_mention_of_two_agents_opens_two_rows(room):
    other = make_agent("echo")
    _with_agents(room, other)

    outcome = _store(said("@claude-alice @echo hi", mentions=("claude-alice", "echo")))

    assert outcome.opened == 2
    assert set(Invocation.objects.values_list("agent__slug", flat=True)) == {"claude-alice", "echo"}


def test_a_direct_chat_needs_no_mention_and_a_group_does(agent):
    direct = _with_agents(make_room("dm", kind="dm", members=(make_user("bob"),)), agent)
    group = _with_agents(make_room("group", kind="dm", members=(make_user("bob"), make_user("alice"))), agent)

    _store(said("hello", rid=direct.rid), said("hello", rid=group.rid))
    _store(said("@claude-alice hello", rid=group.rid, mentions=("claude-alice",)))

    assert list(Invocation.objects.order_by("pk").values_list("room__name", "message__text")) == [
        ("dm", "hello"),
        ("group", "@claude-alice hello"),
    ]


def test_a_thread_reply_asks_the_agent_that_wrote_the_root(room, agent):
    root = said("my report", by="claude-alice")
    _store(root)

    _store(said("and why?", tmid=root.rc_id), said("@bob look", tmid=root.rc_id, mentions=("bob",)))

    row = Invocation.objects.get()
    assert (row.message.text, row.agent, row.thread) == ("and why?", agent, root.rc_id)


def test_a_thread_reply_asks_the_agent_that_took_the_roots_question(room, agent):
    root = said("@claude-alice why?", mentions=("claude-alice",))
    _store(root)
    _store(said("nobody yet", tmid=root.rc_id))
    assert Invocation.objects.count() == 1
    row = Invocation.objects.get()
    for state in (State.COMPOSING, State.COMPOSED, State.OFFERED, State.RUNNING):
        Invocation.objects.filter(pk=row.pk).update(state=state, lane=0)

    _store(said("go on", tmid=root.rc_id))

    assert Invocation.objects.filter(message__text="go on", agent=agent).exists()


def test_other_programs_are_heard_and_not_answered(room):
    make_user("jenkins")
    type(make_user("jenkins")).objects.filter(username="jenkins").update(is_foreign_bot=True)
    BotAccount.objects.create(rocketchat_id="uid-nexus", username="nexus")

    outcome = _store(
        said("@claude-alice build failed", by="jenkins", mentions=("claude-alice",)),
        said("@claude-alice from nexus", by="nexus", mentions=("claude-alice",)),
        said("@claude-alice cat", u={"_id": "rocket.cat", "username": "rocket.cat"}, mentions=("claude-alice",)),
        said("@claude-alice sdk", bot={"i": "js.SDK"}, mentions=("claude-alice",)),
        said("alice joined", t="uj", mentions=("claude-alice",)),
    )

    assert outcome.new == 5
    assert not Invocation.objects.exists()
    assert outcome.moved == {room.rid}


def test_what_was_said_before_the_agent_came_asks_it_nothing(room):
    RoomMember.objects.filter(agent__isnull=False).update(joined_at=timezone.now() + timedelta(minutes=5))

    outcome = _store(said("@claude-alice why?", mentions=("claude-alice",)))

    assert outcome.new == 1
    assert not Invocation.objects.exists()
    assert not Notice.objects.exists()


def test_a_mention_that_is_too_old_says_so_and_waits_for_retry(room):
    at = {"$date": int((timezone.now() - timedelta(minutes=40)).timestamp() * 1000)}

    _store(said("@claude-alice why?", mentions=("claude-alice",), ts=at, _updatedAt=at))
    row = Invocation.objects.get()

    assert (row.state, row.reason) == ("failed", "too_old")
    assert "40 minutes" in Notice.objects.get().text
    _store(said("!retry"))
    assert Invocation.objects.get(attempt=2).state == "queued"


def test_an_agent_outside_the_room_is_named_as_absent(room):
    make_agent("echo")

    outcome = _store(said("@echo hi", mentions=("echo",)))

    assert not Invocation.objects.exists()
    assert len(outcome.unplaced) == 1
    notice = Notice.objects.get()
    assert "echo is not in this room" in notice.text
    assert notice.agent is not None
    assert notice.agent.slug == "claude-alice"


def test_an_agent_that_turns_out_to_be_in_the_room_is_asked_after_all(room):
    echo = make_agent("echo")
    plan = {"type": "file", "title": "plan.txt", "title_link": "/file-upload/f1/plan.txt", "title_link_download": True}
    file = {"_id": "f1", "name": "plan.txt", "type": "text/plain", "size": 4}
    _store(said("@echo hi", mentions=("echo",), file=file, files=[file], attachments=[plan]))
    _with_agents(room, echo)

    assert places.place_waiting(agent_id=echo.pk, now=timezone.now()) == 1
    assert places.place_waiting(agent_id=echo.pk, now=timezone.now()) == 0

    assert Invocation.objects.get().agent == echo
    assert Invocation.objects.get().files_until is not None
    assert not Notice.objects.exists()


@pytest.mark.parametrize(("minutes_on", "state"), [(1, "queued"), (20, "failed")])
def test_how_old_such_a_question_is_is_told_by_the_chats_clock(room, minutes_on, state):
    chats_time = timezone.now() - timedelta(days=3)
    at = {"$date": int(chats_time.timestamp() * 1000)}
    echo = make_agent("echo")
    ingest = Ingest(clock=chats_time.timestamp)
    ingest.store(Batch(messages=[said("@echo hi", mentions=("echo",), ts=at, _updatedAt=at)]))
    RoomMember.objects.create(room=room, agent=echo, joined_at=chats_time - timedelta(hours=1))

    places.place_waiting(agent_id=echo.pk, now=chats_time + timedelta(minutes=minutes_on))

    assert Invocation.objects.get().state == state


def test_who_may_not_ask_hears_why(room, agent):
    Agent.objects.filter(pk=agent.pk).update(who_may_ask="owner")

    _store(said("@claude-alice why?", mentions=("claude-alice",)))

    assert Invocation.objects.get().reason == "not_allowed"
    assert "only its owner" in Notice.objects.get().text


def test_somebody_who_writes_is_a_member_even_before_the_list_says_so(room):
    _store(said("@claude-alice why?", by="dora", mentions=("claude-alice",)))

    assert Invocation.objects.get().state == "queued"
    assert RoomMember.objects.filter(room=room, user__username="dora").exists()


def test_a_message_from_the_future_is_asked_like_any_other(room):
    at = {"$date": int((timezone.now() + timedelta(hours=2)).timestamp() * 1000)}

    _store(said("@claude-alice why?", mentions=("claude-alice",), ts=at, _updatedAt=at))

    assert Invocation.objects.get().state == "queued"


def test_an_edited_message_that_was_never_seen_before_is_asked_once(room):
    first = document("@claude-alice why?", mentions=("claude-alice",))
    first["editedAt"] = first["_updatedAt"]

    _store(events.message(first))

    assert Invocation.objects.count() == 1
    assert Message.objects.get().edited_at is not None


def test_an_encrypted_room_is_refused_and_what_is_said_there_stays_unread(room):
    Room.objects.filter(pk=room.pk).update(is_encrypted=True)

    _store(said("@claude-alice in plain words", mentions=("claude-alice",)))
    _store(said("c2VjcmV0", t="e2e", content={"algorithm": "x"}, mentions=("claude-alice",)))
    _store(said("!stop", t="e2e", content={"algorithm": "x"}))

    assert set(Invocation.objects.values_list("state", "reason")) == {("failed", "encrypted")}
    assert Invocation.objects.count() == Notice.objects.count() == 2
    assert Message.objects.filter(text="").count() == 2


def test_a_name_that_only_looks_like_an_agents_asks_nobody(room):
    _store(said("@сlaude-alice with a Cyrillic letter"))

    assert not Invocation.objects.exists()


def test_an_agent_that_names_itself_asks_nobody(room):
    _store(said("@claude-alice is my name", by="claude-alice", mentions=("claude-alice",)))

    assert not Invocation.objects.exists()
    assert Message.objects.get().agent is not None


def test_a_mention_in_code_or_in_a_quote_is_talk_about_somebody(room):
    _store(said("`@claude-alice`", mentions=("claude-alice",)), said("> @claude-alice", mentions=("claude-alice",)))

    assert not Invocation.objects.exists()


def test_a_file_without_words_is_stored_and_asks_nobody_in_a_room(room):
    _store(said("", files=[{"_id": "f1", "name": "plan.pdf", "type": "application/pdf", "size": 12}]))

    assert [one["name"] for one in Message.objects.get().attachments] == ["plan.pdf"]
    assert not Invocation.objects.exists()


def test_a_reply_in_a_thread_whose_root_is_gone_is_asked_by_its_mention(room):
    _store(said("@claude-alice and now?", mentions=("claude-alice",), tmid="rootthatisgone001"))

    assert Invocation.objects.get().thread == "rootthatisgone001"
