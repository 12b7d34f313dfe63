"""Real agent CLIs against a fake model API: no key, no network but loopback, a scratch home.

A CLI is taken from PATH or from .nexus/clis; `NEXUS_TEST_CLIS=1` installs it there with npm first.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAKE_API = ROOT.parent / "shared" / "tools" / "fake_model_api.py"
CLIS = ROOT / ".nexus" / "clis"
NPM_PACKAGES = {"claude": "@anthropic-ai/claude-code"}
START_S = 20.0
INSTALL_S = 600.0


@dataclass(frozen=True)
class FakeApi:
    """The model, as far as a CLI can tell; `bodies` are all requests it got."""

    port: int
    directory: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self) -> list[str]:
        return [path.read_text() for path in sorted(self.directory.glob("*_v1_messages*.json"))]

    def prompts(self) -> list[str]:
        """All texts of user messages that were ever sent, context that the CLI put beside them included."""
        return [
            json.dumps(message["content"], ensure_ascii=False)
            for body in self.bodies()
            for message in json.loads(body)["messages"]
            if message["role"] == "user"
        ]


@pytest.fixture
def fake_api(tmp_path: Path) -> Iterator[FakeApi]:
    if not FAKE_API.exists():
        pytest.skip("the fake model API is not beside this repository")
    port_file, bodies = tmp_path / "port", tmp_path / "bodies"
    bodies.mkdir()
    command = [sys.executable, str(FAKE_API), "--port-file", str(port_file), "--bodies", str(bodies)]
    process = subprocess.Popen([*command, "--log", str(tmp_path / "log")], stdout=subprocess.DEVNULL)
    try:
        yield FakeApi(port=_port(port_file), directory=bodies)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def claude() -> str:
    return _cli("claude")


def _cli(name: str) -> str:
    installed = CLIS / "node_modules" / ".bin" / name
    if os.environ.get("NEXUS_TEST_CLIS") == "1" and not installed.exists():
        _install(NPM_PACKAGES[name])
    found = str(installed) if installed.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on PATH or in .nexus/clis; NEXUS_TEST_CLIS=1 installs it with npm")
    version = subprocess.run([found, "--version"], capture_output=True, timeout=START_S, check=False)
    if version.returncode != 0:
        pytest.skip(f"{found} does not run here: {version.stderr.decode()[-200:]}")
    return found


def _install(package: str) -> None:
    if shutil.which("npm") is None:
        pytest.skip(f"no npm to install {package} with")
    CLIS.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(CLIS), package], timeout=INSTALL_S, check=True
    )


def _port(file: Path) -> int:
    until = time.monotonic() + START_S
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < until, "the fake model API did not start"
        time.sleep(0.02)
    return int(file.read_text())
