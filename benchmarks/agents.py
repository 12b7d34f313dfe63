"""What does a turn of a real CLI cost through the bridge, beside the bare CLI? `make bench-agents`.

The model is fake and answers at once, the hub is in memory: what is left is the CLI, the bridge and the protocol. Both ways
keep one process for all turns. Also: memory per live session, and a CLI that pours out 100 MB.
"""

import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from nexus_bridge import tokens
from nexus_bridge.adapters import adapter_class
from nexus_bridge.adapters.base import Profile
from nexus_bridge.protocol import RunLimits
from tests.bridge.turns import LiveCli
from tests.clis.installing import CLIS, ROOT, install, node_env
from tests.clis.kits import KITS, Kit
from tests.fakes.hub import FakeHub, prompt_for

FAKE_API = ROOT.parent / "shared" / "tools" / "fake_model_api.py"
MEASURED = ("claude", "codex", "gemini")
TURNS = 15
POURED_BYTES = 100_000_000
CAP_BYTES = 64 * 1024 * 1024
TOKEN = tokens.make(kind="nxb", secret=b"a" * 32)

_POUR = """
import json, sys
sys.stdin.readline()
line = json.dumps({"type": "text", "delta": ("x" * 79 + chr(10)) * 100, "message": "m"}) + chr(10)
for _ in range(int(sys.argv[1]) // len(line)):
    sys.stdout.write(line)
print(json.dumps({"type": "done", "status": "ok"}), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Took:
    """Seconds from the prompt to the first text and to the end of the turn."""

    first: float
    whole: float


def main() -> None:
    found: dict[str, Any] = {}
    with _model() as url:
        for kit in KITS:
            if kit.kind in MEASURED and (program := _program(kit)) is not None:
                found[kit.kind] = asyncio.run(_measure(kit, program, url))
    found["pour"] = asyncio.run(_pour())
    _print(found)
    print(json.dumps(found))


def _print(found: dict[str, Any]) -> None:
    print(
        f"{'':8} {'bare first':>11} {'whole':>8} {'nexus first':>12} {'whole':>8} {'over first':>11} {'whole':>8} {'MB/session':>11}"
    )
    for kind in MEASURED:
        if one := found.get(kind):
            over = [one["nexus_first_ms"] - one["bare_first_ms"], one["nexus_whole_ms"] - one["bare_whole_ms"]]
            print(
                f"{kind:8} {one['bare_first_ms']:>9.0f}ms {one['bare_whole_ms']:>6.0f}ms {one['nexus_first_ms']:>10.0f}ms "
                f"{one['nexus_whole_ms']:>6.0f}ms {over[0]:>9.0f}ms {over[1]:>6.0f}ms {one['session_mb']:>11.0f}"
            )
    pour = found["pour"]
    print(
        f"100 MB: bare pipe {pour['bare_mb_per_s']:.0f} MB/s, through the bridge {pour['nexus_mb_per_s']:.0f} MB/s, "
        f"its memory grows from {pour['before_mb']:.0f} to {pour['peak_mb']:.0f} MB, {pour['kept_mb']:.0f} MB kept"
    )


async def _measure(kit: Kit, program: str, url: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        bare = await _bare(kit, program, url, Path(directory) / "bare")
        async with _bridge(Path(directory) / "nexus", kit=kit, program=program, url=url) as (hub, process):
            through = [await _through(hub, number) for number in range(1, TURNS + 2)][1:]
            session_mb = _cli_memory(process)
    return {
        "bare_first_ms": _median(one.first for one in bare),
        "bare_whole_ms": _median(one.whole for one in bare),
        "nexus_first_ms": _median(one.first for one in through),
        "nexus_whole_ms": _median(one.whole for one in through),
        "session_mb": session_mb,
    }


async def _bare(kit: Kit, program: str, url: str, directory: Path) -> list[Took]:
    home, project = _folders(directory)
    profile = Profile(
        slug="x",
        command=[program],
        workdir=project,
        inherited={"PATH": node_env()["PATH"], "HOME": str(home)},
        env=kit.env(url=url, home=home),
        options=kit.options,
    )
    cli = await LiveCli.start(adapter_class(kit.kind)(profile=profile))
    took = []
    for _ in range(TURNS + 1):
        began = time.perf_counter()
        await cli.ask("Say hello")
        took.append(Took(first=cli.first_text_at - began, whole=time.perf_counter() - began))
    await cli.process.kill()
    return took[1:]


async def _through(hub: FakeHub, number: int) -> Took:
    seen: list[float] = []

    def look(frame: Any) -> None:
        if getattr(frame, "chunks", None) and any(chunk.kind == "text" for chunk in frame.chunks):
            seen.append(time.perf_counter())

    hub.on_frame = look
    began = time.perf_counter()
    row = await hub.offer(prompt_for(number, agent="bench", text="Say hello"))
    await hub.until(lambda: row.end is not None)
    whole = time.perf_counter() - began
    assert row.end is not None
    assert row.end.outcome == "done", row.end
    return Took(first=seen[0] - began, whole=whole)


async def _pour() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        script = Path(name) / "pour.py"
        script.write_text(_POUR)
        command = [sys.executable, str(script), str(POURED_BYTES)]
        bare = _bare_pipe(command)
        async with _bridge(Path(name) / "nexus", command=command) as (hub, process):
            before = _memory(process.pid)
            peak = asyncio.create_task(_peak(process.pid))
            began = time.perf_counter()
            limits = RunLimits(output_bytes=CAP_BYTES)
            row = await hub.offer(prompt_for(1, agent="bench", text="go", limits=limits))
            await hub.until(lambda: row.end is not None, within_s=300.0)
            took = time.perf_counter() - began
            peak.cancel()
            await asyncio.gather(peak, return_exceptions=True)
    return {
        "bare_mb_per_s": bare,
        "nexus_mb_per_s": POURED_BYTES / 1e6 / took,
        "before_mb": before,
        "peak_mb": _highest[0],
        "kept_mb": sum(len(chunk.payload) for chunk in row.chunks) / 1e6,
    }


_highest = [0.0]


async def _peak(pid: int) -> None:
    while True:
        _highest[0] = max(_highest[0], _memory(pid))
        await asyncio.sleep(0.05)


def _bare_pipe(command: list[str]) -> float:
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        size = 0
        while not (data := os.read(process.stdout.fileno(), 262_144)).endswith(b'"ok"}\n'):
            size += len(data)
        took = time.perf_counter() - began
        process.stdin.close()
    return size / 1e6 / took


@contextlib.asynccontextmanager
async def _bridge(
    directory: Path, *, kit: Kit | None = None, program: str = "", url: str = "", command: list[str] | None = None
) -> AsyncIterator[tuple[FakeHub, "subprocess.Popen[bytes]"]]:
    home, project = _folders(directory)
    config = directory / "bridge.toml"
    config.touch(0o600)
    async with FakeHub().running() as hub:
        hub.token = TOKEN
        kind, argv = (kit.kind, [program]) if kit is not None else ("echo", command or [])
        lines = [f'hub = "{hub.url}"', f'token = "{TOKEN}"', f'journal = "{directory / "journal"}"']
        lines += ["[limits]", f"output_bytes = {CAP_BYTES}", "[[agent]]", 'slug = "bench"', f'cli = "{kind}"']
        lines += [f"command = {json.dumps(argv)}", f'workdir = "{project}"']
        if kit is not None:
            tables = {"env": {"PATH": node_env()["PATH"], **kit.env(url=url, home=home)}, "options": kit.options}
            for name, values in tables.items():
                lines += [f"[agent.{name}]", *(f"{key} = '{value}'" for key, value in values.items())]
        config.write_text("\n".join(lines) + "\n")
        argv = [sys.executable, "-m", "nexus_bridge", "run", "--config", str(config)]
        env = {**os.environ, "HOME": str(home)}
        with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL) as process:  # noqa: ASYNC220 - once
            try:
                await hub.connected()
                yield hub, process
            finally:
                process.terminate()
                await asyncio.to_thread(process.wait, 30)


@contextlib.contextmanager
def _model() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        port = Path(directory) / "port"
        argv = [sys.executable, str(FAKE_API), "--port-file", str(port), "--log", str(Path(directory) / "log")]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
            try:
                while not (port.exists() and port.read_text().strip()):
                    time.sleep(0.02)
                yield f"http://127.0.0.1:{port.read_text().strip()}"
            finally:
                process.kill()


def _program(kit: Kit) -> str | None:
    installed = CLIS / "node_modules" / ".bin" / kit.program
    if not installed.exists() and shutil.which(kit.program) is None:
        install(kit)
    return str(installed) if installed.exists() else shutil.which(kit.program)


def _folders(directory: Path) -> tuple[Path, Path]:
    home, project = directory / "home", directory / "project"
    home.mkdir(parents=True)
    project.mkdir()
    return home, project


def _cli_memory(process: "subprocess.Popen[bytes]") -> float:
    children = psutil.Process(process.pid).children(recursive=True)
    return sum(child.memory_full_info().pss for child in children) / 1e6


def _memory(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def _median(values: Iterator[float]) -> float:
    return statistics.median(values) * 1000


if __name__ == "__main__":
    main()
