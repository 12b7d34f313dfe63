"""Does every message reach memory once, in order, and follow its edits and its deletion?"""

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from composer.memory import remember as remembering
from composer.memory.remember import BATCH, remember
from gateway.models import Message, RoomMember
from tests.fakes.memory_api import FakeMemoryApi
from tests.server.people import make_agent, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def memory(settings):
    fake = FakeMemoryApi()
    settings.NEXUS_MEM0_URL = fake.url
    yield fake
    fake.close()


@pytest.fixture
def bob():
    return make_user("bob")


@pytest.fixture
def backend(bob):
    return make_room("backend", members=(bob,))


def test_messages_are_remembered_once_and_oldest_first(memory, backend, bob):
    said = [say(backend, bob, f"message {number}") for number in range(BATCH + 5)]

    counts = [remember(), remember()]

    assert counts == [BATCH + 5, 0]
    assert list(memory.memories) == [message.pk for message in said]
    assert not Message.objects.filter(remembered_at=None).exists()


def test_a_memory_carries_scope_speaker_and_time(memory, backend, bob):
    message = say(backend, bob, "The port is 5433.")

    remember()

    kept = memory.memories[message.pk]
    assert (kept["scope"], kept["actor"], kept["text"]) == ("room:rid-backend", "bob", "The port is 5433.")
    assert kept["at"] == message.ts.isoformat()


def test_a_token_that_somebody_typed_is_not_remembered(memory, backend, bob):
    token = f"glpat-{'x7' * 12}"
    message = say(backend, bob, f"use {token} for the registry")

    remember()

    assert memory.memories[message.pk]["text"] == "use [secret] for the registry"


def test_a_direct_chat_has_its_own_scope(memory, bob):
    direct = make_room("dm", kind="dm", members=(bob,))
    RoomMember.objects.create(room=direct, agent=make_agent("claude-alice"))
    message = say(direct, bob, "between us")

    remember()

    assert memory.memories[message.pk]["scope"] == "dm:uid-bob:claude-alice"


def test_system_and_empty_messages_are_not_remembered_and_not_asked_again(memory, backend, bob):
    Message.objects.filter(pk=say(backend, bob, "joined").pk).update(system_type="uj")
    Message.objects.filter(pk=say(backend, bob, "x").pk).update(text="  ")

    counts = [remember(), remember()]

    assert counts == [2, 0]
    assert not memory.memories


def test_an_edit_is_sent_again(memory, backend, bob):
    message = say(backend, bob, "The port is 5432.")
    remember()
    Message.objects.filter(pk=message.pk).update(text="The port is 5433.", rc_updated_at=timezone.now())

    remember()

    assert memory.memories[message.pk]["text"] == "The port is 5433."


def test_a_deleted_message_is_taken_out_of_memory(memory, backend, bob):
    message = say(backend, bob, "oops, a password")
    remember()
    Message.objects.filter(pk=message.pk).update(text="", deleted_at=timezone.now())

    remember()

    assert not memory.memories
    assert not Message.objects.filter(remembered_at=None).exists()


def test_a_message_that_changes_while_it_is_written_comes_again(memory, backend, bob):
    message = say(backend, bob, "first")

    def edit_then_answer(handler):
        Message.objects.filter(pk=message.pk).update(text="second", rc_updated_at=timezone.now())
        _close_connections()
        body = b'{"results": [{"msg": %d, "state": "added"}]}' % message.pk
        handler.send_response(200)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    memory.script.append(edit_then_answer)
    remember()

    assert memory.memories[message.pk]["text"] == "second"


@pytest.mark.parametrize(
    "answer",
    [(504, b"{}"), (503, b"busy"), (401, b"{}"), (200, b"garbage"), (200, b'{"results": []}'), (302, b"")],
)
def test_while_memory_fails_nothing_is_lost_and_the_next_round_goes_on(memory, backend, bob, answer):
    message = say(backend, bob, "hello")
    memory.script.append(answer)

    failed = remember()
    remembering._breaker.succeeded()
    done = remember()

    assert (failed, done) == (0, 1)
    assert message.pk in memory.memories


def test_a_message_that_memory_stumbles_over_does_not_stop_the_others(memory, backend, bob):
    said = [say(backend, bob, f"message {number}") for number in range(4)]
    # The whole batch, its first half, and the first message alone.
    memory.script += [(500, b"{}"), (500, b"{}"), (500, b"{}")]

    counts = [remember(), remember()]

    assert counts == [4, 0]
    assert list(memory.memories) == [message.pk for message in said[1:]]


def test_when_memory_stumbles_over_everything_nothing_is_given_up(memory, backend, bob):
    for number in range(4):
        say(backend, bob, f"message {number}")
    memory.script += [(500, b"{}")] * 7

    failed = remember()
    remembering._breaker.succeeded()
    done = remember()

    assert (failed, done) == (0, 4)
    assert len(memory.memories) == 4


def test_a_lone_message_that_memory_fails_over_is_given_up_only_after_some_tries(memory, backend, bob):
    say(backend, bob, "poison")
    counts = []
    for _ in range(4):
        memory.script.append((500, b"{}"))
        counts.append(remember())
        remembering._breaker.succeeded()

    assert counts == [0, 0, 1, 0]
    assert not memory.memories


def test_a_message_whose_room_has_another_scope_by_now_comes_again(memory, backend, bob):
    message = say(backend, bob, "hello")
    body = b'{"results": [{"msg": %d, "state": "elsewhere"}]}' % message.pk
    memory.script.append((200, body))

    assert [remember(), remember()] == [0, 1]
    assert message.pk in memory.memories


def test_all_is_stored_before_vectors_are_made_anew_and_a_model_learns(memory, backend, bob, settings):
    settings.NEXUS_MEM0_LLM_URL = "http://127.0.0.1:9/v1"
    say(backend, bob, "hello")

    remember()

    assert memory.calls == ["POST /memories", "POST /reembed", "POST /learn"]


def test_memory_that_is_down_is_left_alone_for_a_while(settings, backend, bob):
    settings.NEXUS_MEM0_URL = "http://127.0.0.1:9"
    say(backend, bob, "hello")

    assert remember() == 0
    assert not remembering._breaker.is_closed()


def test_only_one_worker_writes_at_a_time(memory, backend, bob):
    say(backend, bob, "hello")
    database = connection.settings_dict
    with psycopg.connect(
        dbname=database["NAME"],
        user=database["USER"],
        password=database["PASSWORD"],
        host=database["HOST"],
        port=database["PORT"],
    ) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [remembering._LOCK])
        blocked = remember()
        # Closing the connection lets go of it too, but nobody knows when the server has noticed.
        other.execute("SELECT pg_advisory_unlock(%s)", [remembering._LOCK])
    free = remember()

    assert (blocked, free) == (0, 1)


def _close_connections():
    connection.close()
