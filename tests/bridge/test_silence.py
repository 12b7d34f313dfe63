"""Is a CLI that waits for input told from one that is merely silent?"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nexus_bridge import guard, silence
from nexus_bridge.adapters.base import Spawn
from nexus_bridge.process import Process
from tests.bridge.trees import Transport, eventually

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not silence.is_visible(), reason="this machine does not show what a process waits for"),
]


@pytest.fixture
async def started() -> AsyncIterator[list[Process]]:
    processes: list[Process] = []
    yield processes
    for process in processes:
        await process.kill()


async def start(started: list[Process], script: str, transport: Transport = "pipes") -> Process:
    env = {"PATH": os.environ["PATH"]}
    spawn = Spawn(argv=["/bin/sh", "-c", script], env=env, cwd=Path("/"), transport=transport)
    started.append(await Process.start(spawn))
    return started[-1]


def named(process: Process, name: str) -> list[int]:
    """Its descendants that run this program."""
    below = [process.pid, *guard.descendants(process.pid)]
    return [pid for pid in below if Path(f"/proc/{pid}/comm").read_text().strip() == name]


@pytest.mark.parametrize("transport", ["pipes", "pty"])
@pytest.mark.parametrize(
    "script",
    ["read line", "(read line; echo $line)", "echo working; cat", "setsid sh -c 'read line' <&0 & wait"],
    ids=["itself", "a child", "after a word", "in a session of its own"],
)
async def test_a_read_of_the_input_is_seen_wherever_in_the_tree(
    started: list[Process], transport: Transport, script: str
) -> None:
    process = await start(started, "exec 3<&0; " + script.replace("<&0", "<&3"), transport)

    await eventually(lambda: process.awaits_input)


@pytest.mark.parametrize("script", ["exec sleep 600", "sleep 600 | cat; :", "sleep 600 & read line <&- ; wait"])
async def test_work_and_waiting_for_ones_own_children_are_no_wait_for_input(
    started: list[Process], script: str
) -> None:
    process = await start(started, script)
    await eventually(lambda: bool(named(process, "sleep")) and ("cat" not in script or bool(named(process, "cat"))))

    assert not process.awaits_input


async def test_what_was_given_to_read_ends_the_wait(started: list[Process]) -> None:
    process = await start(started, "read line; echo done; exec sleep 600")
    await eventually(lambda: process.awaits_input)

    process.write(b"yes\n")
    assert await process.read() == b"done\n"

    assert not process.awaits_input


def test_a_process_that_is_gone_waits_for_nothing() -> None:
    assert not silence.reads_its_input([2**22 + 1], main=2**22 + 1)
