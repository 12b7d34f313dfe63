"""Is what is stored always a prefix of what was sent, whatever is repeated, lost or reordered on the way?"""

import random

import psycopg
import pytest
from django.db import InterfaceError, OperationalError, connection

from gateway.models import Invocation, State
from nexus_bridge.protocol import Accepted, Ack, Chunk, Chunks, Drop, End, Error, Refused, Rewind, output_digest
from runtime import chunks, dispatch, tasks
from runtime.chunks import Arrival
from tests.server.gateway_process import database_url
from tests.server.hub_world import World, text

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]

SESSION = "session-of-alice"
PAYLOADS = [text(word) for word in ("one", "two \\\\n", "three\\t", "v\u00efer \U0001f389", "a\tb\nc\rd\\e", "")]


@pytest.fixture
def run(db):
    """A row that is offered to Alice's bridge."""
    world = World()
    world.bridge.__class__.objects.update(session=SESSION, lease_until="2999-01-01T00:00Z", journal="0" * 32)
    return world.row(world.ask())


def arrive(run, *frames):
    arrivals = [Arrival(bridge_id=run.agent.bridge_id, session=SESSION, frame=frame) for frame in frames]
    return chunks.store(arrivals=arrivals)


def accepted(run):
    return Accepted(invocation=run.pk, fence=run.fence)


def part(run, first, last):
    return Chunks(
        invocation=run.pk,
        fence=run.fence,
        chunks=[Chunk(seq=seq, kind="text", payload=PAYLOADS[seq - 1]) for seq in range(first, last + 1)],
    )


def end(run, *, sha256=None):
    return End(
        invocation=run.pk,
        fence=run.fence,
        seq=len(PAYLOADS) + 1,
        outcome="done",
        sha256=sha256 or output_digest(PAYLOADS),
    )


def stored(run):
    return [chunk.payload for chunk in chunks.since(invocation_id=run.pk)]


def test_a_whole_run_fits_into_one_transaction(run):
    answers = arrive(run, accepted(run), part(run, 1, 3), part(run, 4, 6), end(run)).answers

    assert answers == [
        None,
        Ack(invocation=run.pk, seq=3),
        Ack(invocation=run.pk, seq=6),
        Ack(invocation=run.pk, seq=7),
    ]
    run.refresh_from_db()
    assert (run.state, run.last_seq) == (State.DONE, 7)
    assert stored(run) == PAYLOADS


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_lost_within_a_copy_is_no_fault_of_the_frame(run, monkeypatch):
    arrive(run, accepted(run))

    def lock_and_lose(ids, *, lock=chunks._lock):
        found = lock(ids)
        with psycopg.connect(database_url(), autocommit=True) as outside:
            outside.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(chunks, "_lock", lock_and_lose)
        with pytest.raises((OperationalError, InterfaceError)):
            arrive(run, part(run, 1, 3))
    connection.close()

    assert arrive(run, part(run, 1, 3)).answers == [Ack(invocation=run.pk, seq=3)]
    assert stored(run) == PAYLOADS[:3]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_repeated_or_lost_what_is_stored_is_a_prefix_and_ends_whole(run, seed):
    rng = random.Random(seed)
    arrive(run, accepted(run))

    for _ in range(30):
        first = rng.randint(1, len(PAYLOADS))
        frames = [part(run, first, rng.randint(first, len(PAYLOADS))) for _ in range(rng.randint(1, 3))]
        known = len(stored(run))
        for frame, answer in zip(frames, arrive(run, *frames).answers, strict=True):
            if frame.chunks[0].seq > known + 1:
                assert answer == Rewind(invocation=run.pk, seq=known + 1)
            else:
                known = max(known, frame.chunks[-1].seq)
                assert answer == Ack(invocation=run.pk, seq=known)
        assert stored(run) == PAYLOADS[:known]

    for frame in (part(run, len(stored(run)) or 1, len(PAYLOADS)), end(run)):
        arrive(run, frame)
    run.refresh_from_db()
    assert run.state == State.DONE


def test_a_chunk_before_its_accepted_counts_as_accepted(run):
    assert arrive(run, part(run, 1, 1)).answers == [Ack(invocation=run.pk, seq=1)]

    run.refresh_from_db()
    assert run.state == State.RUNNING


def test_an_older_session_of_the_same_bridge_is_dropped(run):
    frame = accepted(run)
    late = Arrival(bridge_id=run.agent.bridge_id, session="older", frame=frame)

    assert isinstance(chunks.store(arrivals=[late]).answers[0], Drop)


def test_a_bridge_that_does_not_own_the_run_is_told_so(run):
    thief = Arrival(bridge_id=run.agent.bridge_id + 1, session="thief", frame=accepted(run))

    assert isinstance(chunks.store(arrivals=[thief]).answers[0], Error)


def test_one_bad_run_in_a_batch_changes_no_other(run):
    unknown = Accepted(invocation=run.pk + 1000, fence=1)

    answers = arrive(run, unknown, accepted(run), part(run, 1, 2)).answers

    assert isinstance(answers[0], Error)
    assert answers[2] == Ack(invocation=run.pk, seq=2)


def test_a_run_that_was_refused_takes_no_chunks(run):
    refused = Refused(invocation=run.pk, fence=run.fence, reason="no", message="not today")

    answers = arrive(run, refused, part(run, 1, 1)).answers

    assert answers[0] is None
    assert isinstance(answers[1], Drop)
    assert stored(run) == []


def test_a_frame_that_can_not_be_stored_ends_its_run_with_what_was_certain(run):
    arrive(run, accepted(run), part(run, 1, 2))

    answer = chunks.give_up(arrival=Arrival(bridge_id=run.agent.bridge_id, session=SESSION, frame=part(run, 3, 3)))

    assert isinstance(answer, Drop)
    run.refresh_from_db()
    assert (run.state, run.reason) == (State.INTERRUPTED, "output_corrupt")
    assert stored(run) == PAYLOADS[:2]


def test_reading_goes_on_from_a_seq(run):
    arrive(run, accepted(run), part(run, 1, 4))

    assert [chunk.seq for chunk in chunks.since(invocation_id=run.pk, seq=2)] == [3, 4]


def test_the_time_of_the_first_text_is_kept(run):
    arrive(run, accepted(run), part(run, 1, 1))
    first = Invocation.objects.get(pk=run.pk).first_text_at
    arrive(run, part(run, 2, 2))

    assert first is not None
    assert Invocation.objects.get(pk=run.pk).first_text_at == first


def test_dispatch_twice_offers_once(db):
    world = World()
    world.bridge.__class__.objects.update(session=SESSION, lease_until="2999-01-01T00:00Z", journal="0" * 32)
    pk = world.compose(world.open())

    assert dispatch.dispatch(invocation_id=pk)
    assert not dispatch.dispatch(invocation_id=pk)
    assert world.row(pk).state == State.OFFERED


def test_the_task_takes_nothing_as_an_answer(db):
    tasks.run(None)
    tasks.run(None, something_new=1)

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM invocations")
        assert cursor.fetchone() == (0,)


def test_dispatch_without_a_bridge_parks_the_row(db):
    world = World()
    bridges = world.bridge.__class__.objects
    bridges.update(session=SESSION, lease_until="2999-01-01T00:00Z", journal="0" * 32)
    pk = world.compose(world.open())
    bridges.update(lease_until=None)

    assert not dispatch.dispatch(invocation_id=pk)
    assert world.row(pk).state == State.WAITING
