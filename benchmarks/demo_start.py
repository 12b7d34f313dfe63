"""S1: how long does `make demo` take from a fresh clone, and again? The round trip included, with ONCE=1."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from docker.ports import free_ports

IDS = ("S1",)
CHECKOUT = Path(__file__).resolve().parent.parent
LIMIT_S = 600


def measure() -> Iterator[Figure]:
    directory = Path(tempfile.mkdtemp(prefix="nexus-bench-"))
    try:
        clone = directory / "nexus"
        subprocess.run(["git", "clone", "-q", str(CHECKOUT), str(clone)], check=True, timeout=60)
        first, again = _demo_s(clone), _demo_s(clone)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    yield Figure(
        id="S1",
        what="make demo ONCE=1, round trip and stop included: fresh clone / again",
        value=f"{first:.0f} / {again:.0f} s",
        goal="60 / 15 s",
        is_met=first <= 60 and again <= 15,
    )


def _demo_s(clone: Path) -> float:
    chat, gateway = free_ports(2)
    env = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    started_at = time.perf_counter()
    done = subprocess.run(
        ["make", "demo", "ONCE=1", f"CHAT_PORT={chat}", f"GATEWAY_PORT={gateway}"],
        cwd=clone,
        env=env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"make demo failed: {done.stdout[-1500:]} {done.stderr[-1500:]}")
    return time.perf_counter() - started_at
