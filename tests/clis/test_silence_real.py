"""Is a real CLI that hangs in its model taken for silent, and not for one that waits for input?"""

import asyncio
import os
from pathlib import Path

import pytest

from nexus_bridge import silence
from nexus_bridge.adapters import adapter_class
from nexus_bridge.adapters.base import Profile
from nexus_bridge.process import Process
from tests.bridge.turns import LiveCli
from tests.clis.conftest import FakeApi, program_of
from tests.clis.installing import node_env
from tests.clis.kits import KITS, Kit

pytestmark = [
    pytest.mark.real_cli,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.environ.get("TEST_CLIS") != "1", reason="a minute and a half: make test-clis"),
    pytest.mark.skipif(not silence.is_visible(), reason="this machine does not show what a process waits for"),
]

LOOKS = 20


def profile(kit: Kit, *, url: str, directory: Path) -> Profile:
    home, project = directory / "home", directory / "project"
    home.mkdir()
    project.mkdir()
    env = {"PATH": node_env()["PATH"], "HOME": str(home), **kit.env(url=url, home=home)}
    return Profile(slug="agent", command=[program_of(kit)], workdir=project, env=env, options=kit.options)


async def looks(process: Process) -> list[bool]:
    """As the bridge looks at its idle limit, at moments of a turn in which nothing happens."""
    seen = []
    for _ in range(LOOKS):
        seen.append(process.awaits_input)
        await asyncio.sleep(0.1)
    return seen


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.kind)
async def test_a_cli_that_waits_for_its_model_does_not_wait_for_input(
    kit: Kit, fake_api: FakeApi, tmp_path: Path
) -> None:
    cli = await LiveCli.start(adapter_class(kit.kind)(profile=profile(kit, url=fake_api.url, directory=tmp_path)))
    asking = asyncio.create_task(cli.ask("Say [[hang]]"))
    try:
        while not any("[[hang]]" in body for body in fake_api.bodies()):
            await asyncio.sleep(0.1)

        assert not any(await looks(cli.process))
    finally:
        asking.cancel()
        await cli.process.kill()
