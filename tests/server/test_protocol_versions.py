"""Do a bridge of this protocol version and one of a version before work at one hub, at the same time?

tests/testdata/protocol-1.json holds what a strict reader of version 1 knows: for each frame its fields. It is never changed.
"""

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest
from asgiref.sync import sync_to_async

from gateway import invocations
from gateway.models import Bridge, State
from nexus_bridge.protocol import VERSIONS, output_digest
from nexus_project.version import VERSION
from tests.server import people
from tests.server.gateway_process import hello, raw_socket, running_gateway
from tests.server.hub_world import World, chunk, text, until_state

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]

ROOT = Path(__file__).resolve().parents[2]
KNOWN_TO_1 = json.loads((ROOT / "tests/testdata/protocol-1.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), running_gateway(tmp_path_factory.mktemp("gateway")) as process:
        yield process


def unknown_to_1(frame):
    """Fields at which a bridge of version 1 would stumble."""
    return sorted(set(frame) - set(KNOWN_TO_1[frame["type"]]))


def offer(world, agent):
    row = people.ask(world.room, world.bob, agent)
    pk = world.compose(row.pk)
    assert invocations.offer(invocation_id=pk)
    return pk


async def told(bridge, agents=1):
    """What the hub knows of the bridge's rules, once it knows that of so many agents."""
    async with asyncio.timeout(10):
        while len((found := await Bridge.objects.aget(pk=bridge.pk)).policies) < agents:
            await asyncio.sleep(0.02)
    return found.policies


async def whole_turn(gateway, world, *, token, agent, versions):
    """Greeted, asked, answered; returns every frame the hub said."""
    async with raw_socket(gateway, token) as bridge:
        await bridge.send(**hello(agent) | {"versions": versions})
        welcome = await bridge.until("welcome")
        bridge.session = welcome["session"]
        pk = await sync_to_async(offer)(world, agent)
        prompt = await bridge.until("prompt", invocation=pk)
        run = {"invocation": pk, "fence": prompt["fence"]}
        await bridge.send(type="accepted", **run)
        await bridge.send(type="chunks", chunks=[chunk(1, text("hi"))], **run)
        await bridge.send(type="end", seq=2, outcome="done", sha256=output_digest([text("hi")]), **run)
        await bridge.until("ack", seq=2)
        await bridge.send(type="heartbeat", at=1.0)
        await bridge.until("heartbeat")
        await until_state(world, pk, State.DONE)
        return welcome, bridge.seen


@pytest.mark.parametrize(("spoken", "unknown"), [([1], {}), ([2, 1], {"welcome": ["hub_version"]})])
async def test_the_newest_version_and_one_before_work_side_by_side(gateway, transactional_db, spoken, unknown):
    world = await sync_to_async(World)()
    dora = await sync_to_async(world.second_bridge)()

    (old, said_to_old), (new, _) = await asyncio.gather(
        whole_turn(gateway, world, token=world.token, agent=world.agent, versions=spoken),
        whole_turn(gateway, world, token=dora.token, agent=dora.agent, versions=list(VERSIONS)),
    )

    assert (old["version"], new["version"]) == (spoken[0], 3)
    assert new["hub_version"] == VERSION
    assert {frame["type"]: unknown_to_1(frame) for frame in said_to_old if unknown_to_1(frame)} == unknown


async def test_a_bridge_of_version_3_tells_its_policies_and_a_new_hello_forgets_them(gateway, transactional_db):
    world = await sync_to_async(World)()
    slug = world.agent.slug

    async with raw_socket(gateway, world.token) as bridge:
        await bridge.send(**hello(world.agent) | {"versions": list(VERSIONS)})
        await bridge.until("welcome")
        await bridge.send(type="policy", agent=slug, default="local", deny={"rules": 2, "tools": ["Bash"]}, rooms=1)
        found = await told(world.bridge)
    async with raw_socket(gateway, world.token) as bridge:
        await bridge.send(**hello(world.agent) | {"versions": [2]})
        await bridge.until("welcome")

    nothing = {"rules": 0, "tools": []}
    counts = {"deny": {"rules": 2, "tools": ["Bash"]}, "local": nothing, "ask": nothing, "allow": nothing}
    assert found == {slug: {"default": "local", **counts, "callers": 0, "rooms": 1, "permission_s": 600}}
    assert (await Bridge.objects.aget(pk=world.bridge.pk)).policies == {}


@pytest.mark.parametrize(("version", "agents"), [(2, ["own"]), (3, ["own", "own"]), (3, ["claude-dora"])])
async def test_a_policy_that_nobody_waits_for_is_refused_and_harms_nothing(gateway, transactional_db, version, agents):
    world = await sync_to_async(World)()

    async with raw_socket(gateway, world.token) as bridge:
        await bridge.send(**hello(world.agent) | {"versions": [version]})
        await bridge.until("welcome")
        for agent in agents:
            await bridge.send(type="policy", agent=world.agent.slug if agent == "own" else agent)
        refused = await bridge.until("error")
        await bridge.send(type="heartbeat", at=1.0)
        await bridge.until("heartbeat")
        kept = await told(world.bridge, agents=len(agents) - 1)

    assert (refused["code"], refused["about"]) == ("protocol_error", "policy")
    assert set(kept) <= {world.agent.slug}


async def test_a_bridge_of_the_version_after_this_one_falls_back(gateway, transactional_db):
    world = await sync_to_async(World)()

    async with raw_socket(gateway, world.token) as bridge:
        await bridge.send(**hello(world.agent) | {"versions": [4, 3]})
        welcome = await bridge.until("welcome")

    assert welcome["version"] == 3
    bridge_row = await Bridge.objects.aget(pk=world.bridge.pk)
    assert bridge_row.client_version == "test"


def test_the_versions_that_are_spoken_follow_each_other():
    assert tuple(range(VERSIONS[0], VERSIONS[-1] - 1, -1)) == VERSIONS
    assert len(VERSIONS) > 1


def test_every_part_of_nexus_has_the_same_version(gateway):
    packages = [ROOT / "pyproject.toml", ROOT / "bridge_client/pyproject.toml"]
    found = [re.search(r'^version = "(.*)"', path.read_text(encoding="utf-8"), re.MULTILINE) for path in packages]
    bridge = re.search(r'__version__ = "(.*)"', (ROOT / "bridge_client/src/nexus_bridge/__init__.py").read_text())

    assert {match.group(1) for match in (*found, bridge) if match} == {VERSION}
    assert httpx.get(f"{gateway.url}/healthz").json()["version"] == VERSION
    assert f"version={VERSION}" in gateway.log.read_text(encoding="utf-8")
