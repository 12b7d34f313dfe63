"""Which processes carry a mark in their environment: how tests see that nothing of a tree is left."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from nexus_bridge.adapters.base import Spawn

EVILCLI = Path(__file__).parents[1] / "fakes" / "evilcli.py"
NAME = "EVIL_MARK"

Transport = Literal["pipes", "pty"]


def marked(mark: str) -> list[int]:
    """Living processes with this mark; zombies have no environment."""
    sign = f"{NAME}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if sign in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def zombies_of(parent: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] == "Z" and int(fields[1]) == parent:
                    yield int(entry.name)


def evil(*switches: str, mark: str, transport: Transport = "pipes", cwd: Path = Path("/")) -> Spawn:
    env = {"PATH": os.environ["PATH"], NAME: mark}
    return Spawn(argv=[sys.executable, "-I", "-S", str(EVILCLI), *switches], env=env, cwd=cwd, transport=transport)


async def eventually(is_true: Callable[[], bool], *, within_s: float = 9.0) -> None:
    """Wait for what happens outside this process."""
    until = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < until, "it did not happen in time"
        await asyncio.sleep(0.02)
