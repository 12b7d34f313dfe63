"""Do the composer's tasks keep their contract: names, queues, one call, and nothing heavy in their process?"""

import os
import subprocess
import sys

import pytest

from composer import tasks
from gateway.pipeline import COMPOSE_TASK, REMEMBER_TASK
from tests.server.people import ask, make_agent, make_bridge, make_room, make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


def test_the_tasks_are_called_what_the_pipeline_sends():
    assert (tasks.compose.name, tasks.remember.name) == (COMPOSE_TASK, REMEMBER_TASK)


def test_compose_returns_the_id_it_claimed_and_none_the_second_time(settings):
    settings.NEXUS_MEM0_URL = "http://127.0.0.1:9"
    bob = make_user("bob")
    row = ask(make_room(members=(bob,)), bob, make_agent(bridge=make_bridge()))

    outcomes = [tasks.compose(invocation_id=row.pk, sent_by_a_newer_version=True) for _ in range(2)]

    assert outcomes == [row.pk, None]


def test_a_row_that_does_not_exist_is_nobodys_trouble():
    assert tasks.compose(invocation_id=10**12) is None


def test_the_composers_process_loads_neither_mem0_nor_a_model_client():
    code = (
        "import django; django.setup(); import composer.tasks, sys;"
        "print([name for name in ('mem0', 'openai', 'qdrant_client', 'grpc', 'sqlalchemy', 'requests')"
        " if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50, env=_environment()
    )

    assert done.stdout.strip() == "[]", done.stderr


def _environment():
    return os.environ | {"DJANGO_SETTINGS_MODULE": "nexus_project.settings"}
