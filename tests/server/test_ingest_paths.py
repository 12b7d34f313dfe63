"""Is every message stored and asked once when several processes store it at the same time, and an agent's reply once?"""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from gateway.ingest import Batch, Ingest, store_reply
from gateway.models import Invocation, Message, RoomMember
from gateway.rocketchat import events
from runtime.models import ReplyPart
from tests.server.chat_words import document, edited, said
from tests.server.people import ask, make_agent, make_bridge, make_room, make_user

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]

MESSAGES = 240


@pytest.fixture
def agent():
    alice = make_user("alice")
    return make_agent(owner=alice, bridge=make_bridge(owner=alice))


@pytest.fixture
def room(agent):
    room = make_room(members=(make_user("alice"), make_user("bob")))
    RoomMember.objects.create(room=room, agent=agent, joined_at=timezone.now() - timedelta(hours=1))
    return room


def _pour(seed, documents):
    """One path: the same documents in another order and other batches; a deadlock is tried again, as the feed does."""
    dice = random.Random(seed)
    messages = [events.message(one) for one in documents]
    dice.shuffle(messages)
    ingest = Ingest()
    try:
        while messages:
            count = dice.randrange(1, 30)
            batch, messages = Batch(messages=messages[:count]), messages[count:]
            while True:
                try:
                    ingest.store(batch)
                    break
                except OperationalError:
                    connection.close()
    finally:
        connection.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_three_paths_at_once_store_each_message_and_ask_each_question_once(room, seed):
    documents = []
    for number in range(MESSAGES):
        is_question = number % 8 == 0
        text = f"@claude-alice question {number}" if is_question else f"message {number}"
        one = document(text, by=f"person{number % 7}", mentions=("claude-alice",) if is_question else ())
        documents.append(one)
        if number % 5 == 0:
            documents.append(edited(one, f"{text}, edited"))

    with ThreadPoolExecutor(3) as pool:
        for path in [pool.submit(_pour, seed * 10 + number, documents) for number in range(3)]:
            path.result()

    assert Message.objects.count() == MESSAGES
    assert Message.objects.filter(text__endswith=", edited").count() == MESSAGES // 5
    assert Invocation.objects.count() == MESSAGES // 8
    assert Invocation.objects.filter(attempt=1).count() == MESSAGES // 8


def _reply(room, agent):
    """A reply whose first part stands in the chat: what the listener hears of it, and its row."""
    row = ask(room, make_user("bob"), agent)
    part = ReplyPart.objects.create(invocation=row, part=0, chat_id="reply000000000000")
    first = document("The", by=agent.slug, _id=part.chat_id)
    return row, first


def test_a_streaming_reply_keeps_the_text_that_the_poster_stored(room, agent):
    row, first = _reply(room, agent)
    ingest = Ingest()
    ingest.store(Batch(messages=[events.message(first)]))
    final = edited(first, "The answer.\n_2 s_", after_ms=5_000)

    with transaction.atomic():
        at = events.moment(final["_updatedAt"]["$date"])
        store_reply(invocation=row, rc_id=first["_id"], text="The answer.", ts=at, updated_at=at)
    ingest.store(Batch(messages=[events.message(final)]))
    ingest.store(
        Batch(
            messages=[
                events.message(edited(final, "The answer.\n_2 s_", reactions={":eyes:": {"usernames": ["bob"]}}))
            ]
        )
    )

    message = Message.objects.get(rc_id=first["_id"])
    assert (message.text, message.agent) == ("The answer.", agent)
    assert message.remembered_at is None
    assert message.reactions == {":eyes:": ["bob"]}


def test_what_a_person_makes_of_a_reply_is_followed(room, agent):
    _row, first = _reply(room, agent)
    ingest = Ingest()
    ingest.store(Batch(messages=[events.message(first)]))

    corrected = edited(first, "Corrected by an admin", editedBy={"_id": "uid-admin", "username": "admin"})
    ingest.store(Batch(messages=[events.message(corrected)]))

    assert Message.objects.get(rc_id=first["_id"]).text == "Corrected by an admin"


def test_what_is_heard_of_a_reply_before_its_end_is_not_remembered(room, agent):
    _, first = _reply(room, agent)

    Ingest().store(Batch(messages=[events.message(first), said("a person's words")]))

    assert Message.objects.get(rc_id=first["_id"]).remembered_at is not None
    assert Message.objects.get(text="a person's words").remembered_at is None


def test_a_reply_stored_before_anybody_heard_of_it_is_one_row(room, agent):
    row, first = _reply(room, agent)
    at = events.moment(first["ts"]["$date"])
    with transaction.atomic():
        store_reply(invocation=row, rc_id=first["_id"], text="All of it.", ts=at, updated_at=at)

    Ingest().store(Batch(messages=[events.message(first)]))

    assert Message.objects.filter(agent=agent).count() == 1
    assert Message.objects.get(agent=agent).text == "All of it."
