"""Said, remembered by the real mem0-api under daphne, recalled into a prompt, edited, deleted: does it all join up?"""

import os
import subprocess
import sys
import time
import urllib.request

import pytest
from django.db import connection
from django.utils import timezone

from composer import compose as composing
from composer.memory.remember import remember
from composer.models import Prompt
from docker.ports import free_ports
from gateway.models import Message
from tests.server.people import ask, make_agent, make_bridge, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def memory_api(settings):
    """The process as it runs on a host, on the tests' database."""
    (port,) = free_ports(1)
    base, _, _ = os.environ["NEXUS_DATABASE_URL"].rpartition("/")
    env = os.environ | {
        "NEXUS_DATABASE_URL": f"{base}/{connection.settings_dict['NAME']}",
        "DJANGO_SETTINGS_MODULE": "nexus_project.settings",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "composer.memory.service:application"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    settings.NEXUS_MEM0_URL = f"http://127.0.0.1:{port}"
    try:
        _wait_until_well(f"{settings.NEXUS_MEM0_URL}/healthz")
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_well(url):
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail("mem0-api did not become well")


def recalled(drawn):
    parts = Prompt(text=drawn.text, sections=drawn.sections).parts()
    return next((section["text"] for section in parts if section["title"] == "Recalled"), "")


def test_what_the_window_has_passed_comes_back_by_recall(memory_api, settings):
    settings.NEXUS_WORKING_MEMORY = 5
    bob = make_user("bob")
    agent = make_agent(bridge=make_bridge())
    backend = make_room("backend", members=(bob,))
    decision = say(backend, bob, "We decided that the orders database listens on port 5433.")
    for number in range(20):
        say(backend, bob, f"Lunch talk number {number} about soup.")
    assert remember() == 21

    question = ask(backend, bob, agent, "on which port does the orders database listen?")
    before = composing.draw(invocation_id=question.pk, room_id=question.room_id).rendered
    Message.objects.filter(pk=decision.pk).update(
        text="We decided that the orders database listens on port 6000.", rc_updated_at=timezone.now()
    )
    assert remember() == 2
    after = composing.draw(invocation_id=question.pk, room_id=question.room_id).rendered
    Message.objects.filter(pk=decision.pk).update(text="", deleted_at=timezone.now())
    gone = composing.draw(invocation_id=question.pk, room_id=question.room_id).rendered
    assert remember() == 1

    assert "orders database listens on port 5433" in recalled(before)
    assert "orders database listens on port 6000" in recalled(after)
    assert "orders database listens on port" not in recalled(gone)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM memories WHERE payload->>'data' LIKE '%%orders database listens on port%%0%%'"
        )
        assert cursor.fetchone() == (0,)


def test_memory_that_is_killed_leaves_prompts_whole_and_catches_up_later(memory_api, settings):
    settings.NEXUS_WORKING_MEMORY = 2
    bob = make_user("bob")
    agent = make_agent(bridge=make_bridge())
    backend = make_room("backend", members=(bob,))
    memory_api.kill()
    memory_api.wait(10)
    say(backend, bob, "Lunch was soup.")
    message = say(backend, bob, "The port is 5433.")

    drawn = composing.draw(invocation_id=ask(backend, bob, agent).pk, room_id=backend.pk)

    assert "The port is 5433." in drawn.rendered.text
    assert "Memory could not be reached" in drawn.rendered.text
    assert remember() == 0
    assert Message.objects.get(pk=message.pk).remembered_at is None
