"""What do "!" commands and reactions do, for whom, and how often?"""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from gateway import commands
from gateway.ingest import Batch, Ingest
from gateway.invocations import cards, fail_unsent
from gateway.models import Approval, Invocation, Notice, NoticeKind, RoomMember, State
from gateway.rocketchat import events
from tests.server.chat_words import document, said
from tests.server.people import make_agent, make_bridge, make_room, make_user

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture
def alice():
    return make_user("alice")


@pytest.fixture
def room(alice):
    room = make_room(members=(alice, make_user("bob")))
    agent = make_agent(owner=alice, bridge=make_bridge(owner=alice))
    RoomMember.objects.create(room=room, agent=agent, joined_at=timezone.now() - timedelta(hours=1))
    return room


def _store(*messages):
    return Ingest().store(Batch(messages=messages))


def _ask(text="@claude-alice why?", **fields) -> Invocation:
    at = {"$date": document()["ts"]["$date"] - 10_000}
    message = said(text, mentions=("claude-alice",), **({"ts": at} | fields))
    _store(message)
    return Invocation.objects.get(message__rc_id=message.rc_id)


def _answers():
    return list(Notice.objects.filter(kind=NoticeKind.COMMAND).order_by("pk").values_list("text", flat=True))


def _running(row: Invocation) -> None:
    for state in (State.COMPOSING, State.COMPOSED, State.OFFERED, State.RUNNING):
        Invocation.objects.filter(pk=row.pk).update(state=state, lane=0)


@pytest.mark.parametrize(
    ("text", "name", "number", "rest"),
    [
        ("!stop", "stop", None, ""),
        ("  !STOP  ", "stop", None, ""),
        ("@claude-alice !stop", "stop", None, ""),
        ("!stop 12", "stop", 12, ""),
        ("!deny 12 not on production", "deny", 12, "not on production"),
        ("!deny because\nof this", "deny", None, "because\nof this"),
    ],
)
def test_a_command_is_read(text, name, number, rest):
    command = commands.parse(text, usernames={"u": "claude-alice"})

    assert command is not None
    assert (command.name, command.number, command.text) == (name, number, rest)


@pytest.mark.parametrize(
    "text", ["!important thing", "stop", "please !stop", "! stop", "`!stop`", "!", "!!stop", "@bob !stop"]
)
def test_other_words_are_talk(text):
    assert commands.parse(text, usernames={}) is None


def test_a_word_that_is_nearly_a_command_is_answered_with_the_command(room):
    _store(said("!sotp"))

    assert _answers() == ["There is no `!sotp`. Did you mean `!stop`? `!help` lists all commands."]
    assert not Invocation.objects.exists()


def test_stop_stops_what_its_author_asked_and_only_once(room):
    row = _ask()
    command = said("!stop")

    _store(command)
    _store(command)

    row.refresh_from_db()
    assert (row.state, row.reason) == ("cancelled", "stopped")
    assert _answers() == []


def test_each_of_several_that_are_stopped_is_named(room):
    _ask(text="@claude-alice first?")
    _ask(text="@claude-alice then @all?")

    _store(said("!stop"))

    ended = Notice.objects.filter(kind="ended").order_by("pk").values_list("text", flat=True)
    assert [text.replace("\u200b", "") for text in ended] == [
        "Stopped by bob: “@claude-alice first?”.",
        "Stopped by bob: “@claude-alice then @all?”.",
    ]


def test_stop_reaches_a_running_row_through_its_bridge(room):
    row = _ask()
    _running(row)

    _store(said("!stop", by="alice"))

    row.refresh_from_db()
    assert (row.state, row.cancel_to) == ("running", "cancelled")


def test_somebody_elses_question_is_not_stopped(room):
    row = _ask()

    _store(said("!stop", by="dora"))

    row.refresh_from_db()
    assert row.state == "queued"
    assert _answers() == ["Only who asked, the agent's owner and admins may stop that."]


def test_stopping_a_number_that_is_not_open_says_where_the_numbers_are(room):
    _store(said("!stop 999"))

    assert _answers() == ["No question number 999 is open here. `!jobs` lists those that are."]


def test_stop_in_a_thread_leaves_the_rest_of_the_room(room):
    root = said("a thread")
    _store(root)
    inside, outside = _ask(tmid=root.rc_id), _ask()

    _store(said("!stop", tmid=root.rc_id))

    assert Invocation.objects.get(pk=inside.pk).state == "cancelled"
    assert Invocation.objects.get(pk=outside.pk).state == "queued"


def test_a_stop_that_comes_in_one_batch_with_the_question_stops_it(room):
    at = document()["ts"]["$date"]
    question = said("@claude-alice why?", mentions=("claude-alice",), ts={"$date": at - 500})
    later = said("@claude-alice and this?", mentions=("claude-alice",), ts={"$date": at + 500})

    _store(said("!stop", ts={"$date": at}), later, question)

    assert Invocation.objects.get(message__rc_id=question.rc_id).state == "cancelled"
    assert Invocation.objects.get(message__rc_id=later.rc_id).state == "queued"


def test_retry_asks_the_last_question_again_and_a_second_time_not(room):
    row = _ask()
    fail_unsent(invocation_id=row.pk, reason="not_allowed")

    _store(said("!retry"))
    again = Invocation.objects.get(attempt=2)
    _store(said("!retry"))

    assert (again.retry_of, again.state, again.root_asker.username) == (row, "queued", "bob")
    assert _answers() == ["claude-alice is still at it; `!stop` stops it."]


def test_retry_of_a_row_that_is_open_says_so(room):
    _ask()

    _store(said("!retry"))

    assert Invocation.objects.count() == 1
    assert "still at it" in _answers()[0]


def test_who_and_help_answer_and_ask_nobody(room):
    _store(said("!who"))
    _store(said("!help"))

    who, help_text = _answers()
    assert "`claude-alice` (claude, of alice): online" in who
    assert "@" not in who
    assert all(f"`!{name}" in help_text for name in commands.COMMANDS)
    assert not Invocation.objects.exists()


def test_a_command_in_a_direct_chat_is_no_question(room, alice):
    agent = RoomMember.objects.get(agent__isnull=False).agent
    direct = make_room("dm", kind="dm", members=(make_user("bob"),))
    RoomMember.objects.create(room=direct, agent=agent, joined_at=timezone.now() - timedelta(hours=1))

    _store(said("!help", rid=direct.rid))

    assert not Invocation.objects.exists()
    assert len(_answers()) == 1


def test_a_command_that_is_read_late_only_stops(room):
    row = _ask()
    late = {"$date": int((timezone.now() - timedelta(hours=1)).timestamp() * 1000)}
    Invocation.objects.filter(pk=row.pk).update(opened_at=timezone.now() - timedelta(hours=2))
    row.message.ts = timezone.now() - timedelta(hours=2)
    row.message.save(update_fields=["ts"])

    _store(said("!help", ts=late, _updatedAt=late), said("!stop", ts=late, _updatedAt=late))

    assert Invocation.objects.get(pk=row.pk).state == "cancelled"
    assert _answers() == []


@pytest.fixture
def question(room):
    row = _ask()
    _running(row)
    row.refresh_from_db()
    approval = Approval.objects.create(
        invocation=row, permission="p1", tool="Bash", detail="rm x", expires_at=Now() + timedelta(minutes=5)
    )
    cards.show(approval=approval)
    return approval


def _decision(approval):
    approval.refresh_from_db()
    return (approval.decision, approval.decided_by.username if approval.decided_by else "")


def test_only_the_owner_and_his_approvers_decide(question):
    _store(said("!approve", by="bob"))
    assert _decision(question) == ("", "")
    assert "may decide" in _answers()[0]

    question.invocation.agent.approvers.add(make_user("bob"))
    _store(said("!deny too dangerous", by="bob"))

    assert _decision(question) == ("deny", "bob")
    assert question.note == "too dangerous"


def test_an_agents_own_words_decide_nothing(question):
    _store(said("!approve", by="claude-alice"))

    assert _decision(question) == ("", "")


def test_several_open_questions_have_to_be_named(question, room, alice):
    other = _ask(tmid="thread00000000001")
    Invocation.objects.filter(pk=other.pk).update(session_key="other")
    for state in (State.COMPOSING, State.COMPOSED, State.OFFERED, State.RUNNING):
        Invocation.objects.filter(pk=other.pk).update(state=state, lane=1)
    second = Approval.objects.create(
        invocation=other, permission="p1", tool="Bash", detail="ls", expires_at=Now() + timedelta(minutes=5)
    )

    _store(said("!approve", by="alice"))
    assert (_decision(question), _decision(second)) == (("", ""), ("", ""))
    _store(said(f"!approve {second.pk}", by="alice"))

    assert (_decision(question), _decision(second)) == (("", ""), ("allow", "alice"))


def _card(**reactions):
    notice = Notice.objects.get(kind=NoticeKind.CARD)
    named = {f":{emoji}:": {"usernames": [name]} for emoji, name in reactions.items()}
    return document("May I?", by="claude-alice", _id=notice.chat_id, reactions=named)


def test_a_reaction_on_the_card_decides_once_and_by_the_right_person(question):
    first = _card(white_check_mark="bob")
    _store(events.message(first))
    assert _decision(question) == ("", "")

    later = _card(white_check_mark="alice")
    later["_updatedAt"] = {"$date": first["_updatedAt"]["$date"] + 5}
    _store(events.message(later))
    assert _decision(question) == ("allow", "alice")

    second = Approval.objects.create(
        invocation=question.invocation, permission="p2", tool="Bash", expires_at=Now() + timedelta(minutes=5)
    )
    again = dict(later, _updatedAt={"$date": later["_updatedAt"]["$date"] + 5})
    _store(events.message(again))
    assert _decision(second) == ("", "")


def test_a_stop_sign_on_the_question_stops_it(room):
    row = _ask()
    message = document(
        "@claude-alice why?", _id=row.message.rc_id, reactions={":octagonal_sign:": {"usernames": ["bob"]}}
    )

    _store(events.message(message))

    assert Invocation.objects.get(pk=row.pk).state == "cancelled"


def test_the_repeat_sign_asks_again_once(room):
    row = _ask()
    fail_unsent(invocation_id=row.pk, reason="not_allowed")
    message = document("@claude-alice why?", _id=row.message.rc_id, reactions={":repeat:": {"usernames": ["bob"]}})

    _store(events.message(message))
    _store(events.message(dict(message, _updatedAt={"$date": message["_updatedAt"]["$date"] + 5})))

    assert Invocation.objects.count() == 2


def test_signs_of_strangers_and_of_agents_mean_nothing(room):
    row = _ask()
    names = ["claude-alice", "nobody", "charlie"]
    make_user("charlie")
    message = document(
        "@claude-alice why?", _id=row.message.rc_id, reactions={":octagonal_sign:": {"usernames": names}}
    )

    _store(events.message(message))

    assert Invocation.objects.get(pk=row.pk).state == "queued"
