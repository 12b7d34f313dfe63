"""May a Nexus have two of everything, and lose one of each, without losing anything else?

Two gateways behind a proxy, two composers, runtimes, chat processes that share the bots out, sweeps of which one leads. The short
form kills the first of each, once, and leaves it dead; FAULTS_LONG=1 (`make faults`) kills one of each again and again.
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from docker.ports import answers, free_ports
from tests.faults import load, oracle
from tests.faults.load import Plan, Said
from tests.faults.test_faults import HOST_AGENT, SETTINGS, deaf_agents, rest
from tests.world.proxy import Proxy
from tests.world.twins import add_twin
from tests.world.world import Room, World

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

KINDS: Final = ("gateway", "chat", "composer", "runtime", "sweep")
OWNERS: Final = ("alice", "dora")
ROOMS: Final = {"ops": ("alice", "bob", "dora"), "backend": ("bob", "alice")}
PACE_MS: Final = 30
BACK_S: Final = 12.0
"""The long form brings a killed one back after this, before its twin is killed."""


@dataclass(frozen=True, slots=True)
class Size:
    invocations: int
    duration_s: float
    rounds: int
    settle_s: float


SHORT: Final = Size(invocations=16, duration_s=8, rounds=1, settle_s=90)
LONG: Final = Size(invocations=150, duration_s=150, rounds=5, settle_s=240)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(port=free_ports(1)[0]) as made:
        yield made


@pytest.mark.timeout(300)
def test_one_of_each_pair_may_die_and_the_other_goes_on(tmp_path: Path, proxy: Proxy) -> None:
    _run(tmp_path, proxy=proxy, size=SHORT, seed=int(os.environ.get("FAULTS_SEED", "1")))


@pytest.mark.skipif("FAULTS_LONG" not in os.environ, reason="takes minutes: `make faults` runs it")
@pytest.mark.timeout(1200)
def test_one_of_each_pair_may_die_again_and_again(tmp_path: Path, proxy: Proxy) -> None:
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randint(1, 9_999))
    print(f"\ngrowth with seed {seed}; replay with: make faults SEED={seed}")
    _run(tmp_path, proxy=proxy, size=LONG, seed=seed)


def _run(directory: Path, *, proxy: Proxy, size: Size, seed: int) -> None:
    settings = {**SETTINGS, "NEXUS_PUBLIC_URL": proxy.url}
    world = World(directory=directory / "world", settings=settings, front_url=proxy.url)
    proxy.ports.append(world.stack.ports.gateway)
    world.start()
    try:
        _grow(world, proxy)
        rooms = _people_the_world(world)
        _wait_shared_out(world)
        plan = load.make_plan(
            seed=seed,
            invocation_count=size.invocations,
            duration_s=size.duration_s,
            rooms=ROOMS,
            agents=[*sorted(world.agents), HOST_AGENT],
        )

        said = _live_through(world, rooms=rooms, plan=plan, size=size)
        truth = rest(world, rooms=rooms, plan=plan, said=said, timeout_s=size.settle_s)

        found = oracle.problems(truth=truth, plan=plan, said=said) + deaf_agents(world, rooms["ops"])
        found += [] if _leaders(world) == 1 else [f"{_leaders(world)} sweeps lead"]
    finally:
        left = world.stop()
    found += [f"left running: {process}" for process in left]
    assert not found, "\n".join([f"seed {seed}", *found[:40], f"logs: {directory / 'world' / 'state' / 'log'}"])


def _people_the_world(world: World) -> dict[str, Room]:
    for owner in OWNERS:
        world.release_bridge(world.agent(owner=owner, parallel=2, pace_ms=PACE_MS, is_started=False))
    rooms = {name: world.room(name, owner=people[0], members=list(people[1:])) for name, people in ROOMS.items()}
    world.wait_online(*world.agents, HOST_AGENT)
    for name, room in rooms.items():
        world.invite(room, owner=ROOMS[name][0], slugs=[*sorted(world.agents), HOST_AGENT])
    return rooms


def _grow(world: World, proxy: Proxy) -> None:
    """Before there are bridges, so that they find both gateways."""
    ports = {name: int(add_twin(world, name)) for name in KINDS}
    proxy.ports.append(ports["gateway"])
    world.until(lambda: answers(ports["gateway"]), what="the second gateway listens", timeout_s=60)


def _wait_shared_out(world: World) -> None:
    """Each of both has something to lose."""
    holders = "SELECT count(DISTINCT lease_owner) AS n FROM bot_accounts WHERE lease_until > now()"
    gateways = "SELECT count(DISTINCT gateway) AS n FROM bridges WHERE lease_until > now() AND session <> ''"
    world.until(lambda: world.query(holders)[0]["n"] == 2, what="two chat processes share the bots out", timeout_s=60)
    world.until(lambda: world.query(gateways)[0]["n"] == 2, what="bridges sit at both gateways", timeout_s=60)
    assert _leaders(world) == 1


def _leaders(world: World) -> int:
    return int(
        world.query("SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND objid = 1853387639")[0]["n"]
    )


def _live_through(world: World, *, rooms: dict[str, Room], plan: Plan, size: Size) -> Said:
    killing = threading.Thread(target=_kill_in_turn, args=(world, size), name="killing")
    killing.start()
    try:
        return load.say_all(plan=plan, world=world, rooms=rooms)
    finally:
        killing.join()


def _kill_in_turn(world: World, size: Size) -> None:
    """One of each kind after the other; the next round kills the twins, once the killed are back."""
    gap_s = size.duration_s / (size.rounds * (len(KINDS) + 1))
    for number in range(size.rounds):
        victims = [kind if number % 2 == 0 else f"{kind}-2" for kind in KINDS]
        for victim in victims:
            time.sleep(gap_s)
            world.stack.kill(victim)
            # Dead it stays: whatever goes on is done by its twin.
            world.stack.take_down(victim)
        if number + 1 < size.rounds:
            time.sleep(gap_s)
            for victim in victims:
                world.stack.bring_up(victim)
            time.sleep(BACK_S)
