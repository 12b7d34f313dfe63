"""One whole Nexus in containers for all tests here. `make test-compose` asks for it; without podman it says why not."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docker.programs import CHECKOUT
from tests.compose.stack import ContainerStack
from tests.e2e.conftest import HOST_AGENT, echo, make_room  # noqa: F401 - fixtures
from tests.world.world import World

SCRATCH = CHECKOUT / ".nexus" / "compose"
_NEEDED = ("podman", "buildah", "runc", "debootstrap", "iptables")
_SET_UP_TIMEOUT_S = 1_500


# Answers each line of its input with all that the chat holds.
_TELLER = """
import sys, urllib.request
for _ in sys.stdin:
    with urllib.request.urlopen("http://127.0.0.1:3000/devchat/state", timeout=30) as answer:
        print(answer.read().decode().replace(chr(10), " "), flush=True)
"""


class ContainerWorld(World):
    """The chat's door for tests is on its own loopback, inside its container: somebody there reads it for us."""

    stack: ContainerStack
    _teller: "subprocess.Popen[str] | None" = None

    def chat_state(self) -> dict[str, Any]:
        if self._teller is None:
            self._teller = self.stack.inside("devchat", "python", "-c", _TELLER)
        assert self._teller.stdin is not None
        assert self._teller.stdout is not None
        self._teller.stdin.write("\n")
        self._teller.stdin.flush()
        state: dict[str, Any] = json.loads(self._teller.stdout.readline())
        return state

    def stop(self) -> list[str]:
        if self._teller is not None:
            self._teller.communicate(timeout=30)
        return super().stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = _why_not()
    for item in items:
        if reason and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_not() -> str:
    if os.environ.get("TEST_COMPOSE") != "1":
        return "takes minutes and builds images: make test-compose"
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not here: apt-get install podman buildah runc netavark aardvark-dns iptables debootstrap"
    return "" if os.geteuid() == 0 else "podman's bridge networks and stand-in images want root here"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> ContainerStack:
    """Images built; not started."""
    subprocess.run([str(Path(__file__).with_name("set_up")), str(SCRATCH)], check=True, timeout=_SET_UP_TIMEOUT_S)
    return ContainerStack(scratch=SCRATCH, state_dir=tmp_path_factory.mktemp("compose") / "state")


@pytest.fixture(scope="session")
def world(stack: ContainerStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """As the end-to-end tests have it, but in containers; afterwards nothing of it may be left."""
    with ContainerWorld(directory=tmp_path_factory.mktemp("nexus"), stack=stack).running() as made:
        made.wait_online(HOST_AGENT)
        yield made
    assert stack.leftovers() == []
