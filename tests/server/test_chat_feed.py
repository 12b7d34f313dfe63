"""Does the feed store everything it takes, whatever the database does meanwhile?"""

import asyncio
from typing import Any

import pytest

from gateway.chat import feed as feeding
from gateway.chat.database import DatabaseDownError
from gateway.chat.feed import Feed
from gateway.ingest import Batch, Outcome
from tests.server.chat_words import said


class FakeDatabase:
    """Keeps the batches it is given; `failures` first."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.batches: list[Batch] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self, step):
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise DatabaseDownError("away")
        self.batches.append(step.args[0])
        return Outcome(stored=len(step.args[0].messages), unknown={"elsewhere"})


class FakeIngest:
    def store(self, batch):
        raise AssertionError("the fake database does not call it")


@pytest.fixture
async def world(monkeypatch):
    monkeypatch.setattr(feeding, "backoff", lambda **_: iter([0.0] * 10))
    database = FakeDatabase()
    # Stand-ins by shape: the feed calls one method of each.
    fakes: dict[str, Any] = {"database": database, "ingest": FakeIngest()}
    feed = Feed(**fakes)
    running = asyncio.create_task(feed.run())
    yield feed, database
    running.cancel()


async def test_what_comes_during_a_commit_is_the_next_batch(world):
    feed, database = world
    database.gate.clear()
    feed.offer(said("one"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for text in ("two", "three", "four"):
        feed.offer(said(text))

    database.gate.set()
    await feed.idle()

    assert [[one.text for one in batch.messages] for batch in database.batches] == [["one"], ["two", "three", "four"]]


async def test_the_same_version_from_several_accounts_is_handed_in_once(world):
    feed, database = world
    message = said("one")

    feed.offer(message)
    feed.offer(message)
    await feed.idle()
    feed.offer(message)
    await feed.store(Batch(messages=[message]))

    assert [len(batch.messages) for batch in database.batches] == [1]


async def test_a_database_that_is_away_only_delays(world):
    feed, database = world
    database.failures = 3

    feed.offer(said("one"))
    await feed.idle()

    assert len(database.batches) == 1
    assert feed.counts["database_down"] == 3


async def test_catch_up_waits_for_its_own_commit_even_if_the_message_is_on_its_way(world):
    feed, database = world
    message = said("one")
    database.gate.clear()
    feed.offer(message)
    stored = asyncio.create_task(feed.store(Batch(messages=[message])))
    await asyncio.sleep(0)

    assert not stored.done()
    database.gate.set()
    await stored

    assert database.batches


async def test_above_the_bound_live_messages_are_dropped_and_named(world, monkeypatch):
    feed, database = world
    monkeypatch.setattr(feeding, "WAITING_MESSAGES", 2)
    database.gate.clear()

    taken = [feed.offer(said(str(number))) for number in range(3)]

    assert taken == [True, True, False]
    assert feed.counts["dropped"] == 1
    database.gate.set()


async def test_a_message_of_an_unknown_room_is_not_taken_for_stored(world):
    feed, database = world
    message = said("one", rid="elsewhere")
    feed.offer(message)
    await feed.idle()

    await feed.store(Batch(messages=[message]))

    assert len(database.batches) == 2


async def test_live_messages_never_keep_catch_up_waiting(world, monkeypatch):
    feed, database = world
    monkeypatch.setattr(feeding, "BATCH_MESSAGES", 2)
    database.gate.clear()
    for number in range(10):
        feed.offer(said(str(number)))
    stored = asyncio.create_task(feed.store(Batch(deleted=["x"])))
    await asyncio.sleep(0)

    database.gate.set()
    await stored

    assert len(database.batches) < 5
