"""What do `!who`, `!jobs`, `!cost`, `!catchup` tell, and who may set what of a room?"""

from datetime import timedelta

import pytest
from django.utils import timezone

from composer.models import Landmark
from gateway.hub import outgoing
from gateway.hub.outgoing import Known
from gateway.ingest import Batch, Ingest
from gateway.models import (
    AuditEntry,
    Bridge,
    Invocation,
    McpServer,
    Message,
    Notice,
    NoticeKind,
    Project,
    Room,
    RoomMember,
    RoomTool,
    Steer,
)
from nexus_bridge import protocol
from tests.server import people
from tests.server.chat_words import document, said
from tests.server.posting import end, start

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def alice():
    return people.make_user("alice")


@pytest.fixture
def bob():
    return people.make_user("bob")


@pytest.fixture
def agent(alice):
    return people.make_agent(owner=alice, bridge=people.make_bridge(owner=alice))


@pytest.fixture
def room(alice, bob, agent):
    room = people.make_room(members=(bob,))
    RoomMember.objects.create(room=room, user=alice, is_owner=True)
    RoomMember.objects.create(room=room, agent=agent, joined_at=timezone.now() - timedelta(hours=1))
    return room


def tell(text, **fields):
    """What the room is told after somebody said this."""
    before = set(Notice.objects.values_list("pk", flat=True))
    Ingest().store(Batch(messages=(said(text, **fields),)))
    return "\n".join(
        Notice.objects.filter(kind=NoticeKind.COMMAND).exclude(pk__in=before).values_list("text", flat=True)
    )


class TestWho:
    def test_it_says_what_an_agent_is_at_here_and_only_that_it_is_busy_elsewhere(self, room, bob, agent):
        here = start(people.ask(room, bob, agent))
        secret = people.make_room("secret", members=(bob,))
        agent.parallel = 2
        agent.save()
        start(people.ask(secret, bob, agent, "about the merger"))
        people.ask(room, bob, agent, "and this?")

        answer = tell("!who")

        assert f"online; at #{here.pk} of bob for " in answer
        assert "at 1 in other rooms, 1 waiting" in answer
        assert "secret" not in answer
        assert "merger" not in answer

    def test_an_agent_whose_bridge_is_away_is_asleep(self, room, agent):
        seen = timezone.now() - timedelta(hours=2)
        Bridge.objects.filter(pk=agent.bridge_id).update(lease_until=seen, last_seen_at=seen)

        assert f"asleep, last seen {seen:%d %b %H:%M} UTC" in tell("!who")

    def test_a_command_to_nexus_is_heard_and_one_to_a_person_is_not(self, room):
        people.BotAccount.objects.create(agent=None, rocketchat_id="uid-nexus", username="nexus")

        assert "claude-alice" in tell("@nexus !who", mentions=("nexus",))
        assert tell("@bob !who", mentions=("bob",)) == ""

    def test_nexus_is_heard_without_an_account_too_and_narrows_nothing(self, room, bob, agent):
        people.ask(room, bob, agent)

        assert "waits for its turn" in tell("@nexus !jobs")


class TestTools:
    def test_it_lists_what_the_room_may_use_and_which_of_it_asks_first(self, room):
        server = McpServer.objects.create(
            name="tracker",
            transport="http",
            is_enabled=True,
            definition_hash="h",
            approved_hash="h",
            tools=[{"name": "search"}, {"name": "close"}, {"name": "delete_all"}],
        )
        RoomTool.objects.create(room=room, server=server, tool="search", needs_approval=False)
        RoomTool.objects.create(room=room, server=server, tool="close")

        told = tell("!tools")

        assert "`tracker`: `close` (asks first), `search`" in told
        assert "delete_all" not in told

    def test_a_room_without_any_says_so(self, room):
        McpServer.objects.all().delete()

        assert "no tools here" in tell("!tools")


class TestJobs:
    def test_it_lists_what_is_open_with_the_place_in_the_queue(self, room, bob, agent):
        running = start(people.ask(room, bob, agent, "first *thing* @all"))
        queued = people.ask(room, bob, agent, "second thing")

        lines = tell("!jobs").split("\n")

        assert lines[0].startswith(f"`#{running.pk}` claude-alice works for ")
        assert "@all" not in lines[0]
        assert f"`#{queued.pk}` claude-alice waits for its turn for " in lines[1]
        assert "number 1 in the queue · bob: second thing" in lines[1]

    def test_with_nothing_open_it_says_so(self, room):
        assert tell("!jobs") == "No question is open here."


class TestSteer:
    @pytest.fixture
    def row(self, room, bob, agent):
        Bridge.objects.filter(pk=agent.bridge_id).update(offers=[{"slug": agent.slug, "steers": True}])
        return start(people.ask(room, bob, agent))

    def test_words_are_passed_on_to_the_running_turn_and_sent_to_its_bridge(self, row):
        answer = tell("@claude-alice !steer use staging", mentions=("claude-alice",))

        [errand] = [one for one in outgoing.due(known=[Known(row.bridge_session, frozenset())]) if one.kind == "steer"]
        assert answer == "Passed on to claude-alice."
        assert isinstance(errand.frame, protocol.Steer)
        assert (errand.frame.text, errand.frame.by, errand.frame.fence) == ("use staging", "bob", row.fence)

    def test_who_may_not_stop_it_may_not_add_to_it(self, row):
        assert "Only who asked" in tell("!steer delete it", by="dora")
        assert not Steer.objects.exists()

    def test_a_cli_that_takes_nothing_more_is_named(self, row, agent):
        Bridge.objects.filter(pk=agent.bridge_id).update(offers=[{"slug": agent.slug, "steers": False}])

        assert "takes nothing more while it works" in tell("!steer use staging")

    def test_what_has_not_started_takes_it_by_the_prompt(self, room, bob, agent):
        people.ask(room, bob, agent)

        assert "has not started yet" in tell("!steer use staging")
        assert "Say what to add" in tell("!steer")


class TestCost:
    def test_it_sums_what_this_room_has_used(self, room, bob, agent):
        row = start(people.ask(room, bob, agent))
        end(row, input_tokens=1200, output_tokens=30, cost_usd=0.25)
        elsewhere = start(people.ask(people.make_room("other", members=(bob,)), bob, agent))
        end(elsewhere, cost_usd=7.0)

        answer = tell("!cost")

        assert "$0.25 as far as the CLIs say" in answer
        assert "`claude-alice` 1 run, 1,200 tokens in, 30 out, $0.25" in answer

    def test_a_word_it_does_not_know_is_answered_with_those_it_knows(self, room):
        assert "`!cost today`" in tell("!cost tomorrow")

    def test_a_run_without_a_price_is_not_free(self, room, bob, agent):
        end(start(people.ask(room, bob, agent)))

        assert tell("!cost today").startswith("In this room, the last day: no CLI has told a price.")


class TestCatchup:
    def test_it_tells_what_was_said_since_somebody_last_wrote(self, room, alice, bob, agent):
        now = timezone.now()
        _at(people.say(room, alice, "I am off"), now - timedelta(hours=3))
        _at(people.say(room, bob, "@alice can you look?"), now - timedelta(hours=2))
        pinned = _at(people.say(room, bob, "we use Postgres"), now - timedelta(hours=1))
        Landmark.objects.create(message=pinned, kind="decision", pinned_by_user=bob)
        _at(people.say(room, bob, "before that"), now - timedelta(hours=4))
        spec = _at(people.say(room, bob, "spec: one table"), now - timedelta(minutes=30))
        Landmark.objects.create(message=spec, kind="spec", pinned_by_user=bob)
        told = Notice.objects.create(room=room, kind=NoticeKind.COMMAND, chat_id="answer-to-a-word", text="Stopped.")
        Message.objects.create(rc_id=told.chat_id, room=room, agent=agent, text="Stopped.", ts=now, rc_updated_at=now)

        answer = tell("!catchup", by="alice")

        assert "**3 messages** in the last 3 h: bob 3." in answer
        assert "- decision: we use Postgres" in answer
        assert "- spec: one table" in answer
        assert "- bob: @\u200balice can you look?" in answer
        assert "before that" not in answer

    def test_a_span_may_be_named_and_another_room_is_never_told(self, room, bob):
        now = timezone.now()
        _at(people.say(room, bob, "old"), now - timedelta(hours=5))
        _at(people.say(people.make_room("other", members=(bob,)), bob, "secret"), now - timedelta(minutes=5))

        assert tell("!catchup 2h", by="alice") == "Nothing was said here in the last 2 h."
        assert "bob 1" in tell("!catchup 1d", by="alice")
        assert "`!catchup 3h`" in tell("!catchup yesterday", by="alice")


def _at(message, ts):
    Message.objects.filter(pk=message.pk).update(ts=ts)
    return message


class TestSettings:
    @pytest.mark.parametrize(("word", "field"), [("quiet", "is_quiet"), ("eyes", "has_eyes"), ("serial", "is_serial")])
    def test_an_owner_of_the_room_sets_it_and_a_member_does_not(self, room, word, field):
        assert tell(f"!{word} on", by="bob") == "Only an owner of this room or an admin may change that."
        assert getattr(Room.objects.get(pk=room.pk), field) is False

        tell(f"!{word} on", by="alice")

        assert getattr(Room.objects.get(pk=room.pk), field) is True
        assert AuditEntry.objects.filter(action="room_set").count() == 1
        assert "off" not in tell(f"!{word}", by="bob")

    def test_a_direct_chat_belongs_to_its_person(self, bob, agent):
        direct = people.make_room("dm", kind="dm", members=(bob,))
        RoomMember.objects.create(room=direct, agent=agent)

        tell("!quiet on", rid=direct.rid)

        assert Room.objects.get(pk=direct.pk).is_quiet

    def test_a_third_word_is_answered_with_the_two_there_are(self, room):
        assert tell("!quiet maybe", by="alice") == "I know `!quiet on` and `!quiet off`."


class TestProject:
    @pytest.fixture
    def project(self, alice):
        project = Project.objects.create(slug="checkout", title="Checkout")
        project.managers.add(alice)
        return project

    def test_an_owner_who_manages_it_tags_the_room(self, room, project):
        answer = tell("!project checkout", by="alice")

        assert Room.objects.get(pk=room.pk).project == project
        assert "Checkout" in answer
        assert "Checkout" in tell("!project", by="bob")

    def test_a_manager_who_does_not_own_the_room_does_not(self, room, project, bob):
        project.managers.add(bob)

        assert "Only an owner" in tell("!project checkout", by="bob")
        assert Room.objects.get(pk=room.pk).project is None

    def test_an_owner_who_does_not_manage_it_does_not_and_learns_nothing(self, room):
        Project.objects.create(slug="merger", title="The merger")

        assert tell("!project merger", by="alice") == tell("!project nonsense", by="alice").replace(
            "nonsense", "merger"
        )
        assert Room.objects.get(pk=room.pk).project is None

    def test_a_room_is_not_taken_out_of_a_project_by_somebody_who_does_not_manage_that(self, room, project):
        other = Project.objects.create(slug="payments", title="Payments")
        Room.objects.filter(pk=room.pk).update(project=other)

        assert "present project" in tell("!project checkout", by="alice")
        assert "Only who manages" in tell("!project none", by="alice")
        assert Room.objects.get(pk=room.pk).project == other


def test_commands_of_a_stranger_ask_nobody(room):
    tell("!jobs", by="charlie", u=document(by="charlie")["u"])

    assert not Invocation.objects.exists()
