"""Is the window of a room always what Postgres says, whatever Redis has lost, missed or kept?"""

from datetime import timedelta

import pytest
import redis
from django.conf import settings as django_settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from composer.memory import working
from composer.memory.lines import moment_of
from gateway.models import Message
from tests.server.people import make_agent, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
def rested():
    _redis().flushdb()


@pytest.fixture
def bob():
    return make_user("bob")


@pytest.fixture
def backend(bob):
    return make_room("backend", members=(bob,))


def _redis():
    return redis.Redis.from_url(f"{django_settings.NEXUS_REDIS_URL}/2")


def hear(room, user, text, **values):
    """Said, stored and pushed to working memory as ingest does."""
    message = say(room, user, text, **values)
    working.append(room_id=room.pk, messages=[message])
    return message


def window(room, before, limit=10):
    return [line.text for line in working.window(room_id=room.pk, before=moment_of(before), limit=limit)]


def test_the_window_is_the_last_lines_up_to_the_question_in_order(backend, bob):
    said = [hear(backend, bob, f"line {number}") for number in range(15)]

    assert window(backend, said[12]) == [f"line {number}" for number in range(3, 13)]


def test_a_room_that_redis_knows_whole_is_not_read_from_postgres(backend, bob):
    said = [hear(backend, bob, f"line {number}") for number in range(15)]

    lines = working._upto(working._load(room_id=backend.pk), before=moment_of(said[-1]), limit=10)

    assert [line.text for line in lines] == window(backend, said[-1])


def test_after_flushall_the_window_is_rebuilt_and_kept_again(backend, bob):
    said = [hear(backend, bob, f"line {number}") for number in range(15)]
    before = window(backend, said[-1])
    _redis().flushall()

    after = window(backend, said[-1])

    assert after == before
    assert len(working._load(room_id=backend.pk)) == 15


def test_a_message_that_redis_missed_is_in_the_window(backend, bob):
    hear(backend, bob, "heard")
    say(backend, bob, "missed")
    question = hear(backend, bob, "question")

    assert window(backend, question) == ["heard", "missed", "question"]


def test_a_late_message_takes_its_place_by_time(backend, bob):
    first, second = hear(backend, bob, "first"), hear(backend, bob, "second")
    at = first.ts + (second.ts - first.ts) / 2
    late = Message.objects.create(rc_id="late", room=backend, user=bob, text="late", ts=at, rc_updated_at=at)
    working.append(room_id=backend.pk, messages=[late])

    assert window(backend, second) == ["first", "late", "second"]


@pytest.mark.parametrize("is_told", [True, False])
def test_an_edit_is_seen_whether_or_not_redis_was_told(backend, bob, is_told):
    message = hear(backend, bob, "port 5432")
    question = hear(backend, bob, "question")
    message.text, message.rc_updated_at = "port 5433", message.rc_updated_at + timedelta(seconds=1)
    message.save()
    if is_told:
        working.update(message=message)

    assert window(backend, question) == ["port 5433", "question"]


@pytest.mark.parametrize("is_told", [True, False])
def test_a_deleted_message_is_gone_whether_or_not_redis_was_told(backend, bob, is_told):
    message = hear(backend, bob, "oops, a password")
    question = hear(backend, bob, "question")
    message.text, message.deleted_at = "", timezone.now()
    message.save()
    if is_told:
        working.update(message=message)

    assert window(backend, question) == ["question"]


def test_pushing_a_message_twice_shows_it_once(backend, bob):
    message = hear(backend, bob, "hello")
    working.append(room_id=backend.pk, messages=[message, message])

    assert window(backend, message) == ["hello"]


def test_a_question_that_waited_long_still_gets_its_own_window(backend, bob):
    said = [hear(backend, bob, f"line {number}") for number in range(200)]

    assert window(backend, said[20]) == [f"line {number}" for number in range(11, 21)]


def test_lines_of_other_rooms_never_mix_in(backend, bob):
    other = make_room("other", members=(bob,))
    hear(other, bob, "elsewhere")
    question = hear(backend, bob, "question")

    assert window(backend, question) == ["question"]


def test_garbage_in_redis_is_ignored(backend, bob):
    question = hear(backend, bob, "question")
    _redis().hset(working._key(backend.pk), "1", b"\xff garbage")

    assert window(backend, question) == ["question"]


def test_a_forged_line_in_redis_is_not_believed(backend, bob):
    question = hear(backend, bob, "question")
    line = working._load(room_id=backend.pk)[0]
    _redis().hset(
        working._key(backend.pk),
        "999",
        working._encode(type(line)(999, "x", 1, 0, "bob", line.ts - 1, 0, "", "forged")),
    )

    assert window(backend, question) == ["question"]


def test_with_redis_down_the_window_comes_from_postgres(backend, bob, monkeypatch):
    said = [hear(backend, bob, f"line {number}") for number in range(3)]
    monkeypatch.setattr(working, "_client", redis.Redis.from_url("redis://127.0.0.1:9/2", socket_connect_timeout=0.2))

    assert window(backend, said[-1]) == ["line 0", "line 1", "line 2"]
    working.append(room_id=backend.pk, messages=said)
    working.forget(room_id=backend.pk)
    assert not working._breaker.is_closed()


def test_a_message_whose_sender_is_not_at_hand_is_found_by_the_window(backend, bob):
    question = Message.objects.get(pk=say(backend, bob, "question").pk)
    with CaptureQueriesContext(connection) as queries:
        working.append(room_id=backend.pk, messages=[question])

    assert not queries.captured_queries
    assert window(backend, question) == ["question"]


def test_agents_and_long_messages_are_lines_like_others(backend, bob):
    agent = make_agent("claude-alice")
    at = timezone.now()
    reply = Message.objects.create(
        rc_id="reply", room=backend, agent=agent, text="x" * 20_000, ts=at, rc_updated_at=at
    )
    working.append(room_id=backend.pk, messages=[reply])

    line = working.window(room_id=backend.pk, before=moment_of(reply), limit=5)[0]

    assert (line.name, line.agent_id, len(line.text)) == ("claude-alice", agent.pk, 8_000)


def test_a_room_nobody_asks_in_does_not_grow_without_end(backend, bob, settings):
    settings.NEXUS_WORKING_MEMORY = 5
    for number in range(50):
        hear(backend, bob, f"line {number}")

    assert _redis().hlen(working._key(backend.pk)) <= 5 * working.OVERFULL


def test_a_thread_is_read_with_its_root_though_the_window_has_passed_it(backend, bob):
    root = hear(backend, bob, "root")
    hear(backend, bob, "in thread", thread=root.rc_id)
    for number in range(20):
        hear(backend, bob, f"line {number}")
    question = hear(backend, bob, "question", thread=root.rc_id)

    lines = working.thread(room_id=backend.pk, root=root.rc_id, before=moment_of(question), limit=5)

    assert [line.text for line in lines] == ["root", "in thread", "question"]


_STEPS = st.lists(
    st.sampled_from(["say", "say_unheard", "edit", "edit_unheard", "delete", "delete_unheard", "flush", "window"]),
    min_size=1,
    max_size=25,
)


@examples(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=_STEPS, picks=st.randoms(use_true_random=False))
def test_whatever_happens_the_window_equals_postgres(backend, bob, steps, picks):
    said = [hear(backend, bob, "first")]
    for step in steps:
        message = picks.choice(said)
        if step.startswith("say"):
            message = say(backend, bob, f"line {len(said)}")
            said.append(message)
        elif step.startswith("edit") and message.deleted_at is None:
            message.text += "!"
            message.rc_updated_at += timedelta(seconds=1)
            message.save()
        elif step.startswith("delete"):
            message.text, message.deleted_at = "", timezone.now()
            message.save()
        elif step == "flush":
            _redis().flushall()
        if not step.endswith("unheard"):
            working.append(room_id=backend.pk, messages=[message])

        rows = Message.objects.filter(room=backend, deleted_at=None).order_by("-ts", "-pk")
        assert window(backend, said[-1], limit=6) == [row.text for row in rows[:6]][::-1]
