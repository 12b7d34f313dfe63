"""Real agent CLIs against a fake model API: no key, no network but loopback, a scratch home.

A CLI is taken from PATH or from .nexus/clis; `TEST_CLIS=1` installs it there with npm first.
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

from tests.clis.installing import ROOT, install, node_env, place
from tests.clis.kits import KITS, Kit
from tests.clis.table import PASSED, TABLE
from tests.server.conftest import a_flush_deletes_rows  # noqa: F401 - a fixture

FAKE_API = ROOT.parent / "shared" / "tools" / "fake_model_api.py"
START_S = 90.0
_PROGRAMS: dict[str, str] = {}


@dataclass(frozen=True)
class FakeApi:
    """The model, as far as a CLI can tell; `bodies` are all requests it got."""

    port: int
    directory: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self) -> list[str]:
        return [path.read_text() for path in sorted(self.directory.glob("*.json"))]

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
    return program_of(KITS[0])


def program_of(kit: Kit) -> str:
    """The CLI's own program, installed first where that is asked for; skips the test where there is none."""
    if kit.kind in _PROGRAMS:
        return _PROGRAMS[kit.kind]
    installed = place(kit)
    if os.environ.get("TEST_CLIS") == "1":
        install(kit)
    found = str(installed) if installed.exists() else shutil.which(kit.program)
    if found is None:
        pytest.skip(f"no {kit.program} on PATH or in .nexus/clis; make test-clis installs it")
    version = subprocess.run(
        [found, "--version"], capture_output=True, text=True, timeout=START_S, check=False, env=node_env()
    )
    if version.returncode != 0:
        pytest.skip(f"{found} does not run here: {version.stderr[-200:]}")
    TABLE.note_version(kind=kit.kind, said=version.stdout)
    return _PROGRAMS.setdefault(kit.kind, found)


def _port(file: Path) -> int:
    until = time.monotonic() + START_S
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < until, "the fake model API did not start"
        time.sleep(0.02)
    return int(file.read_text())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE:
        terminalreporter.section("CLI x case")
        for line in TABLE.lines():
            terminalreporter.write_line(line)
