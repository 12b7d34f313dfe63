"""Is a room edited at most once a second, however many agents speak there, and does nobody starve or fall silent?"""

import asyncio
import secrets
import socket
from collections import Counter
from typing import Any

import pytest
from django.conf import settings

from gateway.chat.desk import Desk
from gateway.chat.lane import RoomLane
from gateway.chat.pace import Gate
from gateway.chat.plan import LiveReply
from gateway.chat.room_pace import LONGEST_S, RedisPace, RoomPace
from gateway.models import State
from nexus_bridge import events
from runtime.reply import Ending, Names, Reply, Spent
from tests.fakes.chat import FakeChat, FakeClock

AGENTS = 4
STEPS = 4
"""A second of the clock, in steps."""

RID = "rid-backend"
NOBODY = Names(harmless=frozenset(), handover=frozenset())


class NoDatabase:
    """What is recorded is of no interest here."""

    async def run(self, step):
        await asyncio.sleep(0)


class Crew:
    """Several agents that answer in one room, each with a lane of its own, all of one process."""

    def __init__(self):
        self.chat, self.clock = FakeChat(), FakeClock()
        self.pace = RoomPace(clock=self.clock.now)
        self.settled: list[int] = []
        self.edits: list[int] = []
        self.replies = [self.reply(number) for number in range(AGENTS)]
        self.lanes = [self.lane(reply) for reply in self.replies]
        self.tasks = [asyncio.ensure_future(lane.run()) for lane in self.lanes]

    def reply(self, number):
        return LiveReply(
            invocation_id=number,
            room_id=1,
            rid=RID,
            thread="",
            is_quiet=False,
            wants_eyes=False,
            question="question",
            chat_id_of=lambda part: f"reply-{number}-{part}",
            started_at=self.clock.now(),
            names=NOBODY,
            reply=Reply(names=NOBODY),
        )

    def lane(self, reply):
        nobody: Any = None
        database: Any = NoDatabase()
        desk = Desk(
            account=nobody,
            chat=self.chat,
            database=database,
            gate=Gate(clock=self.clock),
            pace=self.pace,
            clock=self.clock,
            is_held=lambda: True,
        )
        lane = RoomLane(rid=RID, desk=desk, on_settled=self.settled.append)
        lane.replies[reply.invocation_id] = reply
        return lane

    async def say(self, text, *numbers):
        for number in numbers:
            self.replies[number].reply.feed(events.Text(delta=text))
        await self.quiet()

    async def end(self, *numbers):
        for number in numbers:
            self.replies[number].ending = Ending(state=State.DONE, spent=Spent())
            self.replies[number].state = State.DONE
        await self.quiet()

    async def quiet(self):
        """Until everybody waits for the clock."""
        for lane in self.lanes:
            lane.wake.set()
        still = 0
        async with asyncio.timeout(30):
            while still < 12:
                running = sum(not task.done() for task in self.tasks)
                still = still + 1 if self.clock.waiting == running else 0
                await asyncio.sleep(0)

    async def second(self):
        for _ in range(STEPS):
            before = len(self.chat.named("update"))
            self.clock.advance(1 / STEPS)
            await self.quiet()
            self.edits.append(len(self.chat.named("update")) - before)

    def most_in_a_second(self):
        return max(sum(self.edits[at : at + STEPS]) for at in range(len(self.edits)))

    async def stop(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def crew():
    made = Crew()
    yield made
    await made.stop()


class TestManyAgentsInOneRoom:
    async def test_they_share_one_edit_a_second_and_take_turns(self, crew):
        for number in range(3 * AGENTS):
            await crew.say(f"word {number} ", *range(AGENTS))
            await crew.second()

        edited = Counter(rc_id for _, rc_id, _ in crew.chat.named("update"))
        assert crew.most_in_a_second() == 1
        assert len(edited) == AGENTS
        assert min(edited.values()) >= 2

    async def test_what_ended_goes_before_what_still_runs(self, crew):
        await crew.say("begun ", *range(AGENTS))
        await crew.say("the end.", 0, 1, 2)
        await crew.say("and more", 3)
        await crew.end(0, 1, 2)

        for _ in range(AGENTS):
            await crew.second()

        edited = [rc_id for _, rc_id, _ in crew.chat.named("update")]
        assert crew.most_in_a_second() == 1
        assert sorted(edited[:3]) == ["reply-0-0", "reply-1-0", "reply-2-0"]
        assert edited[3:] == ["reply-3-0"]
        assert sorted(crew.settled) == [0, 1, 2]

    async def test_first_words_need_no_turn(self, crew):
        await crew.say("begun", *range(AGENTS))

        assert crew.chat.texts() == ["begun"] * AGENTS


@pytest.fixture
async def processes():
    """Makes so many of them."""
    opened: list[RedisPace] = []

    async def make(count):
        clock = asyncio.get_running_loop().time
        url = f"{settings.NEXUS_REDIS_URL}/2"
        opened.extend(RedisPace(url=url, clock=clock) for _ in range(count))
        return [RoomPace(clock=clock, shared=shared) for shared in opened]

    yield make
    for shared in opened:
        await shared.close()


@pytest.fixture
def rid():
    """A room that Redis has never heard of."""
    return f"rid-{secrets.token_hex(8)}"


class TestSharedByProcesses:
    """Each RoomPace stands for a process; they meet in Redis."""

    async def test_one_of_them_gets_the_moment(self, processes, rid):
        first, second = await processes(2)

        waits = await asyncio.gather(first.take(rid=rid, who="a"), second.take(rid=rid, who="b"))

        assert sorted(wait > 0 for wait in waits) == [False, True]
        assert max(waits) <= 1.1

    async def test_bookings_stand_a_second_apart_and_leave_nothing_to_others(self, processes, rid):
        first, second = await processes(2)

        waits = [await one.book(rid=rid) for one in (first, second, first, second)]
        left = await second.take(rid=rid, who="b")

        assert [round(wait) for wait in waits] == [0, 1, 2, 3]
        assert left > 2

    async def test_no_booking_waits_for_ever(self, processes, rid):
        [pace] = await processes(1)

        waits = [await pace.book(rid=rid) for _ in range(int(LONGEST_S) + 10)]

        assert max(waits) <= LONGEST_S

    async def test_a_redis_that_is_lost_silences_nobody(self):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            clock = FakeClock()
            shared = RedisPace(url=f"redis://127.0.0.1:{closed.getsockname()[1]}/2", clock=clock.now)
            pace = RoomPace(clock=clock.now, shared=shared)

            waits = [await pace.take(rid="lost", who="a"), await pace.take(rid="lost", who="a")]
            clock.advance(1)
            later = await pace.take(rid="lost", who="a")
            await shared.close()

        assert waits == [0.0, 1.0]
        assert later == 0.0

    async def test_a_redis_that_is_silent_is_asked_once_in_a_while(self):
        connected = 0

        async def accept(reader, writer):
            nonlocal connected
            connected += 1
            await reader.read()
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        clock = FakeClock()
        port = server.sockets[0].getsockname()[1]
        shared = RedisPace(url=f"redis://127.0.0.1:{port}/2", clock=clock.now)

        told = [await shared.ask(rid="silent", is_booking=True) for _ in range(5)]
        await shared.close()
        server.close()

        assert told == [None] * 5
        assert connected == 1
