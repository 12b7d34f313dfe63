"""Small stand-in programs for the launcher's tests, and waiting for what they do."""

import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docker.process import Process

PATIENCE_S = 10.0


def python(name: str, source: str, **how: Any) -> Process:
    """A process that runs this source."""
    argv = (sys.executable, "-u", "-S", "-c", textwrap.dedent(source))
    return Process(name=name, argv=argv, env={"PATH": os.environ["PATH"]}, **how)


def sleeper(name: str, **how: Any) -> Process:
    return Process(name=name, argv=("sleep", "600"), env={"PATH": os.environ["PATH"]}, **how)


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_S:.0f} s: {what}")
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Dead and not yet looked at by its parent counts as dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
