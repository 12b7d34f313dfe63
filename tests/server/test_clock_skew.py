"""What if the clocks of chat, host and database disagree?"""

from datetime import timedelta

import pytest
from django.utils import timezone

from composer import compose as composing
from composer import tiers
from composer.models import Fact, Summary
from gateway.models import Message
from tests.server.people import ask, make_agent, make_bridge, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def bob(settings):
    settings.NEXUS_MEM0_URL = "http://127.0.0.1:9"
    return make_user("bob")


def at(message, moment):
    Message.objects.filter(pk=message.pk).update(ts=moment, rc_updated_at=moment)


def test_a_message_from_the_future_waits_for_its_time_and_spoils_no_prompt(bob):
    backend, agent = make_room(members=(bob,)), make_agent(bridge=make_bridge())
    now = timezone.now()
    early, late = say(backend, bob, "said in time"), say(backend, bob, "said tomorrow")
    at(early, now - timedelta(minutes=5))
    at(late, now + timedelta(days=1))
    row = ask(backend, bob, agent)
    at(row.message, now)

    today = composing.draw(invocation_id=row.pk, room_id=row.room_id).rendered.text
    at(row.message, now + timedelta(days=2))
    later = composing.draw(invocation_id=row.pk, room_id=row.room_id).rendered.text

    assert ("said in time" in today, "said tomorrow" in today) == (True, False)
    assert "said tomorrow" in later


def test_a_fact_ends_and_a_day_is_over_by_the_databases_clock(bob):
    backend, agent = make_room(members=(bob,)), make_agent(bridge=make_bridge())
    Fact.objects.create(scope=f"room:{backend.rid}", key="freeze", value="on", expires_at=timezone.now())
    for number in range(8):
        at(say(backend, bob, f"note {number} from ahead"), timezone.now() + timedelta(days=3, minutes=number))
    row = ask(backend, bob, agent)
    at(row.message, timezone.now() - timedelta(days=30))

    text = composing.draw(invocation_id=row.pk, room_id=row.room_id).rendered.text

    assert "freeze: on" not in text
    assert tiers.compact_room(room_id=backend.pk) == 0
    assert not Summary.objects.exists()
