"""Does a room hear which place its question has while the agent is busy, and is that taken back in time?"""

from datetime import timedelta

import pytest
from django.utils import timezone

from gateway import invocations
from gateway.invocations.places import tell_all
from gateway.models import Invocation, Notice, NoticeKind, Room
from tests.server import people
from tests.server.posting import end, start

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def bob():
    return people.make_user("bob")


@pytest.fixture
def agent(bob):
    alice = people.make_user("alice")
    return people.make_agent(owner=alice, bridge=people.make_bridge(owner=alice))


@pytest.fixture
def room(bob):
    return people.make_room(members=(bob,))


def places():
    rows = Notice.objects.filter(kind=NoticeKind.QUEUED).exclude(text="").order_by("pk")
    return [row.text.split(";")[1].split(" and starts")[0].strip() for row in rows]


@pytest.fixture
def busy(room, bob, agent):
    row = start(people.ask(room, bob, agent))
    Invocation.objects.filter(pk=row.pk).update(running_at=timezone.now() - timedelta(seconds=10))
    return row


def test_a_question_to_a_busy_agent_is_told_its_place_at_once(busy, room, bob, agent):
    second, third = people.ask(room, bob, agent), people.ask(room, bob, agent)

    assert invocations.claim_next(invocation_id=second.pk) is None
    assert invocations.claim_next(invocation_id=third.pk) is None

    assert places() == ["bob's question comes next", "bob's question is number 2 in its queue"]


def test_places_move_up_and_vanish_when_it_is_their_turn(busy, room, bob, agent):
    second, third = people.ask(room, bob, agent), people.ask(room, bob, agent)
    invocations.claim_next(invocation_id=third.pk)
    end(busy)

    claim = invocations.claim_next(invocation_id=second.pk)
    Invocation.objects.filter(pk=third.pk).update(queued_at=timezone.now() - timedelta(seconds=10))
    tell_all()

    assert claim is not None
    assert places() == ["bob's question comes next"]
    assert Notice.objects.get(invocation=second, kind=NoticeKind.QUEUED).text == ""


def test_a_stopped_question_leaves_the_queue(busy, room, bob, agent):
    second = people.ask(room, bob, agent)
    invocations.claim_next(invocation_id=second.pk)

    invocations.request_cancel(invocation_id=second.pk, reason="stopped")

    assert places() == []


def test_what_has_only_just_come_behind_a_run_that_has_only_just_begun_is_not_told(room, bob, agent):
    start(people.ask(room, bob, agent))

    invocations.claim_next(invocation_id=people.ask(room, bob, agent).pk)
    tell_all()

    assert places() == []


def test_a_question_that_can_go_and_one_of_a_quiet_room_are_not_told(busy, room, bob, agent):
    free = people.make_agent("codex-alice", cli_kind="codex", bridge=agent.bridge)
    row = people.ask(room, bob, free)
    Invocation.objects.filter(pk=row.pk).update(queued_at=timezone.now() - timedelta(seconds=10))
    people.ask(room, bob, agent)
    Room.objects.filter(pk=room.pk).update(is_quiet=True)

    tell_all()

    assert places() == []
