"""Does recall bring what memory names, only from this room, and never hold a prompt up when memory is ill?"""

import time

import pytest
from django.utils import timezone

from composer.memory import recall
from composer.memory.lines import moment_of
from gateway.models import Message
from tests.fakes.memory_api import FakeMemoryApi
from tests.server.people import make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def memory(settings):
    fake = FakeMemoryApi()
    settings.NEXUS_MEM0_URL = fake.url
    settings.NEXUS_RECALL_TIMEOUT_S = 2.0
    recall._breaker.succeeded()
    yield fake
    fake.close()
    recall._breaker.succeeded()


@pytest.fixture
def bob():
    return make_user("bob")


@pytest.fixture
def backend(bob):
    return make_room("backend", members=(bob,))


def ask_memory(room, question, *, scope="room:rid-backend"):
    pending = recall.start(query=question.text, scope=scope)
    return pending.take(room_id=room.pk, before=moment_of(question))


def test_named_messages_come_back_as_our_own_rows_best_first(memory, backend, bob):
    first, second = say(backend, bob, "The port is 5433."), say(backend, bob, "Port 80 is taken.")
    question = say(backend, bob, "which port?")
    memory.results = [{"msg": second.pk, "score": 0.3, "text": "something else"}, {"msg": first.pk, "score": 0.9}]

    recalled = ask_memory(backend, question)

    assert [line.text for line in recalled.lines] == ["The port is 5433.", "Port 80 is taken."]
    assert recalled.trouble == ""
    assert memory.searches == [{"query": "which port?", "scope": "room:rid-backend", "limit": recall.LIMIT}]


def test_what_is_not_of_this_room_or_gone_or_later_is_dropped(memory, backend, bob):
    other = make_room("other", members=(bob,))
    elsewhere = say(other, bob, "the secret of another room")
    deleted = say(backend, bob, "x")
    Message.objects.filter(pk=deleted.pk).update(text="", deleted_at=timezone.now())
    question = say(backend, bob, "what?")
    later = say(backend, bob, "said afterwards")
    memory.results = [{"msg": row.pk, "score": 1} for row in (elsewhere, deleted, question, later)]
    memory.results.append({"msg": 10**12, "score": 1})

    assert list(ask_memory(backend, question).lines) == []


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"{}"),
        (401, b"{}"),
        (302, b""),
        (200, b"garbage"),
        (200, b'{"results": 5}'),
        (200, b'{"results": [{"score": 1}]}'),
        (200, b'{"results": [{"msg": "abc"}]}'),
        (200, b"x" * (11 * 1024 * 1024)),
    ],
    ids=["500", "401", "redirect", "garbage", "no-list", "no-message", "no-number", "ten-megabytes"],
)
def test_an_answer_that_is_no_answer_leaves_the_prompt_without_memory(memory, backend, bob, answer):
    question = say(backend, bob, "which port?")
    memory.script.append(answer)

    recalled = ask_memory(backend, question)

    assert list(recalled.lines) == []
    assert recalled.trouble.startswith("memory")


def test_memory_that_hangs_is_left_after_the_limit(memory, backend, bob, settings):
    settings.NEXUS_RECALL_TIMEOUT_S = 0.2
    question = say(backend, bob, "which port?")
    memory.script.append(memory.silence)

    recalled = ask_memory(backend, question)

    assert recalled.trouble


def test_memory_that_drips_is_left_after_the_limit(memory, backend, bob, settings):
    settings.NEXUS_RECALL_TIMEOUT_S = 0.3
    question = say(backend, bob, "which port?")

    def drip(handler):
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        while not memory.hang.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    memory.script.append(drip)

    assert ask_memory(backend, question).trouble


def test_after_a_failure_memory_rests_and_is_not_asked(memory, backend, bob):
    question = say(backend, bob, "which port?")
    memory.script.append((500, b"{}"))
    ask_memory(backend, question)

    recalled = ask_memory(backend, question)

    assert "resting" in recalled.trouble
    assert memory.calls == ["POST /search"]


def test_memory_that_is_well_again_is_heard_again(memory, backend, bob, monkeypatch):
    now = [time.monotonic()]
    monkeypatch.setattr(recall._breaker, "_clock", lambda: now[0])
    known, question = say(backend, bob, "The port is 5433."), say(backend, bob, "which port?")
    memory.memories[known.pk] = {}
    memory.script.append((500, b"{}"))
    ask_memory(backend, question)
    now[0] += 11

    recalled = ask_memory(backend, question)

    assert [line.id for line in recalled.lines] == [known.pk]


def test_hanging_calls_never_fill_the_process(memory, backend, bob, settings):
    settings.NEXUS_RECALL_TIMEOUT_S = 0.2
    question = say(backend, bob, "which port?")
    memory.script += [memory.silence] * 10
    pending = [recall.start(query="port", scope="room:rid-backend") for _ in range(10)]

    recalled = [one.take(room_id=backend.pk, before=moment_of(question)) for one in pending]

    assert all(one.trouble for one in recalled)
    assert memory.calls.count("POST /search") <= recall.THREADS
