"""Does an invocation move only as the table says, and does each lane hold one row?"""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from gateway import invocations
from gateway.invocations import EDGES, timers
from gateway.invocations.table import MAX_CRASHES
from gateway.models import FINAL, LIVE, Bridge, Invocation, Notice, NoticeKind, State
from tests.server import people

pytestmark = [pytest.mark.integration, pytest.mark.django_db]


@pytest.fixture
def bob():
    return people.make_user("bob")


@pytest.fixture
def room(bob):
    return people.make_room("backend", members=(bob,))


@pytest.fixture
def alice():
    return people.make_user("alice")


@pytest.fixture
def bridge(alice):
    return people.make_bridge(owner=alice)


@pytest.fixture
def agent(alice, bridge):
    return people.make_agent(owner=alice, bridge=bridge)


def state_of(row):
    row.refresh_from_db()
    return row.state


def offer_claimed(row):
    claim = invocations.claim_next(invocation_id=row.pk)
    assert claim is not None
    assert invocations.composed(invocation_id=claim.invocation_id, fence=claim.fence)
    assert invocations.offer(invocation_id=claim.invocation_id)
    return claim


def force_state(row, state):
    """Put a row into a state without going there, as the trigger's own test needs it."""
    values = {"state": state, "lane": 0 if state in LIVE else None, "ended_at": Now() if state in FINAL else None}
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE invocations DISABLE TRIGGER invocation_edge_update")
        Invocation.objects.filter(pk=row.pk).update(reason="test" if state in FINAL else "", **values)
        cursor.execute("ALTER TABLE invocations ENABLE TRIGGER invocation_edge_update")


@pytest.mark.parametrize("source", list(State))
def test_the_database_lets_a_row_go_exactly_where_the_table_says(source, room, bob, agent):
    row = people.ask(room, bob, agent)

    allowed = set()
    for target in State:
        if target == source:
            continue
        force_state(row, source)
        values = {"lane": 0 if target in LIVE else None, "ended_at": Now() if target in FINAL else None}
        try:
            with transaction.atomic():
                Invocation.objects.filter(pk=row.pk).update(state=target, reason="test", **values)
            allowed.add(target)
        except IntegrityError:
            pass

    assert allowed == {to for come_from, to in EDGES if come_from == source}


def test_a_row_is_opened_once_for_a_message_and_an_agent(room, bob, agent):
    row = people.ask(room, bob, agent)

    again = invocations.open_invocation(message=row.message, room=room, agent=agent, root_asker=bob)

    assert again is None
    assert Invocation.objects.count() == 1


def test_the_whole_way_of_a_row_from_queued_to_done(room, bob, agent, bridge):
    row = people.ask(room, bob, agent)

    claim = offer_claimed(row)
    accepted = invocations.accepted(invocation_id=row.pk, fence=claim.fence, session=bridge.session)
    ended = invocations.ended(
        invocation_id=row.pk, fence=claim.fence, session=bridge.session, outcome="done", reason="", detail="",
        exit_code=0, sha256="0" * 64, input_tokens=5, output_tokens=7, cost_usd=0.25,
    )  # fmt: skip

    row.refresh_from_db()
    assert (accepted, ended, row.state, row.lane, row.reason) == (True, True, "done", None, "")
    assert (row.input_tokens, row.output_tokens, str(row.cost_usd)) == (5, 7, "0.250000")
    times = [row.composing_at, row.composed_at, row.offered_at, row.running_at, row.ended_at]
    known = [at for at in times if at is not None]
    assert len(known) == len(times)
    assert known == sorted(known)
    assert not Notice.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_twenty_workers_claiming_at_once_give_one_lane_one_row(room, bob, agent):
    rows = [people.ask(room, bob, agent, thread=f"thread{number}") for number in range(5)]

    def claim(row):
        try:
            return invocations.claim_next(invocation_id=row.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim in pool.map(claim, rows * 4) if claim is not None]

    assert [claim.invocation_id for claim in claims] == [rows[0].pk]
    assert state_of(rows[0]) == "composing"


def test_a_claim_takes_the_first_of_the_queue_whatever_id_the_task_carries(room, bob, agent):
    first, second = people.ask(room, bob, agent), people.ask(room, bob, agent)

    claim = invocations.claim_next(invocation_id=second.pk)

    assert claim is not None
    assert claim.invocation_id == first.pk


def test_an_agent_with_two_lanes_runs_two_rows_but_one_session_only_once(room, bob, agent):
    agent.parallel = 2
    agent.save()
    first, same_session = people.ask(room, bob, agent), people.ask(room, bob, agent)
    in_thread = people.ask(room, bob, agent, thread="roottttttttttttt1")

    claims = [invocations.claim_next(invocation_id=row.pk) for row in (first, same_session, in_thread)]

    assert [claim and claim.invocation_id for claim in claims] == [first.pk, in_thread.pk, None]
    assert state_of(same_session) == "queued"


def test_an_agent_runs_no_more_rows_than_its_laptop_takes(room, bob, agent):
    agent.parallel = 3
    agent.save()
    offers = [{"slug": "another", "parallel": 1}, {"slug": agent.slug, "parallel": 2}]
    Bridge.objects.filter(pk=agent.bridge_id).update(offers=offers)
    rows = [people.ask(room, bob, agent, thread=f"thread{number}") for number in range(3)]

    claims = [invocations.claim_next(invocation_id=row.pk) for row in rows]

    assert [claim is not None for claim in claims] == [True, True, False]


def test_warnings_of_one_run_stand_below_each_other_and_other_sentences_replace_themselves(room, bob, agent):
    row = people.ask(room, bob, agent)

    for text in ("a.txt could not be posted", "b.txt could not be posted", "a.txt could not be posted"):
        invocations.tell(invocation=row, kind=NoticeKind.WARNING, text=text)
        invocations.tell(invocation=row, kind=NoticeKind.WAITING, text=text)

    texts = dict(Notice.objects.filter(invocation=row).values_list("kind", "text"))
    assert texts == {
        "warning": "a.txt could not be posted\nb.txt could not be posted",
        "waiting": "a.txt could not be posted",
    }


def test_a_serial_room_lets_one_agent_work_at_a_time(room, bob, alice, agent):
    room.is_serial = True
    room.save()
    other = people.make_agent("codex-alice", owner=alice, bridge=people.make_bridge(owner=alice))
    first, second = people.ask(room, bob, agent), people.ask(room, bob, other)

    claim = invocations.claim_next(invocation_id=first.pk)
    refused = invocations.claim_next(invocation_id=second.pk)
    assert claim is not None
    invocations.compose_failed(invocation_id=first.pk, fence=claim.fence, reason="compose_failed", detail="")
    after = invocations.claim_next(invocation_id=second.pk)

    assert refused is None
    assert after is not None
    assert after.invocation_id == second.pk


def test_a_writer_with_an_old_fence_changes_nothing(room, bob, agent):
    row = people.ask(room, bob, agent)
    old = invocations.claim_next(invocation_id=row.pk)
    assert old is not None
    invocations.compose_crashed(invocation_id=row.pk, fence=old.fence, crashes=1)
    new = invocations.claim_next(invocation_id=row.pk)
    assert new is not None

    late = invocations.composed(invocation_id=row.pk, fence=old.fence)

    assert late is False
    assert new.fence == old.fence + 1
    assert state_of(row) == "composing"


def test_without_a_live_bridge_a_row_waits_and_the_room_hears_until_when(room, bob, agent, bridge):
    Bridge.objects.filter(pk=bridge.pk).update(lease_until=Now() - timedelta(seconds=1))
    row = people.ask(room, bob, agent)

    claim = invocations.claim_next(invocation_id=row.pk)

    assert claim is None
    assert state_of(row) == "waiting"
    assert "is offline" in Notice.objects.get(invocation=row, kind="waiting").text


def test_a_row_that_waited_loses_its_note_when_the_bridge_is_back(room, bob, agent, bridge):
    Bridge.objects.filter(pk=bridge.pk).update(lease_until=None)
    row = people.ask(room, bob, agent)
    invocations.claim_next(invocation_id=row.pk)

    invocations.unpark(invocation_id=row.pk)

    notice = Notice.objects.get(invocation=row, kind="waiting")
    assert (state_of(row), notice.text, notice.revision) == ("queued", "", 2)


def test_who_may_not_ask_hears_why(room, agent):
    charlie = people.make_user("charlie")

    row = people.ask(room, charlie, agent)

    assert (row.state, row.reason) == ("failed", "not_allowed")
    assert "only members of this room" in Notice.objects.get(invocation=row).text


def test_a_right_withdrawn_while_waiting_fails_the_claim(room, bob, agent):
    row = people.ask(room, bob, agent)
    agent.who_may_ask = "owner"
    agent.save()

    claim = invocations.claim_next(invocation_id=row.pk)

    assert claim is None
    assert (state_of(row), row.reason) == ("failed", "not_allowed")


def test_a_stop_before_the_offer_cancels_at_once(room, bob, agent):
    row = people.ask(room, bob, agent)

    stopped = invocations.request_cancel(invocation_id=row.pk, reason="stopped", detail="by bob")
    again = invocations.request_cancel(invocation_id=row.pk, reason="stopped")

    assert (stopped, again, state_of(row)) == (True, False, "cancelled")
    assert Notice.objects.get(invocation=row).text == "Stopped by bob."


def test_a_stop_of_a_running_row_waits_for_its_end_and_then_for_the_clock(room, bob, agent, bridge):
    row = people.ask(room, bob, agent)
    claim = offer_claimed(row)
    invocations.accepted(invocation_id=row.pk, fence=claim.fence, session=bridge.session)

    invocations.request_cancel(invocation_id=row.pk, reason="stopped")
    at_first = state_of(row)
    Invocation.objects.filter(pk=row.pk).update(cancel_requested_at=Now() - timedelta(seconds=16))
    moved = timers.run_due()

    assert at_first == "running"
    assert moved["cancel_ignored"] == 1
    assert (state_of(row), row.reason) == ("cancelled", "stopped")


def test_the_third_crash_while_composing_ends_the_row(room, bob, agent):
    row = people.ask(room, bob, agent)

    for _ in range(MAX_CRASHES):
        assert state_of(row) == "queued"
        assert invocations.claim_next(invocation_id=row.pk) is not None
        Invocation.objects.filter(pk=row.pk).update(lease_until=Now() - timedelta(seconds=1))
        timers.run_due()

    assert (state_of(row), row.reason) == ("failed", "poison")
    assert "crashed three times" in Notice.objects.get(invocation=row).text


def test_a_row_past_its_wait_expires(room, bob, agent, settings):
    settings.NEXUS_WAIT_S = -1
    row = people.ask(room, bob, agent)

    timers.run_due()

    assert (state_of(row), row.reason) == ("expired", "offline")


def test_an_offer_whose_bridge_is_gone_stays_offered_and_gives_up_a_serial_room_only(room, bob, agent, bridge):
    room.is_serial = True
    room.save()
    row = people.ask(room, bob, agent)
    offer_claimed(row)
    Bridge.objects.filter(pk=bridge.pk).update(lease_until=Now() - timedelta(seconds=1))

    timers.run_due()

    row.refresh_from_db()
    assert (row.state, row.lane, row.serial_room_id) == ("offered", 0, None)


def test_an_offer_that_a_live_bridge_does_not_answer_fails_in_the_end(room, bob, agent):
    row = people.ask(room, bob, agent)
    offer_claimed(row)
    Invocation.objects.filter(pk=row.pk).update(offered_at=Now() - timedelta(seconds=61))

    timers.run_due()
    Invocation.objects.filter(pk=row.pk).update(cancel_requested_at=Now() - timedelta(seconds=16))
    timers.run_due()

    assert (state_of(row), row.reason) == ("failed", "offer_unanswered")


def test_an_offer_to_a_bridge_that_has_gone_waits_instead(room, bob, agent, bridge):
    row = people.ask(room, bob, agent)
    claim = invocations.claim_next(invocation_id=row.pk)
    assert claim is not None
    invocations.composed(invocation_id=row.pk, fence=claim.fence)
    Bridge.objects.filter(pk=bridge.pk).update(lease_until=Now() - timedelta(seconds=1))

    offered = invocations.offer(invocation_id=row.pk)

    assert (offered, state_of(row), row.lane) == (False, "waiting", None)
