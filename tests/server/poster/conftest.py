"""Bob asks Alice's agent in the room #backend, where one poster speaks to a fake chat."""

import pytest

from tests.fakes.chat import FakeChat, FakeClock
from tests.server import people
from tests.server.posting import Desk, hold, in_db, start


@pytest.fixture
def bob():
    return people.make_user("bob")


@pytest.fixture
def alice():
    return people.make_user("alice")


@pytest.fixture
def agent(alice):
    return people.make_agent("claude-alice", owner=alice, bridge=people.make_bridge(owner=alice), parallel=9)


@pytest.fixture
def room(bob):
    return people.make_room("backend", members=(bob,))


@pytest.fixture
def row(room, bob, agent):
    return start(people.ask(room, bob, agent))


@pytest.fixture
def chat():
    return FakeChat()


@pytest.fixture
async def desk(agent, chat):
    running = Desk(await in_db(hold)(agent.bot_account), chat, FakeClock())
    yield running
    await running.stop()
