"""Does a CLI that talks nonsense cost its turn and nothing else?"""

import sys
import uuid
from pathlib import Path

import pytest

from nexus_bridge.adapters.base import Profile
from nexus_bridge.adapters.claude import ClaudeAdapter
from nexus_bridge.adapters.pty import PtyAdapter
from nexus_bridge.events import Notice
from nexus_bridge.packing import Packer
from nexus_bridge.strip import TextStripper
from tests.bridge.test_strip import FORBIDDEN
from tests.bridge.trees import EVILCLI, NAME
from tests.bridge.turns import LiveCli, done_of, text_of

pytestmark = pytest.mark.timeout(60)


def profile(*switches: str, **options: str) -> Profile:
    # The shell swallows the arguments that an adapter adds for its own CLI.
    script = " ".join(["exec", sys.executable, "-I", "-S", str(EVILCLI), *switches])
    env = {NAME: uuid.uuid4().hex}
    return Profile(slug="evil", command=["/bin/sh", "-c", script, "-"], workdir=Path("/"), env=env, options=options)


async def ask(adapter):
    cli = await LiveCli.start(adapter)
    said = await cli.ask("x")
    await cli.process.kill()
    return said


async def test_broken_lines_of_a_json_cli_end_as_a_crash_with_a_few_notices():
    said = await ask(ClaudeAdapter(profile=profile("--broken-json", "--noise", "--broken-json", "--end", "0")))

    assert (done_of(said).status, done_of(said).error_kind) == ("error", "crash")
    assert 1 <= len([event for event in said if isinstance(event, Notice)]) <= 3


async def test_a_line_of_a_hundred_megabytes_is_passed_over():
    said = await ask(ClaudeAdapter(profile=profile("--long-line", "100000000", "--end", "0")))

    assert done_of(said).error_kind == "crash"
    assert sum(len(event.text) for event in said if isinstance(event, Notice)) < 1000


async def test_a_flood_through_a_terminal_is_cut_to_head_and_tail():
    said = await ask(PtyAdapter(profile=profile("--flood", "10000000", "--end", "0")))
    packer = Packer(output_bytes=1_000_000, cleaner=TextStripper)
    chunks = []
    for event in said:
        packer.add(event)
        chunks += packer.take()
    chunks += packer.finish()

    assert len(text_of(said)) == 10_000_000
    assert sum(len(payload) for _, payload in chunks) < 1_200_000
    assert packer.left_out_bytes > 8_000_000


async def test_noise_of_every_byte_becomes_clean_text():
    text = text_of(await ask(PtyAdapter(profile=profile("--noise", "--drip", "10", "--end", "0"))))

    assert FORBIDDEN.search(text) is None
    text.encode()


async def test_output_byte_by_byte_comes_whole():
    assert text_of(await ask(PtyAdapter(profile=profile("--drip", "40", "--end", "0")))) == "abcdefghij" * 4


async def test_a_cli_that_says_nothing_and_ends_well_has_failed():
    assert (
        done_of(await ask(PtyAdapter(profile=profile("--end", "0")))).message
        == "The program ended without saying anything."
    )
