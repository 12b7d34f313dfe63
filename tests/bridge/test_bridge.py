"""The whole bridge as its owner runs it: a process with a configuration file, against a hub in memory."""

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nexus_bridge import config, events, tokens
from nexus_bridge.bridge import run_bridge
from nexus_bridge.errors import CredentialsRefused
from nexus_bridge.protocol import Bye, Cancel, Decision
from nexus_bridge.view import View
from tests.fakes.hub import FakeHub, prompt_for

pytestmark = pytest.mark.timeout(60)

TOKEN = tokens.make(kind="nxb", secret=b"a" * 32)


def asked(text: str) -> str:
    """A prompt as the composer writes it, in short."""
    return f"~q7 # Question\n~q7 bob: {text}"


class RunningBridge:
    """`nexus-bridge run` as a child process, with an echo agent."""

    def __init__(self, *, directory: Path, hub: FakeHub, grace_s: float = 0.2) -> None:
        self.directory = directory
        self.config = directory / "bridge.toml"
        self.journal = directory / "journal"
        workdir = directory / "work"
        workdir.mkdir(exist_ok=True)
        self.config.write_text(
            f'hub = "{hub.url}"\ntoken = "{TOKEN}"\njournal = "{self.journal}"\n'
            f"[limits]\nstop_grace_s = {grace_s}\n"
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

    async def shows(self, text: str) -> None:
        """Read its terminal up to there."""
        assert self.process is not None
        assert self.process.stdout is not None
        while text not in self.output:
            line = await self.process.stdout.readline()
            assert line, f"it ended: {self.output}"
            self.output += line.decode()

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

    row = await hub.offer(prompt_for(7, text=asked("say hello to Bob")))
    await hub.until(lambda: row.end is not None)

    assert row.end is not None
    assert row.end.outcome == "done", row.end
    assert row.is_whole
    assert "hello" in row.text


async def test_a_cancel_stops_the_turn_and_the_cli_stays_for_the_next(hub: FakeHub, bridge: RunningBridge) -> None:
    await hub.connected()
    row = await hub.offer(prompt_for(7, text=asked("[[think hard]] [[delay 60]] never")))
    await hub.until(lambda: bool(row.chunks))

    await hub.send(Cancel(invocation=7, fence=1, reason="stopped by bob"))
    await hub.until(lambda: row.end is not None)
    after = await hub.offer(prompt_for(8, text=asked("still there?")))
    await hub.until(lambda: after.end is not None)

    assert row.end is not None
    assert (row.end.outcome, row.end.reason) == ("cancelled", "stopped by bob")
    assert after.is_whole
    assert "still there?" in after.text


async def test_a_cli_that_does_not_stop_is_killed(hub: FakeHub, bridge: RunningBridge) -> None:
    await hub.connected()
    row = await hub.offer(prompt_for(7, text=asked("[[think hard]] [[hang]]")))
    await hub.until(lambda: bool(row.chunks))

    await hub.send(Cancel(invocation=7, fence=1))
    await hub.until(lambda: row.end is not None, within_s=9)

    assert row.end is not None
    assert row.end.outcome == "cancelled"


async def test_a_crash_of_the_cli_is_a_failed_run_with_a_sentence(hub: FakeHub, bridge: RunningBridge) -> None:
    await hub.connected()

    row = await hub.offer(prompt_for(7, text=asked("[[think hard]] [[crash]]")))
    await hub.until(lambda: row.end is not None)

    assert row.end is not None
    assert (row.end.outcome, row.end.reason) == ("failed", "crash")
    assert row.end.message


async def test_a_permission_goes_to_the_hub_and_its_answer_to_the_cli(hub: FakeHub, bridge: RunningBridge) -> None:
    await hub.connected()
    row = await hub.offer(prompt_for(7, text=asked("[[permission rm -rf build]] done?")))
    await hub.until(lambda: any(chunk.kind == "permission" for chunk in row.chunks))
    question = next(events.decode(chunk.payload) for chunk in row.chunks if chunk.kind == "permission")
    assert isinstance(question, events.Permission)

    await hub.send(Decision(invocation=7, fence=1, permission=question.id, allow=True, by="alice"))
    await hub.until(lambda: row.end is not None)

    assert question.detail == "rm -rf build"
    assert row.end is not None
    assert row.end.outcome == "done"


async def test_a_killed_bridge_comes_back_and_says_what_became_of_its_run(hub: FakeHub, bridge: RunningBridge) -> None:
    await hub.connected()
    row = await hub.offer(prompt_for(7, text=asked("[[think hard]] [[delay 60]] never")))
    await hub.until(lambda: bool(row.chunks))

    bridge.signal(signal.SIGKILL)
    await bridge.stopped()
    await bridge.start()
    await hub.until(lambda: row.end is not None)
    again = await hub.offer(prompt_for(7, text=asked("[[think hard]] [[delay 60]] never")))
    await hub.until(lambda: again.refused is not None)

    assert row.end is not None
    assert (row.end.outcome, row.end.reason) == ("interrupted", "bridge_restarted")
    assert row.is_whole
    assert again.refused is not None
    assert again.refused.reason == "already_run"


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks for processes in /proc")
async def test_a_killed_bridge_leaves_no_cli_behind(hub: FakeHub, bridge: RunningBridge) -> None:
    await hub.connected()
    row = await hub.offer(prompt_for(7, text=asked("[[think hard]] [[hang]]")))
    await hub.until(lambda: bool(row.chunks))
    before = processes_in(bridge.directory / "work")

    bridge.signal(signal.SIGKILL)
    await bridge.stopped()

    assert before
    async with asyncio.timeout(10):
        while processes_in(bridge.directory / "work"):
            await asyncio.sleep(0.05)


async def test_sigterm_ends_live_turns_as_interrupted_and_tells_the_hub(hub: FakeHub, bridge: RunningBridge) -> None:
    await hub.connected()
    row = await hub.offer(prompt_for(7, text=asked("[[think hard]] [[delay 60]] never")))
    await hub.until(lambda: bool(row.chunks))

    bridge.signal(signal.SIGTERM)
    code = await bridge.stopped()

    assert code == 0, bridge.output
    assert row.end is not None
    assert (row.end.outcome, row.end.reason) == ("interrupted", "bridge_stopped")


async def test_a_second_signal_is_immediate(hub: FakeHub, tmp_path: Path) -> None:
    bridge = RunningBridge(directory=tmp_path, hub=hub, grace_s=3_600)
    await bridge.start()
    await hub.connected()
    row = await hub.offer(prompt_for(7, text=asked("[[think hard]] [[hang]]")))
    await hub.until(lambda: bool(row.chunks))

    bridge.signal(signal.SIGTERM)
    await bridge.shows("stopping: live turns have 3600 s")
    bridge.signal(signal.SIGTERM)
    code = await bridge.stopped()

    assert code == 130
    assert row.end is None


async def test_a_revoked_token_ends_the_bridge_with_a_sentence(hub: FakeHub, bridge: RunningBridge) -> None:
    await hub.connected()

    await hub.send(Bye(reason="revoked", reconnect=False))
    code = await bridge.stopped()

    assert code == 77
    assert "the bridge token was revoked" in bridge.output
    assert "Traceback" not in bridge.output


async def test_the_terminal_shows_who_asks_whom_and_how_it_ended(hub: FakeHub, bridge: RunningBridge) -> None:
    await hub.connected()
    row = await hub.offer(prompt_for(7, text=asked("a secret question")))
    await hub.until(lambda: row.end is not None)

    bridge.signal(signal.SIGTERM)
    await bridge.stopped()

    assert f"connected to {hub.url}" in bridge.output
    assert "#7: bob in #general asks echo-alice" in bridge.output
    assert "#7 echo-alice: done after" in bridge.output
    assert "a secret question" not in bridge.output


async def test_the_parts_fit_together_in_one_process(hub: FakeHub, tmp_path: Path) -> None:
    """What the other tests do with a process, where its lines can be counted."""
    written = RunningBridge(directory=tmp_path, hub=hub)
    found = config.load(path=written.config, env=os.environ)
    screen = io.StringIO()
    running = asyncio.create_task(run_bridge(config=found, view=View(out=screen), env=os.environ))
    await hub.connected()

    row = await hub.offer(prompt_for(7, text=asked("say hello to Bob")))
    await hub.until(lambda: row.end is not None)
    await hub.send(Bye(reason="revoked", reconnect=False))

    with pytest.raises(CredentialsRefused):
        await running
    assert row.is_whole
    assert "#7 echo-alice: done" in screen.getvalue()


def processes_in(directory: Path) -> list[str]:
    """Every process that works there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == directory:
                found.append(process.name)
    return found
