"""Is a webhook that Rocket.Chat has stopped calling noticed, and nothing else taken for it?"""

import threading
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from gateway import webhook, webhook_silence
from gateway.models import Message, Room
from gateway.sweep import Sweep
from tests.server import people

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture
def bob():
    return people.make_user("bob")


@pytest.fixture
def room(bob, settings):
    settings.NEXUS_WEBHOOK_TOKEN = "the-token-of-the-webhook"
    return people.make_room("backend", members=(bob,))


def written(room, user, count, *, minutes_ago, late_minutes=0):
    """So many messages, heard `late_minutes` after they were written."""
    for _ in range(count):
        row = people.say(room, user, "hello")
        stored = Now() - timedelta(minutes=minutes_ago)
        Message.objects.filter(pk=row.pk).update(ts=stored - timedelta(minutes=late_minutes), stored_at=stored)


def called(room, *, minutes_ago):
    Room.objects.filter(pk=room.pk).update(nudged_at=Now() - timedelta(minutes=minutes_ago))


def test_a_webhook_that_stopped_is_told_with_its_cure(room, bob):
    called(room, minutes_ago=30)
    written(room, bob, 3, minutes_ago=10)

    told = webhook_silence.problem()

    assert told.startswith("Rocket.Chat has not called the webhook since ")
    assert "make bootstrap" in told


def test_one_that_never_called_is_told_too(room, bob):
    written(room, bob, 3, minutes_ago=10)

    assert "so far, though people wrote" in webhook_silence.problem()


def test_a_call_ends_it(room, bob):
    written(room, bob, 3, minutes_ago=10)

    assert webhook._mark_row(room.rid, bob.rocketchat_id, "m1") == ""

    assert webhook_silence.problem() == ""


@pytest.mark.parametrize(
    "case",
    [
        {"count": 2, "minutes_ago": 10},
        {"count": 3, "minutes_ago": 1},
        {"count": 3, "minutes_ago": 10, "late_minutes": 30},
        {"count": 3, "minutes_ago": 60},
    ],
    ids=["too few", "just now", "caught up later", "before the last call"],
)
def test_what_is_no_proof_is_not_told(room, bob, case):
    called(room, minutes_ago=30)
    written(room, bob, **case)

    assert webhook_silence.problem() == ""


def test_without_a_token_no_webhook_is_missed(room, bob, settings):
    written(room, bob, 3, minutes_ago=10)
    settings.NEXUS_WEBHOOK_TOKEN = ""

    assert webhook_silence.problem() == ""


def test_the_sweep_logs_it_once(room, bob, caplog):
    written(room, bob, 3, minutes_ago=10)
    sweep = Sweep(every_s=1, stop=threading.Event())

    sweep._tell_of_silence()
    sweep._tell_of_silence()

    assert [record.message for record in caplog.records if record.name == "gateway.sweep"] == ["the webhook is silent"]
