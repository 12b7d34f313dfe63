"""Is a CLI started, read, written to and ended as promised, whatever it does?"""

import asyncio
import os
import re
import signal
import stat
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from nexus_bridge.adapters.base import Spawn
from nexus_bridge.process import MAX_UNWRITTEN_BYTES, Process, SpawnFailed, StdinStuck, TreeLimits
from tests.bridge.trees import EVILCLI, NAME, Transport, eventually, evil, marked, zombies_of

pytestmark = pytest.mark.timeout(60)  # dozens of processes, on machines that do other things as well

ENV = {"PATH": os.environ["PATH"]}
BOTH = pytest.mark.parametrize("transport", ["pipes", "pty"])
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds processes in /proc")


@pytest.fixture
def mark():
    return uuid.uuid4().hex


@pytest.fixture
async def start():
    """Starts processes and leaves none behind, whatever the test does."""
    started: list[Process] = []

    async def start_one(spawn: Spawn, **options) -> Process:
        started.append(await Process.start(spawn, **options))
        return started[-1]

    yield start_one
    for process in started:
        await process.kill()


def shell(script: str, *, transport: Transport = "pipes", **options) -> Spawn:
    return Spawn(argv=["/bin/sh", "-c", script], env=ENV, cwd=Path("/"), transport=transport, **options)


async def read_all(process: Process) -> bytes:
    pieces = []
    while data := await process.read():
        pieces.append(data)
    return b"".join(pieces)


@BOTH
async def test_output_input_and_exit_code_pass_through(start, transport):
    process = await start(shell('read line; echo "got $line"; exit 3', transport=transport))

    process.write(b"a word\n")

    assert await read_all(process) == b"got a word\n"
    assert await process.wait() == 3


async def test_errors_have_a_pipe_of_their_own_and_only_their_end_is_kept(start, mark):
    process = await start(evil("--errors", "300000", mark=mark))

    await process.gone()

    assert process.stderr_tail.endswith("e\nthe last word\n")
    assert len(process.stderr_tail) == 16 * 1024


async def test_the_environment_holds_what_was_given_and_the_tree_mark(start):
    process = await start(
        Spawn(argv=["/usr/bin/env"], env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "A": "b"}, cwd=Path("/"))
    )

    names = {line.partition("=")[0] for line in (await read_all(process)).decode().splitlines()}

    assert names == {"PATH", "LANG", "A", "NEXUS_TREE"}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["no-such-program"], "no-such-program is not on PATH; install it or give its whole path in `command`."),
        (["/no/such/program"], "/no/such/program is not on PATH"),
        (["/etc/passwd"], "/etc/passwd is not executable; `chmod +x` it or correct `command`."),
    ],
)
async def test_a_command_that_cannot_run_is_named(argv, words):
    with pytest.raises(SpawnFailed, match=re.escape(words)):
        await Process.start(Spawn(argv=argv, env=ENV, cwd=Path("/")))


async def test_a_file_that_is_no_program_is_refused_with_the_reason_of_the_system(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELFnonsense")
    program.chmod(0o755)

    with pytest.raises(SpawnFailed, match=r"Can't start .*program: Exec format error"):
        await Process.start(Spawn(argv=[str(program)], env=ENV, cwd=tmp_path))


async def test_a_missing_working_directory_is_named(tmp_path):
    with pytest.raises(SpawnFailed, match="gone does not exist; create it or correct `workdir`"):
        await Process.start(Spawn(argv=["/bin/true"], env=ENV, cwd=tmp_path / "gone"))


async def test_private_files_are_for_the_process_alone_and_go_with_it(start):
    process = await start(
        Spawn(
            argv=["/bin/sh", "-c", 'echo "$1"; read x', "-", "{files}/mcp.json"],
            env=ENV,
            cwd=Path("/"),
            files={"mcp.json": "{}"},
        )
    )
    path = Path((await process.read()).decode().strip())

    assert path.read_text() == "{}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    await process.kill()

    assert not path.parent.exists()


async def test_private_files_of_a_process_that_never_started_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELFnonsense")
    program.chmod(0o755)

    with pytest.raises(SpawnFailed):
        await Process.start(Spawn(argv=[str(program)], env=ENV, cwd=tmp_path, files={"a": "b"}))

    assert [path.name for path in tmp_path.iterdir()] == ["program"]


@LINUX
async def test_a_cli_blocks_while_nobody_reads_and_nothing_is_lost(start, mark, tmp_path):
    # Given a CLI that writes as fast as it can
    progress = tmp_path / "progress"
    process = await start(evil("--count-reads", str(progress), mark=mark))
    await eventually(progress.exists)

    # When nobody reads for a while
    def written() -> int:
        return int(progress.read_text() or 0)

    before = -1
    while written() != before:
        before = written()
        await asyncio.sleep(0.3)

    # Then it stands, with no more than a few buffers out
    assert before < 1024 * 1024

    # And goes on when somebody reads
    while (data := await process.read()) and written() <= before:
        assert data.strip(b"z") == b""


async def test_a_large_input_does_not_wait_for_the_cli(start):
    process = await start(shell("sleep 0.2; wc -c"))

    process.write(b"x" * 10_000_000)
    process.close_stdin()

    assert (await read_all(process)).strip() == b"10000000"


async def test_a_cli_that_never_reads_its_input_is_found_out(start, mark):
    process = await start(evil("--silent", mark=mark))
    process.write(b"x" * (MAX_UNWRITTEN_BYTES - 1))

    with pytest.raises(StdinStuck):
        process.write(b"x" * 200_000)


async def test_writing_to_a_cli_that_is_gone_is_no_error(start):
    process = await start(shell("exec true"))
    await process.wait()

    process.write(b"hello")
    process.close_stdin()
    await process.gone()
    process.write(b"hello")


async def test_a_hundred_megabytes_come_through_whole(start, mark):
    process = await start(evil("--flood", "100000000", mark=mark))
    size = 0

    while data := await process.read():
        size += len(data)

    assert size == 100_000_000


@BOTH
async def test_an_interrupt_reaches_the_cli(start, transport):
    process = await start(
        shell("trap 'echo stopped; exit 4' INT; echo ready; while :; do sleep 0.05; done", transport=transport)
    )
    await process.read()

    process.interrupt()

    assert (await read_all(process)).endswith(b"stopped\n")
    assert await process.wait() == 4


@LINUX
@BOTH
@pytest.mark.parametrize(
    "switches",
    [
        ["--silent"],
        ["--ignore-signals", "--silent"],
        ["--child", "--silent"],
        ["--setsid-child", "--ignore-signals", "--silent"],
        ["--double-fork", "--silent"],
        ["--double-fork", "--setsid-child", "--stubborn-group", "--ignore-signals", "--silent"],
        ["--hold-output", "--silent"],
    ],
    ids=" ".join,
)
async def test_nothing_of_a_killed_tree_is_left(start, mark, transport, switches):
    process = await start(evil(*switches, mark=mark, transport=transport))
    await eventually(lambda: len(marked(mark)) >= 2)

    await process.kill()

    assert marked(mark) == []
    assert list(zombies_of(os.getpid())) == []


@LINUX
@BOTH
@pytest.mark.parametrize("switches", [["--setsid-child"], ["--double-fork"], ["--stubborn-group"]], ids=" ".join)
async def test_nothing_is_left_of_a_tree_whose_cli_ended_by_itself(start, mark, transport, switches):
    process = await start(evil(*switches, "--end", "0", mark=mark, transport=transport))

    await process.gone()

    assert marked(mark) == []
    assert await process.wait() == 0


@BOTH
async def test_the_end_of_output_is_not_awaited_for_ever_when_a_grandchild_holds_it(start, mark, transport):
    process = await start(evil("--hold-output", "--drip", "3", "--end", "0", mark=mark, transport=transport))

    assert await read_all(process) == b"abc"


@LINUX
@BOTH
@pytest.mark.parametrize(
    "switches", [["--silent"], ["--double-fork", "--setsid-child", "--ignore-signals", "--silent"]], ids=" ".join
)
async def test_nothing_is_left_when_the_bridge_itself_is_killed(mark, transport, switches):
    # Given a bridge with a CLI
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from nexus_bridge.adapters.base import Spawn\n"
        "from nexus_bridge.process import Process\n"
        "async def main():\n"
        f"    spawn = Spawn(argv={[sys.executable, '-I', '-S', str(EVILCLI), *switches]!r}, env={{'{NAME}': '{mark}'}}, cwd=Path('/'), transport='{transport}')\n"
        "    await Process.start(spawn)\n"
        "    print('started', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    env = {**ENV, "PYTHONPATH": os.pathsep.join(sys.path)}
    bridge = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env=env, stdout=asyncio.subprocess.PIPE
    )
    assert bridge.stdout is not None
    assert await bridge.stdout.readline() == b"started\n"
    await eventually(lambda: len(marked(mark)) >= 2)

    # When it dies without a word
    bridge.kill()
    await bridge.wait()

    # Then its CLI's tree ends by itself
    await eventually(lambda: not marked(mark))


@LINUX
async def test_nothing_is_left_when_the_guard_is_killed(start, mark, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spawn = replace(evil("--double-fork", "--setsid-child", "--silent", mark=mark), files={"token": "secret"})
    process = await start(spawn)
    await eventually(lambda: len(marked(mark)) >= 4)
    guard = next(pid for pid in marked(mark) if b"guard.py" in Path(f"/proc/{pid}/cmdline").read_bytes())

    os.kill(guard, signal.SIGKILL)
    await process.gone()

    assert await process.wait() == -9
    assert list(tmp_path.iterdir()) == []
    await eventually(lambda: not marked(mark))


@LINUX
async def test_after_a_turn_only_the_cli_and_its_servers_live_on(start, mark):
    # Given a CLI with a server of its own, and a turn that leaves things behind
    process = await start(
        evil("--child", "--drip", "1", "--read-input", "--setsid-child", "--double-fork", "--silent", mark=mark)
    )
    await process.read()
    server = set(marked(mark))
    process.begin_turn()
    process.write(b"go\n")
    await eventually(lambda: len(marked(mark)) >= len(server) + 3)

    # When the turn is over
    await process.settle()

    # Then those are gone, and the CLI and its server are not
    assert set(marked(mark)) == server


@LINUX
async def test_a_fork_bomb_is_ended(start, mark):
    process = await start(evil("--fork-bomb", "100", mark=mark), limits=TreeLimits(processes=40))

    await process.gone()

    assert process.limit_hit == "processes"
    assert marked(mark) == []


@LINUX
async def test_a_cli_that_eats_memory_is_ended(start, mark):
    process = await start(evil("--eat-memory", "200", mark=mark), limits=TreeLimits(memory_mib=100))

    await process.gone()

    assert process.limit_hit == "memory"


@LINUX
async def test_the_memory_of_a_cli_is_that_of_its_whole_tree(start, mark):
    script = f"{sys.executable} -I -S {EVILCLI} --eat-memory 150 & wait"
    process = await start(Spawn(argv=["/bin/sh", "-c", script], env={**ENV, NAME: mark}, cwd=Path("/")))

    await eventually(lambda: process.memory_mib >= 150)

    await process.kill()
    assert process.memory_mib == 0


async def test_a_terminal_has_no_echo_and_takes_lines_of_any_length(start, mark):
    process = await start(evil("--read-input", mark=mark, transport="pty"))

    process.write(b"x" * 20_000 + b"\n")

    assert await read_all(process) == b"read 20001\n"


async def test_a_terminal_is_the_controlling_one(start):
    process = await start(shell("echo to-the-terminal > /dev/tty; tty >/dev/null && stty size", transport="pty"))

    assert await read_all(process) == b"to-the-terminal\n50 400\n"


async def test_no_descriptor_is_left_open(mark):
    before = len(list(Path("/proc/self/fd").iterdir())) if sys.platform.startswith("linux") else 0

    for transport in ("pipes", "pty", "pipes", "pty"):
        process = await Process.start(evil("--drip", "2", "--end", "1", mark=mark, transport=transport))
        await read_all(process)
        await process.gone()

    assert not before or len(list(Path("/proc/self/fd").iterdir())) == before
