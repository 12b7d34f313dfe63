"""What does a model make of messages, where is it kept, and what when the model or the embedder misbehaves or changes?"""

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from composer.memory import facts
from composer.memory.embedder import HttpEmbedder
from composer.memory.lines import micros
from composer.memory.store import NewMemory, Store, StoreUnavailableError
from composer.models import Fact, Memory
from gateway.models import Message, RoomMember
from tests.fakes.model_api import FakeModelApi
from tests.server.people import make_agent, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def model():
    fake = FakeModelApi()
    yield fake
    fake.close()


@pytest.fixture
def open_store(model, settings):
    settings.NEXUS_MEM0_LLM_URL = model.url
    settings.NEXUS_MEM0_LLM_MODEL = "fake"
    opened = []

    def open_one(embedder=None):
        opened.append(Store(embedder=embedder))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def message():
    return say(make_room("backend"), make_user("bob"), "the orders database moved to port 5433 last week")


def memory_of(message, scope="room:rid-backend"):
    message.refresh_from_db()
    return NewMemory(msg=message.pk, scope=scope, text=message.text, actor="bob", rev=micros(message.rc_updated_at))


def learns(*texts):
    return lambda _: json.dumps({"memory": [{"text": text, "attributed_to": "user"} for text in texts]})


def learned():
    return list(Fact.objects.order_by("pk").values_list("scope", "value", "source_message_id", "confidence"))


def test_what_is_learned_is_a_fact_of_the_messages_room_with_its_source(store, model, message):
    model.say = learns("Orders run on port 5433", "It moved last week")
    store.add([memory_of(message)])
    assert model.chats == []

    progress = store.learn(limit=5)
    counts = [facts.adopt_learned(), facts.adopt_learned()]

    assert (progress.done, progress.left, counts) == (1, False, [2, 0])
    assert learned() == [
        ("room:rid-backend", "Orders run on port 5433", message.pk, 0.6),
        ("room:rid-backend", "It moved last week", message.pk, 0.6),
    ]
    assert store.learn(limit=5).done == 0


def test_a_direct_chats_facts_stay_in_it(store, model):
    bob = make_user("bob")
    direct = make_room("dm", kind="dm", members=(bob,))
    RoomMember.objects.create(room=direct, agent=make_agent("claude"))
    model.say = learns("Bob earns 5000")
    store.add([memory_of(say(direct, bob, "my salary is 5000 a month"), scope="dm:uid-bob:claude")])

    store.learn(limit=5)
    facts.adopt_learned()

    assert [scope for scope, *_ in learned()] == ["dm:uid-bob:claude"]


def test_a_memory_that_claims_another_scope_becomes_no_fact(store, model, message):
    model.say = learns("Orders run on port 5433")
    store.add([memory_of(message)])
    store.learn(limit=5)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE memories SET payload = jsonb_set(payload, '{run_id}', to_jsonb('project:1'::text))")

    assert facts.adopt_learned() == 0


def test_an_edit_is_learned_from_anew_and_a_deletion_forgets(store, model, message):
    model.say = learns("Orders run on port 5433")
    store.add([memory_of(message)])
    store.learn(limit=5)
    facts.adopt_learned()

    later = message.rc_updated_at + timedelta(seconds=1)
    Message.objects.filter(pk=message.pk).update(text="it moved to port 6000 after all", rc_updated_at=later)
    assert learned() == []
    model.say = learns("Orders run on port 6000")
    store.add([memory_of(message)])
    store.learn(limit=5)
    facts.adopt_learned()
    assert [value for _, value, *_ in learned()] == ["Orders run on port 6000"]

    Message.objects.filter(pk=message.pk).update(text="", deleted_at=timezone.now())
    assert learned() == []
    assert not Memory.objects.filter(payload__has_key="fact").exists()


def test_the_model_is_told_nothing_of_other_messages_that_were_deleted(store, model, message):
    secret = say(message.room, make_user("bob"), "my password is hunter2, forget it please")
    store.add([memory_of(secret)])
    store.learn(limit=5)
    Message.objects.filter(pk=secret.pk).update(text="", deleted_at=timezone.now())
    store.remove(msg=secret.pk)
    model.chats.clear()

    store.add([memory_of(message)])
    store.learn(limit=5)

    assert len(model.chats) == 1
    assert "hunter2" not in json.dumps(model.chats)


def test_while_the_model_is_away_messages_are_stored_and_learned_from_later(store, model, message):
    model.say = learns("Orders run on port 5433")
    stored = store.add([memory_of(message)])

    for answer in ((503, b"{}"), (429, b"{}"), (401, b"{}"), (500, b"oops")):
        model.script.append(answer)
        failed, resting = store.learn(limit=5), store.learn(limit=5)
        store._learner.breaker.succeeded()
        assert (failed.done, failed.left, bool(failed.trouble)) == (0, True, True)
        assert "resting" in resting.trouble
    done = store.learn(limit=5)

    assert [result.state for result in stored] == ["added"]
    assert (done.done, done.left) == (1, False)


NONSENSE = ("", "no json", "{}", '{"memory": "x"}', '{"memory": ["x"]}', '{"memory": [{"text": 5}]}', "[]", "null")


def test_a_model_that_talks_nonsense_teaches_nothing_and_is_not_asked_again(store, model, message):
    answers = iter(NONSENSE)
    model.say = lambda _: next(answers)
    said = [say(message.room, make_user("bob"), f"this is the message number {n}") for n in range(len(NONSENSE))]
    store.add([memory_of(one) for one in said])

    progress = store.learn(limit=20)

    assert (progress.done, progress.left, progress.trouble) == (len(NONSENSE), False, "")
    assert facts.adopt_learned() == 0


def test_a_message_that_the_model_refuses_does_not_hold_up_the_others(store, model, message):
    other = say(message.room, make_user("bob"), "we deploy on Tuesdays, never on Fridays")
    model.script.append((400, b'{"error": "filtered"}'))
    model.say = learns("They deploy on Tuesdays")
    store.add([memory_of(message), memory_of(other)])

    assert store.learn(limit=5).done == 2

    facts.adopt_learned()
    assert [source for _, _, source, _ in learned()] == [other.pk]


# The embedder


def embedder_of(model):
    return HttpEmbedder(url=model.url, model="fake", key="")


def test_another_embedder_gives_new_vectors_to_all_without_asking_the_model_again(open_store, model, message):
    model.say = learns("Orders run on port 5433")
    old = open_store()
    old.add([memory_of(message)])
    old.learn(limit=5)
    model.chats.clear()

    new = open_store(embedder_of(model))
    blind = new.search(query="orders port", scopes=["room:rid-backend"], limit=5)
    steps = [new.reembed(limit=1) for _ in range(4)]
    seeing = new.search(query="orders port", scopes=["room:rid-backend"], limit=5)

    assert blind == []
    assert [step.done for step in steps] == [1, 1, 0, 0]
    assert {one.msg for one in seeing} == {message.pk}
    assert {one.embedder for one in new.kept(scope="room:rid-backend")} == {"fake:384"}
    assert model.chats == []


def test_vectors_of_another_length_are_another_embedder_after_a_restart_and_an_error_before(
    open_store, model, message
):
    store = open_store(embedder_of(model))
    store.add([memory_of(message)])
    model.width = 768

    with pytest.raises(StoreUnavailableError, match="another model"):
        store.search(query="orders", scopes=["room:rid-backend"], limit=5)

    restarted = open_store(embedder_of(model))
    assert restarted.reembed(limit=10).done == 1
    assert [one.msg for one in restarted.search(query="orders port", scopes=["room:rid-backend"], limit=5)]


GARBAGE = (
    b"garbage",
    b'{"data": []}',
    b'{"data": [{"index": 0, "embedding": []}]}',
    b'{"data": [{"index": 0, "embedding": [0, 0, 0]}]}',
    b'{"data": [{"index": 0, "embedding": [1e999]}]}',
    b'{"data": [{"index": 0, "embedding": ["x"]}]}',
    json.dumps({"data": [{"index": 0, "embedding": [1.0] * 1537}]}).encode(),
)


def test_an_embedder_that_sends_garbage_stores_nothing_and_is_told_as_such(open_store, model, message):
    store = open_store(embedder_of(model))
    for body in GARBAGE:
        model.script.append((200, body))
        with pytest.raises(StoreUnavailableError, match="embedder"):
            store.add([memory_of(message)])

    assert not Memory.objects.exists()
    assert [result.state for result in store.add([memory_of(message)])] == ["added"]
