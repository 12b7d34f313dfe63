"""Does each real CLI do through hub and bridge what it does in a terminal? One row per case, one column per CLI."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from asgiref.sync import sync_to_async

from gateway import invocations
from gateway.bridges import config_text
from gateway.invocations import approvals
from gateway.models import FINAL, Agent, Approval, Invocation, State
from nexus_bridge import events
from runtime import chunks
from tests.clis.conftest import program_of
from tests.clis.installing import node_env
from tests.clis.kits import KITS, Kit
from tests.clis.table import PASSED, TABLE
from tests.server.gateway_process import running_gateway
from tests.server.hub_world import World

pytestmark = [pytest.mark.real_cli, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

WITHIN_S = 90.0
EACH_KIT = pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.kind)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), running_gateway(tmp_path_factory.mktemp("gateway")) as process:
        yield process


@pytest.fixture(autouse=True)
def noted(request):
    """What became of this case goes into the table; a known hole is told and not run."""
    kit, case = request.getfixturevalue("kit"), request.node.originalname.removeprefix("test_")
    if reason := kit.holes.get(case):
        TABLE.note(kind=kit.kind, case=case, outcome="hole", why=reason)
        pytest.skip(f"known hole: {reason}")
    TABLE.note(kind=kit.kind, case=case, outcome="failed")
    yield
    if request.node.stash.get(PASSED, False):
        TABLE.note(kind=kit.kind, case=case, outcome="passed")


class Bench:
    """One agent of Alice's behind a bridge with the real CLI, and Bob who asks."""

    def __init__(self, kit: Kit, world: World, directory: Path, gateway, fake_api) -> None:
        self.kit, self.world, self.api = kit, world, fake_api
        self.home, self.project = directory / "home", directory / "project"
        self.home.mkdir()
        self.project.mkdir()
        (self.project / "notes.txt").write_text("the canary sings\n")
        self.config = directory / "bridge.toml"
        self.log = directory / "bridge.log"
        self.config.touch(0o600)
        self.config.write_text(self._config_text(directory, gateway, program_of(kit)))
        self.process: subprocess.Popen[bytes] | None = None

    def _config_text(self, directory: Path, gateway, program: str) -> str:
        text = config_text(
            hub=gateway.url,
            token=self.world.token,
            slug=self.world.agent.slug,
            cli=self.kit.kind,
            command=[program],
            workdir=str(self.project),
            journal=str(directory / "journal"),
        )
        env = {"PATH": node_env()["PATH"], **self.kit.env(url=self.api.url, home=self.home)}
        tables = {"env": env, "options": self.kit.options}
        for name, values in tables.items():
            text += f"[agent.{name}]\n" + "".join(f"{key} = '{value}'\n" for key, value in values.items())
        return f'{text}[agent.policy]\ndefault = "ask"\n'

    def start(self) -> None:
        env = {key: value for key, value in os.environ.items() if not key.startswith("NEXUS_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nexus_bridge", "run", "--config", str(self.config)],
                env={**env, "HOME": str(self.home)},
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            self.process.kill()

    def cli_processes(self) -> list[psutil.Process]:
        assert self.process is not None
        return [one for one in psutil.Process(self.process.pid).children(recursive=True) if one.is_running()]

    async def connected(self, *, times: int) -> None:
        async with asyncio.timeout(40):
            while self.log.read_text().count(" connected to") < times:
                await asyncio.sleep(0.05)

    # Questions

    async def ask(self, text: str) -> int:
        text = text.replace("NOTES", str(self.project / "notes.txt"))
        pk: int = await sync_to_async(self.world.ask)(text)
        return pk

    async def answer(self, text: str) -> tuple[Invocation, str]:
        pk = await self.ask(text)
        row = await self.until(pk, lambda row: row.state in FINAL)
        return row, await self.text(pk)

    async def until(self, pk: int, holds: Callable[[Invocation], bool]) -> Invocation:
        try:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    row: Invocation = await sync_to_async(self.world.row)(pk)
                    if holds(row):
                        return row
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{row.state} {row.reason}\n{self.log.read_text()[-2000:]}") from None

    async def said(self, pk: int) -> list[events.AnyEvent]:
        stored = await sync_to_async(lambda: chunks.since(invocation_id=pk))()
        return [event for chunk in stored if (event := events.decode(chunk.payload)) is not None]

    async def text(self, pk: int) -> str:
        return "".join(event.delta for event in await self.said(pk) if isinstance(event, events.Text))

    async def decide(self, pk: int, *, allow: bool, note: str = "") -> Approval:
        async with asyncio.timeout(WITHIN_S):
            while not await sync_to_async(Approval.objects.filter(invocation_id=pk, decision="").exists)():
                row = await sync_to_async(self.world.row)(pk)
                assert row.state not in FINAL, f"{row.state} {row.reason}: it never asked"
                await asyncio.sleep(0.05)
        verdict = await sync_to_async(approvals.decide)(
            invocation_id=pk, user=self.world.alice, allow=allow, note=note
        )
        assert verdict == approvals.Verdict.DECIDED
        return await sync_to_async(Approval.objects.filter(invocation_id=pk).latest)("pk")


@pytest.fixture
async def bench(kit, tmp_path, gateway, fake_api, transactional_db):
    world = await sync_to_async(World)()
    await sync_to_async(Agent.objects.filter(pk=world.agent.pk).update)(cli_kind=kit.kind)
    await sync_to_async(world.agent.refresh_from_db)()
    bench = await sync_to_async(Bench)(kit, world, tmp_path, gateway, fake_api)
    bench.start()
    await bench.connected(times=1)
    yield bench
    await asyncio.to_thread(bench.stop)


@EACH_KIT
async def test_text(kit, bench):
    row, text = await bench.answer("Say hello")

    assert row.state == State.DONE
    assert "You said: Bob:" in text
    assert row.input_tokens > 0


@EACH_KIT
async def test_tool(kit, bench):
    row, text = await bench.answer(f"Look {kit.read}")

    said = await bench.said(row.pk)
    assert row.state == State.DONE
    assert [event.ok for event in said if isinstance(event, events.ToolResult)] == [True]
    assert "Tool turns: 1" in text


@EACH_KIT
async def test_allowed(kit, bench):
    pk = await bench.ask(f"Do it {kit.touch}")
    asked = await bench.decide(pk, allow=True)
    row = await bench.until(pk, lambda row: row.state in FINAL)

    assert row.state == State.DONE
    assert "made.txt" in asked.detail
    assert (bench.project / "made.txt").exists()


@EACH_KIT
async def test_denied(kit, bench):
    pk = await bench.ask(f"Do it {kit.touch}")
    await bench.decide(pk, allow=False)
    row = await bench.until(pk, lambda row: row.state in FINAL)

    said = await bench.said(pk)
    assert row.state == State.DONE
    assert [event.denied for event in said if isinstance(event, events.ToolResult)] == [True]
    assert not (bench.project / "made.txt").exists()


@EACH_KIT
async def test_reason_of_a_no_reaches_the_model(kit, bench):
    pk = await bench.ask(f"Do it {kit.touch}")
    await bench.decide(pk, allow=False, note="never on a Friday")
    await bench.until(pk, lambda row: row.state in FINAL)

    assert any("never on a Friday" in body for body in bench.api.bodies())


@EACH_KIT
async def test_cancel(kit, bench):
    pk = await bench.ask("Slow [[delay 0.2]] [[long 400]]")
    await bench.until(pk, lambda row: row.first_text_at is not None)
    await sync_to_async(invocations.request_cancel)(invocation_id=pk, reason="stopped")
    row = await bench.until(pk, lambda row: row.state in FINAL)
    after, text = await bench.answer("And now?")

    assert row.state == State.CANCELLED
    assert after.state == State.DONE
    assert "And now?" in text


@EACH_KIT
async def test_error_401(kit, bench):
    row, _ = await bench.answer("Err [[http 401]]")

    assert (row.state, row.reason) == (State.FAILED, "auth")


@EACH_KIT
async def test_error_429(kit, bench):
    row, _ = await bench.answer("Err [[http 429]]")

    assert (row.state, row.reason) == (State.FAILED, "rate_limit")


@EACH_KIT
async def test_broken_stream(kit, bench):
    row, _ = await bench.answer("Err [[drop]]")

    assert row.state == State.FAILED
    assert row.reason in {"network", "overloaded", "unknown"}


@EACH_KIT
async def test_long_output(kit, bench):
    row, text = await bench.answer("Much [[long 5000]]")

    assert row.state == State.DONE
    assert [line for line in text.splitlines() if line] == [f"line {number} of 5000" for number in range(1, 5001)]


@EACH_KIT
async def test_resume_after_the_process_was_killed(kit, bench):
    first, _ = await bench.answer("My name is Alice")
    for process in bench.cli_processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    second, text = await bench.answer("Who am I?")

    assert (first.state, second.state) == (State.DONE, State.DONE)
    assert "Who am I?" in text
    assert "My name is Alice" in bench.api.bodies()[-1]


@EACH_KIT
async def test_resume_after_the_bridge_was_killed(kit, bench):
    await bench.answer("My name is Alice")
    await asyncio.to_thread(bench.kill)
    bench.start()
    await bench.connected(times=2)
    second, _ = await bench.answer("Who am I?")

    assert second.state == State.DONE
    assert any("My name is Alice" in body and "Who am I?" in body for body in bench.api.bodies())


@EACH_KIT
async def test_nothing_is_left_running(kit, bench):
    await bench.answer("Say hello")
    left = await asyncio.to_thread(bench.cli_processes)
    assert left
    await asyncio.to_thread(bench.stop)

    _, alive = await asyncio.to_thread(psutil.wait_procs, left, 10)
    assert alive == []
