"""Is the bridge there after `uv tool install` and `pipx install` of its wheel, and does what it sets up start it?"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nexus_bridge import tokens
from tests.clis.installing import ROOT

pytestmark = [
    pytest.mark.real_cli,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.environ.get("TEST_CLIS") != "1", reason="downloads packages: make test-clis"),
]

TOKEN = tokens.make(kind=tokens.BRIDGE, secret=b"b" * 32)
UV = shutil.which("uv") or str(Path(sys.executable).parent / "uv")


def run(*argv: str | Path, **env: str) -> str:
    done = subprocess.run(
        list(map(str, argv)), env={**os.environ, **env}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    build = ("build", "--quiet", "--wheel", "--no-build-isolation", "--offline", "--python", sys.executable)
    run(UV, *build, "--out-dir", directory, ROOT / "bridge_client")
    (found,) = directory.glob("*.whl")
    return found


def by_uv(wheel: Path, directory: Path) -> Path:
    places = {"UV_TOOL_DIR": str(directory / "tools"), "UV_TOOL_BIN_DIR": str(directory / "bin")}
    run(UV, "tool", "install", "--quiet", "--python", sys.executable, wheel, **places)
    return directory / "bin"


def by_pipx(wheel: Path, directory: Path) -> Path:
    run(UV, "venv", "--quiet", directory / "pipx")
    run(UV, "pip", "install", "--quiet", "--python", directory / "pipx/bin/python", "pipx")
    places = {"PIPX_HOME": str(directory / "home"), "PIPX_BIN_DIR": str(directory / "bin")}
    run(directory / "pipx/bin/pipx", "install", "--python", sys.executable, wheel, **places)
    return directory / "bin"


def by_venv(wheel: Path, directory: Path) -> Path:
    run(sys.executable, "-m", "venv", directory / "venv")
    run(directory / "venv/bin/pip", "install", "--quiet", wheel)
    return directory / "venv/bin"


@pytest.mark.parametrize("install", [by_uv, by_pipx, by_venv], ids=["uv tool", "pipx", "venv"])
def test_the_wheel_makes_a_command_and_a_service_that_starts_it(install, wheel, tmp_path):
    bridge = install(wheel, tmp_path) / "nexus-bridge"
    (tmp_path / "user" / "project").mkdir(parents=True)
    config = tmp_path / "bridge.toml"
    config.write_text(
        f'hub = "ws://127.0.0.1:9"\ntoken = "{TOKEN}"\n[[agent]]\nslug = "echo-alice"\ncli = "echo"\n'
        f'workdir = "{tmp_path / "user" / "project"}"\n'
    )
    config.chmod(0o600)

    assert run(bridge, "--version").startswith("nexus-bridge ")
    run(bridge, "service", "install", "--config", config, HOME=str(tmp_path / "user"))

    (unit,) = (tmp_path / "user").rglob("nexus-bridge.service")
    python = re.findall(r'ExecStart="([^"]+)"', unit.read_text())[0]
    assert run(python, "-m", "nexus_bridge", "version").startswith("nexus-bridge ")
