"""Where do the JavaScript packages come from that tests compare with? Installed once, below the ignored folder."""

import fcntl
import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".nexus" / "cache" / "npm"
SCRIPTS = Path(__file__).parent / "clients"
INSTALL_LIMIT_S = 200


def npm_modules(
    name: str, packages: dict[str, str], *, overrides: dict[str, str] | None = None, flags: tuple[str, ...] = ()
) -> Path:
    """The folder `node_modules` with these packages; skips the test when they cannot be had."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    folder = CACHE / name
    wanted = json.dumps({"private": True, "dependencies": packages, "overrides": overrides or {}})
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        # Test processes run side by side; one of them installs.
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "installed.json"
        if not done.exists() or done.read_text() != wanted:
            (folder / "package.json").write_text(wanted)
            _install(folder, flags)
            done.write_text(wanted)
    return folder / "node_modules"


def _install(folder: Path, flags: tuple[str, ...]) -> None:
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", *flags]
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {folder.name} within {INSTALL_LIMIT_S} s")
    if ran.returncode:
        pytest.skip(f"npm cannot install {folder.name}: {' '.join(ran.stderr.split()[-20:])}")
