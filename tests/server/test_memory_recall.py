"""Does recall hear what memory names, and never hold a prompt up when memory is late or ill?"""

import time

import pytest

from composer.memory import recall
from tests.fakes.memory_api import FakeMemoryApi
from tests.server.people import make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def memory(settings):
    fake = FakeMemoryApi()
    settings.NEXUS_MEM0_URL = fake.url
    settings.NEXUS_RECALL_TIMEOUT_S = 2.0
    yield fake
    fake.close()


@pytest.fixture
def bob():
    return make_user("bob")


@pytest.fixture
def backend(bob):
    return make_room("backend", members=(bob,))


def ask_memory(question, *, scope="room:rid-backend"):
    return recall.start(query=question.text, scope=scope).hear(own_id=question.pk)


def test_memory_names_messages_and_says_how_well_they_fit(memory, backend, bob):
    first, second = say(backend, bob, "The port is 5433."), say(backend, bob, "Port 80 is taken.")
    question = say(backend, bob, "which port?")
    memory.results = [{"msg": second.pk, "score": 0.3, "text": "x"}, {"msg": first.pk, "score": 0.9}]

    heard = ask_memory(question)

    assert heard == recall.Heard({first.pk: 0.9, second.pk: 0.3})
    assert memory.searches == [{"query": "which port?", "scope": "room:rid-backend", "limit": recall.LIMIT}]


def test_of_several_memories_of_a_message_the_best_counts_and_the_question_is_none(memory, backend, bob):
    said, question = say(backend, bob, "The port is 5433."), say(backend, bob, "which port?")
    memory.results = [{"msg": said.pk, "score": score} for score in (0.2, 0.7, 0.5)]
    memory.results.append({"msg": question.pk, "score": 1.0})

    assert ask_memory(question).scores == {said.pk: 0.7}


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

    heard = ask_memory(question)

    assert heard.scores == {}
    assert heard.trouble.startswith("memory")


def test_memory_that_hangs_is_left_after_the_limit(memory, backend, bob, settings):
    settings.NEXUS_RECALL_TIMEOUT_S = 0.2
    question = say(backend, bob, "which port?")
    memory.script.append(memory.silence)

    heard = ask_memory(question)

    assert heard.trouble


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

    assert ask_memory(question).trouble


def test_after_a_failure_memory_rests_and_is_not_asked(memory, backend, bob):
    question = say(backend, bob, "which port?")
    memory.script.append((500, b"{}"))
    ask_memory(question)

    heard = ask_memory(question)

    assert "resting" in heard.trouble
    assert memory.calls == ["POST /search"]


def test_memory_that_is_well_again_is_heard_again(memory, backend, bob, monkeypatch):
    now = [time.monotonic()]
    monkeypatch.setattr(recall._breaker, "_clock", lambda: now[0])
    known, question = say(backend, bob, "The port is 5433."), say(backend, bob, "which port?")
    memory.memories[known.pk] = {}
    memory.script.append((500, b"{}"))
    ask_memory(question)
    now[0] += 11

    heard = ask_memory(question)

    assert list(heard.scores) == [known.pk]


def test_hanging_calls_never_fill_the_process(memory, backend, bob, settings):
    settings.NEXUS_RECALL_TIMEOUT_S = 0.2
    question = say(backend, bob, "which port?")
    memory.script += [memory.silence] * 10
    pending = [recall.start(query="port", scope="room:rid-backend") for _ in range(10)]

    heard = [one.hear(own_id=question.pk) for one in pending]

    assert all(one.trouble for one in heard)
    assert memory.calls.count("POST /search") <= recall.THREADS
