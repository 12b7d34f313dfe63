"""One agent of Alice's behind a bridge with a real CLI, Bob who asks, and what became of it at the hub."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
from asgiref.sync import sync_to_async

from gateway.bridges import config_text
from gateway.invocations import approvals
from gateway.models import FINAL, Approval, Invocation
from nexus_bridge import events
from runtime import chunks
from tests.clis.conftest import program_of
from tests.clis.installing import node_env
from tests.clis.kits import Kit
from tests.server.hub_world import World

WITHIN_S = 180.0


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
