"""Where does a Python client come from that our own environment can't hold? From one of its own, made once."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.npm import ROOT

CACHE = ROOT / ".nexus" / "cache" / "python"
INSTALL_LIMIT_S = 120


def python_with(*packages: str) -> Path:
    """The interpreter of an environment with these packages; skips the test when they cannot be had."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("uv is not installed beside this Python")
    folder = CACHE / "-".join(package.replace("==", "-") for package in packages)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        # Test processes run side by side; one of them installs.
        fcntl.flock(lock, fcntl.LOCK_EX)
        python, done = folder / "bin" / "python", folder / "installed"
        if not done.exists():
            _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], folder.name)
            _run([uv, "pip", "install", "--quiet", "--python", python, *packages], folder.name)
            done.touch()
    return python


def _run(command: list[str | Path], name: str) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{name} was not installed within {INSTALL_LIMIT_S} s")
    if ran.returncode:
        pytest.skip(f"{name} cannot be installed: {' '.join(ran.stderr.split()[-20:])}")
