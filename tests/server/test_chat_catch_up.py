"""Does catch-up read everything, once, and move a cursor only past what is stored?"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from gateway.chat.catch_up import OVERLAP_MS, PAGE, CatchUp
from gateway.chat.database import DatabaseThread
from gateway.chat.feed import Feed
from gateway.ingest import Ingest
from gateway.models import Message, RoomCursor, SetAside
from gateway.rocketchat.events import ChatMessage, moment
from gateway.rocketchat.rest import Deletion, Page, RefusedError, UnauthorizedError, UnreachableError
from tests.server.chat_words import said
from tests.server.people import make_room

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]

RID = "rid-backend"


@dataclass
class FakeRest:
    """A room's messages as chat.syncMessages gives them, its flaw included: a page skips what shares its last moment."""

    messages: list[ChatMessage] = field(default_factory=list)
    deletions: list[Deletion] = field(default_factory=list)
    bad: list = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    calls: int = 0

    async def changed(self, *, rid, after_ms, count):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        found = sorted((one for one in self.messages if one.updated > after_ms), key=lambda one: one.updated)
        following = found[count - 1].updated if len(found) > count else None
        return Page(messages=found[:count], bad=self.bad, next=following)

    async def changed_since(self, *, rid, since):
        return Page(messages=list(self.messages), bad=[], next=None), self.deletions

    async def deleted(self, *, rid, after_ms, count):
        return [one for one in self.deletions if one.at > after_ms], None


@dataclass(eq=False)
class Reader:
    rest: Any
    ready_ms: int = 0


@dataclass
class World:
    reader: Reader
    catch_up: CatchUp
    heard: list[str]

    async def read(self, *, is_forced: bool = True) -> None:
        self.catch_up.request(RID, is_forced=is_forced)
        await self.catch_up._one(await self.catch_up._queue.get())
        self.catch_up._waiting.clear()


@pytest.fixture
async def world(db):
    room = await sync_to_async(make_room)()
    start = timezone.now() - timedelta(hours=1)
    await RoomCursor.objects.acreate(room=room, updated_to=start, deleted_to=start)
    thread = DatabaseThread(name="test")
    feed = Feed(database=thread, ingest=Ingest())
    running = asyncio.create_task(feed.run())
    reader = Reader(FakeRest())
    heard: list[str] = []
    catch_up = CatchUp(
        feed=feed,
        database=thread,
        reader_of=lambda _rid: reader,
        on_unauthorized=lambda _reader, reason: heard.append(f"unauthorized: {reason}"),
        on_refused=lambda _reader, rid: heard.append(f"refused: {rid}"),
        on_unheard=lambda _reader: heard.append("unheard"),
    )
    yield World(reader, catch_up, heard)
    running.cancel()
    thread.close()


def _now_ms() -> int:
    return int(timezone.now().timestamp() * 1000)


def _spoken(count, *, step_ms=1):
    start = _now_ms() - 600_000
    return [
        said(f"message {number}", ts={"$date": start}, _updatedAt={"$date": start + number * step_ms})
        for number in range(count)
    ]


async def test_all_pages_are_read_and_the_cursor_follows(world):
    world.reader.rest.messages = _spoken(5 * PAGE + 7)

    await world.read()

    assert await Message.objects.acount() == 5 * PAGE + 7
    cursor = await RoomCursor.objects.aget()
    assert cursor.updated_to == moment(world.reader.rest.messages[-1].updated)
    assert cursor.caught_up_at is not None


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])
async def test_messages_of_one_millisecond_are_not_lost_between_pages(world, count):
    world.reader.rest.messages = _spoken(count, step_ms=0)

    await world.read()

    assert await Message.objects.acount() == count


async def test_a_moment_that_spans_two_pages_is_read_whole(world):
    many = _spoken(PAGE + PAGE // 2)
    same = [said("late", ts={"$date": many[0].ts}, _updatedAt={"$date": many[PAGE - 1].updated}) for _ in range(20)]
    world.reader.rest.messages = many + same

    await world.read()

    assert await Message.objects.acount() == len(many) + 20


async def test_what_was_read_before_is_read_again_within_the_overlap_and_stored_once(world):
    world.reader.rest.messages = _spoken(3)
    await world.read()
    late = said("stored late by the chat", ts={"$date": world.reader.rest.messages[0].ts})
    late = type(late)(
        **{name: getattr(late, name) for name in late.__slots__}
        | {"updated": world.reader.rest.messages[0].updated + 1 - OVERLAP_MS // 2}
    )
    world.reader.rest.messages.append(late)

    await world.read()

    assert await Message.objects.acount() == 4


async def test_a_message_from_the_future_does_not_carry_the_cursor_away(world):
    future = said("tomorrow", ts={"$date": _now_ms()}, _updatedAt={"$date": _now_ms() + 86_400_000})
    world.reader.rest.messages = [future]

    await world.read()

    assert await Message.objects.acount() == 1
    assert (await RoomCursor.objects.aget()).updated_to <= timezone.now()


async def test_a_room_that_another_process_has_just_read_is_passed_over(world):
    await RoomCursor.objects.aupdate(caught_up_at=timezone.now())

    await world.read(is_forced=False)
    assert world.reader.rest.calls == 0
    await world.read()

    assert world.reader.rest.calls == 1


async def test_deletions_are_followed(world):
    world.reader.rest.messages = _spoken(2)
    await world.read()
    world.reader.rest.deletions = [Deletion(rc_id=world.reader.rest.messages[0].rc_id, at=_now_ms())]

    await world.read()

    assert await Message.objects.filter(deleted_at__isnull=False).acount() == 1


async def test_a_document_that_cannot_be_read_does_not_hold_the_cursor(world):
    world.reader.rest.messages = _spoken(2)
    world.reader.rest.bad = [({"_id": "bad1", "rid": RID}, "message_without_u")]

    await world.read()

    assert await Message.objects.acount() == 2
    assert (await SetAside.objects.aget()).reason == "message_without_u"
    assert (await RoomCursor.objects.aget()).caught_up_at is not None


@pytest.mark.parametrize(
    ("error", "heard"),
    [
        (UnauthorizedError("no"), ["unauthorized: no"]),
        (RefusedError(status=400, codes=frozenset(), text="x"), [f"refused: {RID}"]),
        (UnreachableError("away"), []),
    ],
)
async def test_an_error_leaves_the_cursor_where_it_was(world, error, heard):
    before = await RoomCursor.objects.aget()
    world.reader.rest.errors = [error]

    await world.read()

    after = await RoomCursor.objects.aget()
    assert (after.updated_to, after.caught_up_at) == (before.updated_to, None)
    assert world.heard == heard


async def test_what_no_connection_has_told_is_noticed(world):
    world.reader.ready_ms = _now_ms() - 3_600_000
    world.reader.rest.messages = _spoken(1)

    await world.read()

    assert world.heard == ["unheard"]


async def test_what_came_before_the_connection_was_ready_is_no_reason_for_doubt(world):
    world.reader.ready_ms = _now_ms()
    world.reader.rest.messages = _spoken(1)

    await world.read()

    assert world.heard == []


async def test_requests_for_one_room_are_one(world):
    for _ in range(5):
        world.catch_up.request(RID)

    assert world.catch_up._queue.qsize() == 1


async def test_several_workers_never_read_one_room_at_once(world):
    world.reader.rest.messages = _spoken(2 * PAGE)
    running = asyncio.create_task(world.catch_up.run())
    world.catch_up.request(RID)

    async def is_done():
        while (await RoomCursor.objects.aget()).caught_up_at is None:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(is_done(), 10)
    running.cancel()

    assert await Message.objects.acount() == 2 * PAGE
