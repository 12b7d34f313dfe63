"""Does the sweep find what a lost nudge or worker left behind, and does only one lead?"""

import threading
import time
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.db.models.functions import Now

from gateway import invocations, sweep
from gateway.models import Invocation
from tests.server import people

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


def make_row(*, queued_ago_s: float) -> Invocation:
    bob = people.make_user("bob")
    room = people.make_room(members=(bob,))
    row = people.ask(room, bob, people.make_agent(bridge=people.make_bridge()))
    Invocation.objects.filter(pk=row.pk).update(queued_at=Now() - timedelta(seconds=queued_ago_s))
    return row


def state_of(row):
    row.refresh_from_db()
    return row.state


def test_a_row_that_no_worker_took_is_composed_and_offered_by_the_sweep():
    row = make_row(queued_ago_s=6)

    code = sweep.run_in_child(act=sweep.do_waiting_work, limit_s=30)

    assert code == 0
    assert state_of(row) == "offered"
    assert "why is CI red?" in row.prompt.text


def test_a_row_that_was_composed_but_not_dispatched_is_offered_by_the_sweep():
    row = make_row(queued_ago_s=0)
    claim = invocations.claim_next(invocation_id=row.pk)
    assert claim is not None
    invocations.composed(invocation_id=row.pk, fence=claim.fence)
    Invocation.objects.filter(pk=row.pk).update(composed_at=Now() - timedelta(seconds=6))

    sweep.do_waiting_work()

    assert state_of(row) == "offered"


def test_a_fresh_row_is_left_to_the_workers():
    row = make_row(queued_ago_s=1)

    assert sweep.waiting_work() is False
    assert state_of(row) == "queued"


def test_a_row_behind_a_busy_lane_is_no_waiting_work():
    row = make_row(queued_ago_s=6)
    invocations.claim_next(invocation_id=row.pk)
    people.ask(row.room, row.root_asker, row.agent)
    Invocation.objects.update(queued_at=Now() - timedelta(seconds=6))

    assert sweep.waiting_work() is False


def test_work_that_hangs_is_killed_and_the_timers_go_on():
    started = time.monotonic()

    code = sweep.run_in_child(act=lambda: time.sleep(60), limit_s=0.2)

    assert code is None
    assert time.monotonic() - started < 30


def test_a_child_leaves_its_parents_connection_alone():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        before = cursor.fetchone()

    sweep.run_in_child(act=connection.ensure_connection, limit_s=10)

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == before


def test_only_one_of_two_leads_and_the_other_takes_over_when_its_connection_ends():
    settings = connection.settings_dict
    parameters = {"host": settings["HOST"], "port": settings["PORT"], "user": settings["USER"]}
    other = psycopg.connect(**parameters, password=settings["PASSWORD"], dbname=settings["NAME"], autocommit=True)
    other.execute("SELECT pg_advisory_lock(%s)", [sweep.LEADER_LOCK])

    while_other_leads = sweep.leads()
    other.close()
    deadline = time.monotonic() + 10
    while not (after := sweep.leads()) and time.monotonic() < deadline:
        time.sleep(0.01)
    still = sweep.leads()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock_all()")

    assert (while_other_leads, after, still) == (False, True, True)


def test_a_sweep_stops_when_it_is_told_to():
    stop = threading.Event()
    thread = threading.Thread(target=sweep.Sweep(every_s=0.01, stop=stop).run)
    thread.start()

    stop.set()
    thread.join(20)

    assert not thread.is_alive()
