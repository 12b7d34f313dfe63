"""What the room is told, and what is left running, when a CLI does what no CLI should: one bridge, an agent per fault."""

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nexus_bridge import events, silence, tokens
from nexus_bridge.masking import MASK
from nexus_bridge.protocol import Cancel, RunLimits
from tests.bridge.test_strip import FORBIDDEN
from tests.bridge.trees import EVILCLI, NAME, eventually, marked
from tests.fakes.hub import FakeHub, Row, prompt_for

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc"),
]

TOKEN = tokens.make(kind="nxb", secret=b"a" * 32)
MARK = uuid.uuid4().hex
KEY = "a-key-that-nobody-may-see"
MANY_LINES = 10_000

# Limits that the hub sets for single runs; a byte a second is life, so only the wall ends what creeps.
LIMITS = {
    **dict.fromkeys(("silent", "stubborn", "opens-editor-on-pipes", "awaits-input"), RunLimits(idle_s=3.0)),
    "creeps": RunLimits(idle_s=3.0),
    "creeps-for-ever": RunLimits(idle_s=3.0, wall_s=7.0),
}

# Where the kernel does not show what a process waits for, silence is all there is to tell.
AWAITS = "needs_input" if silence.is_visible() else "idle_timeout"

# Row of the fault matrix, agent, CLI kind, what its program does, how the run ends and why.
ENDS: list[tuple[str, str, str, str, str]] = [
    ("silent", "claude", "--silent", "failed", "idle_timeout"),
    ("says-nothing", "pty", "--end 0", "failed", "empty_output"),
    ("says-nothing-on-pipes", "claude", "--end 0", "failed", "empty_output"),
    ("ends-at-once", "claude", "--end 3", "failed", "crash"),
    (
        "stubborn",
        "pty",
        "--ignore-signals --setsid-child --double-fork --stubborn-group --silent",
        "failed",
        "idle_timeout",
    ),
    ("holds-output", "pty", "--drip 5 --hold-output --end 0", "done", ""),
    ("fork-bomb", "claude", "--fork-bomb 200", "failed", "crash"),
    ("memory-eater", "claude", "--eat-memory 600", "failed", "crash"),
    ("flood", "pty", "--flood 20000000 --end 0", "done", ""),
    ("long-line", "claude", "--long-line 60000000 --end 0", "failed", "crash"),
    ("noise", "pty", "--noise --end 0", "done", ""),
    ("broken-json", "claude", "--broken-json --end 0", "failed", "crash"),
    ("wants-password", "pty", "--ask-password", "failed", "needs_input"),
    ("tells-secrets", "pty", "--tell-secrets 7 --end 0", "done", ""),
    ("opens-editor", "pty", "--open-editor", "failed", "needs_input"),
    ("opens-editor-on-pipes", "claude", "--open-editor", "failed", AWAITS),
    ("awaits-input", "claude", "--await-input", "failed", AWAITS),
    ("many-lines", "pty", f"--lines {MANY_LINES} --end 0", "done", ""),
    ("creeps", "pty", "--creep 5 --end 0", "done", ""),
    ("creeps-for-ever", "pty", "--creep 600", "failed", "wall_timeout"),
]


def agent(*, slug: str, cli: str, command: list[str], workdir: Path) -> str:
    return (
        f'[[agent]]\nslug = "{slug}"\ncli = "{cli}"\ncommand = {json.dumps(command)}\nworkdir = "{workdir}"\n'
        f'[agent.env]\n{NAME} = "{MARK}"\nTHE_API_KEY = "{KEY}"\n'
    )


def configuration(*, hub: FakeHub, directory: Path) -> Path:
    workdir = directory / "work"
    workdir.mkdir()
    plain = directory / "no-program"
    plain.write_text("no program")
    plain.chmod(0o700)
    text = f'hub = "{hub.url}"\ntoken = "{TOKEN}"\njournal = "{directory / "journal"}"\n'
    text += "[limits]\nidle_s = 20\noutput_bytes = 1000000\nprocesses = 64\nmemory_mib = 400\n"
    for slug, cli, switches, _, _ in ENDS:
        # The shell swallows the arguments that an adapter adds for its own CLI. Asked for its version it behaves.
        script = f'[ "$1" = --version ] || exec {sys.executable} -I -S {EVILCLI} {switches}'
        text += agent(slug=slug, cli=cli, command=["/bin/sh", "-c", script, "-"], workdir=workdir)
    text += agent(slug="no-program", cli="claude", command=[str(plain)], workdir=workdir)
    path = directory / "bridge.toml"
    path.touch(0o600)
    path.write_text(text)
    return path


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[FakeHub]:
    """With the bridge connected; it has to outlive everything that its agents do."""
    async with FakeHub().running() as hub:
        hub.token = TOKEN
        bridge = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nexus_bridge", "run"),
            *("--config", str(configuration(hub=hub, directory=tmp_path))),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            await hub.connected()
            yield hub
            assert bridge.returncode is None
            assert hub.errors == []
        finally:
            if bridge.returncode is None:
                bridge.terminate()
            await bridge.wait()


async def ended(hub: FakeHub, rows: dict[str, Row]) -> dict[str, tuple[str, str]]:
    await hub.until(lambda: all(row.end is not None for row in rows.values()), within_s=75)
    return {slug: (row.end.outcome, row.end.reason) for slug, row in rows.items() if row.end is not None}


async def test_each_fault_ends_its_own_run_with_a_reason_and_leaves_nothing(hub: FakeHub) -> None:
    rows = {}
    for number, (slug, *_) in enumerate([*ENDS, ("no-program",)], start=1):
        limits = LIMITS.get(slug, RunLimits(idle_s=20.0))
        rows[slug] = await hub.offer(prompt_for(number, agent=slug, session_key=slug, text="go", limits=limits))
    found = await ended(hub, rows)

    expected = {slug: (outcome, reason) for slug, _, _, outcome, reason in ENDS}
    assert found == expected | {"no-program": ("failed", "spawn_failed")}
    assert all(row.is_whole for row in rows.values())
    await eventually(lambda: marked(MARK) == [], within_s=10)
    said = "".join(chunk.payload for row in rows.values() for chunk in row.chunks)
    assert not FORBIDDEN.search(rows["noise"].text)
    assert rows["tells-secrets"].text.strip() == f"key {MASK} and {MASK} and {MASK} ok"
    assert KEY not in said
    assert sum(len(chunk.payload) for chunk in rows["flood"].chunks) < 1_300_000
    assert any("left out" in chunk.payload for chunk in rows["flood"].chunks)
    assert "Password" in str(rows["wants-password"].end)
    assert "without saying anything" in str(rows["says-nothing"].end)
    assert "fills the screen, an editor perhaps" in str(rows["opens-editor"].end)
    assert rows["many-lines"].text.splitlines() == [
        f"line {number} of {MANY_LINES}" for number in range(1, MANY_LINES + 1)
    ]
    assert rows["creeps"].text == "abcde"
    assert rows["creeps-for-ever"].text.startswith("abc")


async def test_a_stopped_tree_that_ignores_signals_is_gone_within_ten_seconds(hub: FakeHub) -> None:
    row = await hub.offer(prompt_for(1, agent="stubborn", text="go"))
    await eventually(lambda: len(marked(MARK)) >= 4)

    await hub.send(Cancel(invocation=1, fence=1, reason="stopped by bob"))
    await hub.until(lambda: row.end is not None)

    assert row.end is not None
    assert row.end.outcome == "cancelled"
    assert events.decode(row.chunks[-1].payload) is not None if row.chunks else True
    await eventually(lambda: marked(MARK) == [], within_s=10)
