"""How a CLI's tree is found when its guard was killed: by a random word that all of it inherited."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final

TREE_MARK: Final = "NEXUS_TREE"
"""The variable in each CLI's environment."""
SWEEPS: Final = 20
SWEEP_PAUSE_S: Final = 0.05


def sweep(mark: str) -> None:
    """The guard itself was killed: the CLI died with it, and what had left its group is found by the mark it inherited."""
    sign = f"{TREE_MARK}={mark}".encode()
    for _ in range(SWEEPS):
        found = [pid for pid in _all_pids() if sign in _environment(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(SWEEP_PAUSE_S)


def _all_pids() -> list[int]:
    proc = Path("/proc")
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal()] if proc.is_dir() else []


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or somebody else's
        return b""
