"""One whole Nexus for all end-to-end tests of a run; each test has rooms and agents of its own."""

import itertools
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.collector import Collector
from tests.world.world import Bridged, Room, World

HOST_AGENT = "shell-echo"
_numbers = itertools.count(1)

MakeRoom = Callable[..., Room]


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Takes the spans of every process."""
    with Collector() as made:
        yield made


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[World]:
    """Running, its logs as JSON; when the last test is through, nothing of it may be left."""
    settings = {"NEXUS_BRIDGE_LEASE_S": "10", "NEXUS_LOG_FORMAT": "json", "NEXUS_TRACES_URL": collector.url}
    settings["NEXUS_MCP_COMMANDS"] = sys.executable
    with World(directory=tmp_path_factory.mktemp("nexus"), settings=settings).running() as made:
        made.wait_online(HOST_AGENT)
        yield made


@pytest.fixture(scope="session")
def echo(world: World) -> Bridged:
    """Alice's agent, for every test that does no harm to its bridge."""
    return world.agent(owner="alice", parallel=4, pace_ms=10)


@pytest.fixture
def make_room(world: World) -> MakeRoom:
    """A new room of Alice's with Bob and these agents in it."""

    def make(*slugs: str, is_private: bool = False) -> Room:
        room = world.room(f"room-{next(_numbers)}", owner="alice", members=["bob"], is_private=is_private)
        world.invite(room, owner="alice", slugs=list(slugs))
        return room

    return make
