"""Do the bridge as people run it and the gateway as hosts run it stay together through everything?"""

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys

import pytest
from asgiref.sync import sync_to_async

from gateway import invocations
from gateway.bridges import config_text
from gateway.invocations import approvals
from gateway.models import FINAL, Agent, Invocation, State
from gateway.models import Bridge as BridgeRow
from runtime import chunks
from tests.server.gateway_process import Gateway, environment, running_gateway
from tests.server.hub_world import World, until_state

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def gateway(request, tmp_path_factory, django_db_setup, django_db_blocker):
    directory = tmp_path_factory.mktemp("gateway")
    with django_db_blocker.unblock(), running_gateway(directory, server=request.param) as process:
        yield process


@pytest.fixture
def world(transactional_db):
    world = World()
    Agent.objects.filter(pk=world.agent.pk).update(cli_kind="echo", parallel=4)
    world.agent.refresh_from_db()
    return world


class Bridge:
    """`nexus-bridge run` with a scripted echo agent, in a directory of its own."""

    def __init__(self, directory, gateway: Gateway, world):
        self.config = directory / "bridge.toml"
        work = directory / "work"
        work.mkdir()
        text = config_text(
            hub=gateway.url,
            token=world.token,
            slug=world.agent.slug,
            cli="echo",
            workdir=str(work),
            journal=str(directory / "journal"),
        )
        text = f'{text}parallel = 4\n[agent.options]\nscripted = "true"\n[agent.policy]\ndefault = "ask"\n'
        self.config.touch(0o600)
        self.config.write_text(text)
        self.log = directory / "bridge.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self):
        env = {key: value for key, value in environment().items() if not key.startswith("NEXUS_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nexus_bridge", "run", "--config", str(self.config)],
                env=env,
                stdout=log,
                stderr=log,
            )

    def kill(self):
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()


@pytest.fixture
def bridge(tmp_path, gateway, world):
    bridge = Bridge(tmp_path, gateway, world)
    bridge.start()
    yield bridge
    bridge.stop()


async def online(world):
    async with asyncio.timeout(20):
        while not await sync_to_async(Agent.objects.online().exists)():
            await asyncio.sleep(0.05)


def is_whole(pk):
    """What is stored is what the bridge's digest says."""
    row = Invocation.objects.get(pk=pk)
    stored = chunks.since(invocation_id=pk)
    digest = hashlib.sha256("".join(chunk.payload for chunk in stored).encode()).hexdigest()
    return digest == row.output_sha256 and [chunk.seq for chunk in stored] == list(range(1, row.last_seq))


async def test_a_question_is_answered_and_the_hub_knows_how_strict_the_owner_is(gateway, world, bridge):
    await online(world)
    pk = await sync_to_async(world.ask)("what now? [[long 50]]")

    row = await until_state(world, pk, State.DONE, within_s=30)

    assert row.first_text_at is not None
    assert await sync_to_async(is_whole)(pk)
    told = (await BridgeRow.objects.aget(pk=world.bridge.pk)).policies
    assert told[world.agent.slug]["default"] == "ask"


async def test_many_at_once_are_all_whole(gateway, world, bridge):
    await online(world)
    pks = [await sync_to_async(world.ask)(f"{n} [[long 300]]", thread=f"t{n}") for n in range(4)]

    for pk in pks:
        await until_state(world, pk, State.DONE, within_s=40)
        assert await sync_to_async(is_whole)(pk)


async def test_a_stop_ends_a_hanging_run(gateway, world, bridge):
    await online(world)
    pk = await sync_to_async(world.ask)("[[hang]]")
    await until_state(world, pk, State.RUNNING, within_s=20)

    await sync_to_async(invocations.request_cancel)(invocation_id=pk, reason="stopped")

    await until_state(world, pk, State.CANCELLED, within_s=20)


async def test_a_permission_goes_to_the_room_and_back(gateway, world, bridge):
    await online(world)
    pk = await sync_to_async(world.ask)("[[permission rm -rf build]]")
    async with asyncio.timeout(20):
        while (
            await sync_to_async(approvals.decide)(invocation_id=pk, user=world.alice, allow=True)
            != approvals.Verdict.DECIDED
        ):
            await asyncio.sleep(0.1)

    await until_state(world, pk, State.DONE, within_s=20)


async def test_a_killed_bridge_comes_back_and_says_that_the_run_was_cut_off(gateway, world, bridge):
    await online(world)
    pk = await sync_to_async(world.ask)("[[long 20]] [[hang]]")
    await until_state(world, pk, State.RUNNING, within_s=20)

    await asyncio.to_thread(bridge.kill)
    bridge.start()

    row = await until_state(world, pk, State.INTERRUPTED, within_s=40)
    assert row.reason
    assert row.state in FINAL


async def test_a_gateway_that_is_killed_mid_stream_loses_nothing(tmp_path_factory, world, tmp_path, gateway):
    directory = tmp_path_factory.mktemp("other")
    server = "uvicorn" if "uvicorn" in str(gateway.process.args) else "daphne"
    with running_gateway(directory, server=server) as first:
        bridge = Bridge(tmp_path, first, world)
        bridge.start()
        try:
            await online(world)
            pk = await sync_to_async(world.ask)("[[long 400]] [[delay 2]] [[long 400]]")
            await until_state(world, pk, State.RUNNING, within_s=20)
            await asyncio.sleep(0.5)
            os.kill(first.process.pid, signal.SIGKILL)
            first.process.wait(10)
            with running_gateway(directory, server=server, port=first.port):
                row = await until_state(world, pk, State.DONE, within_s=60)
                assert row.crashes == 0
                assert await sync_to_async(is_whole)(pk)
        finally:
            await asyncio.to_thread(bridge.stop)
