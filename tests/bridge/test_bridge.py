"""The whole bridge as its owner runs it: a process with a configuration file, against a hub in memory."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nexus_bridge import tokens
from nexus_bridge.protocol import Cancel
from tests.fakes.hub import FakeHub, prompt_for

TOKEN = tokens.make(kind="nxb", secret=b"a" * 32)


class RunningBridge:
    """`nexus-bridge run` as a child process, with an echo agent."""

    def __init__(self, *, directory: Path, hub: FakeHub) -> None:
        self.directory = directory
        self.config = directory / "bridge.toml"
        self.journal = directory / "journal"
        workdir = directory / "work"
        workdir.mkdir(exist_ok=True)
        self.config.write_text(
            f'hub = "{hub.url}"\ntoken = "{TOKEN}"\njournal = "{self.journal}"\n'
            "[limits]\nstop_grace_s = 0.2\n"
            f'[[agent]]\nslug = "echo-alice"\ncli = "echo"\nworkdir = "{workdir}"\nparallel = 4\n'
            '[agent.options]\nscripted = "true"\n'
        )
        self.config.chmod(0o600)
        self.process: asyncio.subprocess.Process | None = None
        self.output = ""

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nexus_bridge", "run", "--config", str(self.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        self.output += (await self.process.communicate())[0].decode()

    async def stopped(self) -> int:
        assert self.process is not None
        self.output += (await self.process.communicate())[0].decode()
        assert self.process.returncode is not None
        return self.process.returncode

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with FakeHub().running() as hub:
        hub.token = TOKEN
        yield hub
        assert hub.errors == []


@pytest.fixture
async def bridge(hub: FakeHub, tmp_path: Path) -> AsyncIterator[RunningBridge]:
    bridge = RunningBridge(directory=tmp_path, hub=hub)
    await bridge.start()
    yield bridge
    await bridge.kill()


async def test_echo_answers_through_the_whole_bridge(hub: FakeHub, bridge: RunningBridge) -> None:
    await hub.connected()

    row = await hub.offer(prompt_for(7, text="say hello to Bob"))
    await hub.until(lambda: row.end is not None)

    assert row.end is not None
    assert row.end.outcome == "done", row.end
    assert row.is_whole
    assert "hello" in row.text
