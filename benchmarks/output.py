"""D1: how fast does the output of a child pass through the bridge's process control, in pieces?

The child writes 200 MB to a pipe; the reader is nexus_bridge.process, guard included. Peers in the same run: `os.read` of a bare
pipe, the floor, and pexpect, which a stream must never go through.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect

from benchmarks.figures import Figure, median
from nexus_bridge.adapters.base import Spawn
from nexus_bridge.process import Process

IDS = ("D1",)
ROUNDS = 3
MEGABYTES = 200
SLOW_MEGABYTES = 5
WRITER = "import os, sys\npiece = (b'x' * 79 + b'\\n') * 819\nfor _ in range(int(sys.argv[1]) * 1_000_000 // len(piece)): os.write(1, piece)"


def measure() -> Iterator[Figure]:
    bare, ours, slow = [], [], []
    for _ in range(ROUNDS):
        bare.append(_bare_rate())
        ours.append(asyncio.run(_bridge_rate()))
        slow.append(_pexpect_rate())
    rate = median(ours)
    yield Figure(
        id="D1",
        what="child output through the bridge, pipes, by pieces",
        value=f"{rate:,.0f} MB/s",
        goal="100 MB/s",
        is_met=rate >= 100,
        note=f"bare pipe {median(bare):,.0f} MB/s, pexpect {median(slow):,.0f} MB/s in the same run",
    )


def _argv(megabytes: int) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", WRITER, str(megabytes)]


def _bare_rate() -> float:
    child = subprocess.Popen(_argv(MEGABYTES), stdout=subprocess.PIPE)
    assert child.stdout is not None
    total, started_at = 0, 0.0
    while piece := os.read(child.stdout.fileno(), 1 << 16):
        started_at = started_at or time.perf_counter()
        total += len(piece)
    seconds = time.perf_counter() - started_at
    child.stdout.close()
    child.wait(10)
    return total / seconds / 1e6


async def _bridge_rate() -> float:
    spawn = Spawn(argv=_argv(MEGABYTES), env={"PATH": os.environ["PATH"]}, cwd=Path.cwd())
    process = await Process.start(spawn)
    total, started_at = 0, 0.0
    while piece := await process.read():
        started_at = started_at or time.perf_counter()
        total += len(piece)
    seconds = time.perf_counter() - started_at
    await process.kill()
    return total / seconds / 1e6


def _pexpect_rate() -> float:
    child = pexpect.spawn(sys.executable, _argv(SLOW_MEGABYTES)[1:], timeout=60, maxread=65_536)
    total, started_at = 0, 0.0
    while True:
        try:
            piece = child.read_nonblocking(65_536, timeout=30)
        except pexpect.EOF:
            break
        started_at = started_at or time.perf_counter()
        total += len(piece)
    seconds = time.perf_counter() - started_at
    child.close()
    return total / seconds / 1e6
