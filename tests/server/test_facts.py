"""What do people set, see, correct and take back; and what happens to it when its message goes?"""

import uuid
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from composer import compose as composing
from composer.memory import facts, forgetting
from composer.memory.lines import micros
from composer.memory.remember import remember
from composer.models import Fact, Forgetting, Landmark, Memory, Prompt
from gateway.ingest import Batch, Ingest
from gateway.models import Invocation, Message, Notice, NoticeKind, Project, RoomMember
from tests.fakes.memory_api import FakeMemoryApi
from tests.server.chat_words import said
from tests.server.people import ask, make_agent, make_bridge, make_room, make_user, say

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
def memory(settings):
    fake = FakeMemoryApi()
    settings.NEXUS_MEM0_URL = fake.url
    yield fake
    fake.close()


@pytest.fixture
def agent():
    return make_agent(bridge=make_bridge())


@pytest.fixture
def room(agent):
    project = Project.objects.create(slug="shop", title="The shop")
    room = make_room(members=(make_user("alice"), make_user("bob")), project=project)
    RoomMember.objects.create(room=room, agent=agent)
    return room


def _tell(text, **fields):
    """Say it, and return the answer."""
    Ingest().store(Batch(messages=(said(text, **fields),)))
    return Notice.objects.filter(kind=NoticeKind.COMMAND).order_by("-pk").values_list("text", flat=True)[0]


def _prompt(room, user, agent):
    text = composing.draw(invocation_id=ask(room, make_user(user), agent).pk, room_id=room.pk).rendered.text
    Invocation.objects.all().delete()
    return text


def test_a_fact_of_the_room_stands_in_its_prompts_until_its_message_is_deleted(room, agent):
    assert "Noted for this room" in _tell("!remember deploy day: Friday")

    row = Fact.objects.values_list("scope", "key", "value", "source_message__text").get()
    assert row == ("room:rid-backend", "deploy day", "Friday", "!remember deploy day: Friday")
    assert "deploy_day: Friday" in _prompt(room, "bob", agent)
    Message.objects.filter(text="!remember deploy day: Friday").update(text="", deleted_at=timezone.now())
    assert not Fact.objects.exists()


def test_the_same_name_is_corrected_not_doubled(room):
    _tell("!remember deploy day: Friday")

    assert "Corrected for this room" in _tell("!remember Deploy Day = Monday", by="alice")

    assert list(Fact.objects.values_list("value", "set_by__username")) == [("Monday", "alice")]


def test_what_somebody_says_of_himself_goes_with_him(room, agent):
    _tell("!remember me editor: vim")

    other = make_room("other", members=(make_user("bob"),))
    assert "bob.editor: vim" in _prompt(other, "bob", agent)
    assert "vim" not in _prompt(make_room("third", members=(make_user("alice"),)), "alice", agent)


def test_the_project_knows_what_it_was_given_in_all_its_rooms(room, agent):
    assert "for project shop" in _tell("!remember project owner: Ann")

    other = make_room("other", members=(make_user("alice"),), project=room.project)
    assert "shop.owner: Ann" in _prompt(other, "alice", agent)
    assert "Ann" not in _prompt(make_room("third", members=(make_user("alice"),)), "alice", agent)


def test_a_direct_chat_keeps_its_own(room, agent):
    direct = make_room("dm", kind="dm", members=(make_user("bob"),))
    RoomMember.objects.create(room=direct, agent=agent)

    assert "for this chat" in _tell("!remember the plan is secret", rid=direct.rid)

    assert Fact.objects.get().scope == "dm:uid-bob:claude-alice"
    assert "note: the plan is secret" in _prompt(direct, "bob", agent)
    assert "secret" not in _prompt(room, "bob", agent)
    assert "secret" not in _tell("!memory")
    assert "no project" in _tell("!remember project x: y", rid=direct.rid)


def test_only_admins_tell_everyone(room, agent):
    assert "Only admins" in _tell("!remember team holiday: 24 December")
    assert not Fact.objects.exists()
    make_user("alice")
    type(make_user("alice")).objects.filter(username="alice").update(role="admin")

    number = Fact.objects.get(scope="global").pk if "everyone" in _tell("!remember team x: y", by="alice") else 0

    assert "team.x: y" in _prompt(room, "bob", agent)
    assert "Only admins" in _tell(f"!forget {number}")
    assert "Forgotten" in _tell(f"!forget {number}", by="alice")


def test_a_fact_ends(room, agent):
    _tell("!remember for 3 days staging is down")
    assert "note: staging is down" in _prompt(room, "bob", agent)

    Fact.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert "note: staging" not in _prompt(room, "bob", agent)
    remember()
    assert not Fact.objects.exists()


def test_memory_shows_numbers_and_places_and_lets_people_change_them(room):
    _tell("!remember deploy day: Friday")
    _tell("!remember me editor: vim")
    number, mine = Fact.objects.order_by("pk").values_list("pk", flat=True)

    shown = _tell("!memory")
    assert f"`#{number}` deploy day: Friday (bob, [where](" in shown
    assert "vim" not in shown
    assert "messages of this room can be recalled" in shown
    assert f"`#{mine}` editor: vim" in _tell("!memory me")
    assert "No fact" in _tell("!memory nothing-like-that")

    assert f"`#{number}`" in _tell(f"!correct {number} Monday")
    assert Fact.objects.get(pk=number).value == "Monday"
    assert "deploy day: Monday" in _tell("!forget deploy day", by="alice")
    assert not Fact.objects.filter(pk=number).exists()


@pytest.mark.parametrize("text", ["!forget {}", "!correct {} x", "!forget {} 99999"])
def test_nobody_touches_what_he_may_not_see(room, text):
    _tell("!remember me editor: vim")
    number = Fact.objects.get().pk

    assert "There is no `#" in _tell(text.format(number), by="alice")

    assert Fact.objects.get().value == "vim"


def test_what_was_given_to_a_project_is_taken_back_by_its_giver_or_its_managers(room):
    _tell("!remember project owner: Ann")
    number = Fact.objects.get().pk

    assert "given to the project by bob" in _tell(f"!forget {number}", by="alice")
    room.project.managers.add(make_user("alice"))

    assert "Forgotten" in _tell(f"!forget {number}", by="alice")


def test_a_learned_fact_is_listed_corrected_and_forgotten_with_its_memory(room, agent):
    message = say(room, make_user("bob"), "the orders db moved to 5433 last week")
    ids = [uuid.uuid4(), uuid.uuid4()]
    for memory_id, text in zip(ids, ("Orders run on 5433", "It was last week"), strict=True):
        _learned(message, memory_id, text)
    assert facts.adopt_learned() == 2
    first, second = Fact.objects.order_by("-value").values_list("pk", flat=True)

    assert "*Learned from what was said*" in _tell("!memory learned")
    assert "Orders run on 5433" not in _prompt(room, "bob", agent)
    _tell(f"!correct {first} orders run on 6000")
    _tell(f"!forget {second}")

    assert list(Fact.objects.values_list("value", "confidence", "memory_id")) == [("orders run on 6000", 1.0, None)]
    assert not Memory.objects.exists()


def test_what_was_learned_of_a_text_goes_when_it_is_edited(room):
    message = say(room, make_user("bob"), "we use MySQL")
    _learned(message, uuid.uuid4(), "They use MySQL")
    assert facts.adopt_learned() == 1

    Message.objects.filter(pk=message.pk).update(text="we use Postgres", rc_updated_at=timezone.now())

    assert not Fact.objects.exists()
    assert not Memory.objects.exists()


def _learned(message, memory_id, text):
    payload = {"msg": str(message.pk), "fact": "1", "data": text, "run_id": "room:rid-backend"}
    Memory.objects.create(id=memory_id, payload=payload | {"rev": micros(message.rc_updated_at)})


def test_forget_me_asks_first_and_then_removes_all_of_a_person(room, agent, memory):
    bob, alice = make_user("bob"), make_user("alice")
    decision = say(room, bob, "decision: bob decides")
    Landmark.objects.create(message=decision, kind="decision")
    kept = say(room, alice, "alice was here")
    row = ask(room, alice, agent)
    Prompt.objects.create(
        invocation=row,
        fence=1,
        text="bob decides",
        token_count=1,
        budget=1,
        sections=[{"title": "Recent", "sources": [{"kind": "message", "id": decision.pk}]}],
    )
    Invocation.objects.update(state="failed", reason="x", ended_at=timezone.now())
    _tell("!remember me editor: vim")
    remember()

    asked = _tell("!forget me")
    assert "in every room" in asked
    assert Fact.objects.count() == 1
    _tell("!forget me yes")
    remember()

    texts = dict(Message.objects.filter(room=room, system_type="").values_list("pk", "text"))
    assert {text for pk, text in texts.items() if Message.objects.get(pk=pk).user == bob} == {""}
    assert texts[kept.pk] == "alice was here"
    assert [model.objects.count() for model in (Fact, Landmark, Prompt)] == [0, 0, 0]
    assert [key for key in memory.memories if key not in (kept.pk, row.message_id)] == []
    assert Forgetting.objects.get().done_at is not None


def test_an_operator_forgets_a_person_who_has_left(room):
    said_by_bob = say(room, make_user("bob"), "bob was here")
    out = StringIO()

    call_command("forget_person", "bob", stdout=out)
    before = Message.objects.get(pk=said_by_bob.pk).text
    call_command("forget_person", "uid-bob", "--yes", stdout=out)

    assert (before, Message.objects.get(pk=said_by_bob.pk).text) == ("bob was here", "")
    assert "bob has 1 messages" in out.getvalue()
    with pytest.raises(CommandError, match="no user"):
        call_command("forget_person", "nobody", "--yes")


def test_forgetting_is_taken_up_again_and_what_comes_later_stays(room, monkeypatch):
    bob = make_user("bob")
    for number in range(5):
        say(room, bob, f"message {number}")
    monkeypatch.setattr("composer.memory.forgetting.BATCH", 2)
    _tell("!forget me yes")
    _tell("!remember back again: yes")
    ticks = iter([0.0, 1.0, 99.0])
    forgetting.work(clock=lambda: next(ticks))
    assert Message.objects.filter(user=bob).exclude(text="").count() > 1
    forgetting.work()

    assert [m.text for m in Message.objects.filter(user=bob).exclude(text="")] == ["!remember back again: yes"]
