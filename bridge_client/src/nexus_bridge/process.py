"""How a CLI's process is started, read, written to and ended, tree and all.

`Process` is a thin asyncio shell round one `Spawn`: pipes or a terminal, with a guard (guard.py) as the parent of the
CLI. Nothing is read while nobody calls `read`: then the pipe fills and the CLI blocks, which is the backpressure.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

from nexus_bridge import guard, private_files
from nexus_bridge.adapters.base import Spawn
from nexus_bridge.errors import BridgeError
from nexus_bridge.guard_control import GONE_WITHIN_S, GuardControl
from nexus_bridge.silence import reads_its_input
from nexus_bridge.streams import READ_BYTES, ByteReader, ByteTail, ByteWriter
from nexus_bridge.terminal import open_terminal
from nexus_bridge.tree_mark import TREE_MARK, sweep

logger = logging.getLogger(__name__)

STDERR_TAIL_BYTES: Final = 16 * 1024
MAX_UNWRITTEN_BYTES: Final = 32 * 1024 * 1024
DRAIN_AFTER_EXIT_S: Final = 2.0
"""A grandchild may hold the output open for ever: so long is end-of-file awaited once the CLI itself is gone."""
REAP_PAUSE_S: Final = 0.005


class SpawnFailed(BridgeError):
    """The process did not start; the text names the command and the reason."""


class StdinStuck(BridgeError):
    """The CLI does not read what it is given and the buffer for it is full."""


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """What one CLI with all its children may use; 0 is no limit. Checked once a second, on Linux."""

    processes: int = 512
    memory_mib: int = 4096


class Process:
    """One running CLI. Use `start`; whoever starts it calls `kill` or awaits `gone` in the end."""

    def __init__(
        self, *, guard_pid: int, mark: str, files: Path | None, control: GuardControl, streams: "_Streams"
    ) -> None:
        self._guard_pid = guard_pid
        self._mark = mark
        self._files = files
        self._spared: list[int] = []
        self._control = control
        self._streams = streams

    @classmethod
    async def start(cls, spawn: Spawn, *, limits: TreeLimits = TreeLimits()) -> Self:
        """Start it; raises SpawnFailed with a sentence."""
        _check_command(spawn)
        files = await asyncio.to_thread(private_files.write, spawn.files) if spawn.files else None
        ours, theirs = socket.socketpair()
        mark = secrets.token_hex(16)
        try:
            argv = _guard_argv(spawn=spawn, limits=limits, control=theirs.fileno(), files=files)
            env = {**spawn.env, TREE_MARK: mark}
            guard_pid, streams = _start_guard(argv=argv, spawn=spawn, env=env, control=theirs.fileno())
        except OSError as problem:
            ours.close()
            private_files.remove(files)
            raise SpawnFailed(f"Can't start {spawn.argv[0]}: {problem.strerror}.") from problem
        finally:
            theirs.close()
        control = GuardControl(ours, on_exit=streams.end_soon)
        process = cls(guard_pid=guard_pid, mark=mark, files=files, control=control, streams=streams)
        try:
            failure = await control.started()
        except BaseException:  # cancelled while it started: nobody else would end it
            await process.kill()
            raise
        if failure:
            await process.kill()
            raise SpawnFailed(f"Can't start {spawn.argv[0]}: {failure}.")
        return process

    @property
    def pid(self) -> int:
        """Of the CLI; its process group and session have the same number."""
        return self._control.pid

    async def read(self) -> bytes:
        """The next piece of output, at least one byte; b"" at its end, at most 2 s after the exit of the CLI."""
        return await self._streams.output.read()

    def write(self, data: bytes) -> None:
        """Queue for stdin; never blocks. Raises StdinStuck when 32 MiB wait; what a dead CLI is sent is dropped."""
        if data:
            if len(self._streams.input) + len(data) > MAX_UNWRITTEN_BYTES:
                raise StdinStuck("The CLI does not read its input; it is stuck or not the program it should be.")
            self._streams.input.write(data)

    def close_stdin(self) -> None:
        """End-of-file once all is written. A terminal has no half-close: there the adapter writes a sign."""
        if not self._streams.is_terminal:
            self._streams.input.finish()

    def interrupt(self) -> None:
        """SIGINT to the CLI's process group, as Ctrl-C in a terminal does."""
        self._control.send("signal 2")

    def begin_turn(self) -> None:
        """Remember what runs now: `settle` leaves it alone."""
        self._spared = guard.descendants(self._guard_pid)

    async def settle(self) -> None:
        """After a turn: end what it left running (TERM, 3 s, KILL), but not the CLI and its MCP servers."""
        await self._control.settle(spared=self._spared)

    async def wait(self) -> int:
        """The CLI's exit code, negative for a signal; -9 where also the guard was killed."""
        await self._control.exited.wait()
        return self._control.exit_code

    async def kill(self) -> None:
        """End the whole tree: TERM, 3 s, KILL. Returns when nothing of it is left, after 10 s at the latest."""
        self._control.send("kill")
        await self.gone()

    async def gone(self) -> None:
        """Wait until the whole tree has ended (it does, once the CLI itself has), and let go of everything."""
        try:
            async with asyncio.timeout(GONE_WITHIN_S):
                await self._control.ended.wait()
                while not _is_reaped(self._guard_pid):  # noqa: ASYNC110 - its exit is near and rings no bell
                    await asyncio.sleep(REAP_PAUSE_S)
        except TimeoutError:
            logger.warning("process tree not gone", extra={"pid": self.pid})
        if not self._control.has_said_goodbye:
            await asyncio.to_thread(sweep, self._mark)
            await asyncio.to_thread(private_files.remove, self._files)
        self._control.close()
        self._streams.close()

    @property
    def awaits_input(self) -> bool:
        """Something of the tree sits in a read of the CLI's input; false where that can't be seen."""
        return reads_its_input(guard.descendants(self._guard_pid), main=self.pid)

    @property
    def memory_mib(self) -> int:
        """Of the CLI with all its children, now."""
        return sum(map(guard.memory_kib, guard.descendants(self._guard_pid))) // 1024

    @property
    def limit_hit(self) -> str:
        """ "processes" or "memory" where the tree was ended for that, else empty."""
        return self._control.limit_hit

    @property
    def stderr_tail(self) -> str:
        """The last 16 KiB of stderr; a terminal has none of its own."""
        return bytes(self._streams.errors or b"").decode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Streams:
    output: ByteReader
    input: ByteWriter
    errors: ByteTail | None

    @property
    def is_terminal(self) -> bool:
        return self.errors is None

    def end_soon(self) -> None:
        """The CLI is gone: end-of-file comes by itself unless somebody of its tree holds the output open."""
        asyncio.get_running_loop().call_later(DRAIN_AFTER_EXIT_S, self.output.end)

    def close(self) -> None:
        self.output.end()
        self.input.close()
        if self.errors is not None:
            self.errors.close()
        self.output.close()


def _start_guard(*, argv: Sequence[str], spawn: Spawn, env: Mapping[str, str], control: int) -> tuple[int, _Streams]:
    if spawn.transport == "pty":
        pid, ours = open_terminal(argv=argv, cwd=spawn.cwd, env=env, kind=spawn.tty, control=control)
        return pid, _Streams(output=ByteReader(ours), input=ByteWriter(os.dup(ours)), errors=None)
    # Popen and not asyncio's: that has a thread per process on Python 3.11, and we know from the control socket when
    # the process ends.
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=spawn.cwd,
        env=env,
        pass_fds=(control,),
        start_new_session=True,
    )
    process.returncode = 0  # reaped by `gone`; Popen must not wait for a pid that may be another's by then
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise OSError(0, "no pipes")  # never with PIPE; the type checker wants it said
    _widen(process.stdout)
    streams = _Streams(
        output=ByteReader(_detach(process.stdout)),
        input=ByteWriter(_detach(process.stdin)),
        errors=ByteTail(_detach(process.stderr), keep=STDERR_TAIL_BYTES),
    )
    return process.pid, streams


def _widen(stream: IO[bytes]) -> None:
    """Four times the usual pipe: a quarter of the wake-ups for a CLI that pours."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # the user's share of pipe memory is used up; the usual size works as well
            fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, READ_BYTES)


def _detach(stream: IO[bytes]) -> int:
    with stream:
        return os.dup(stream.fileno())


def _is_reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _guard_argv(*, spawn: Spawn, limits: TreeLimits, control: int, files: Path | None) -> list[str]:
    python = [sys.executable, "-I", "-S", "-B", guard.__file__]
    terminal = "terminal" if spawn.transport == "pty" else "pipes"
    options = [str(control), terminal, str(limits.processes), str(limits.memory_mib), str(files or "")]
    return [*python, *options, *(part.replace("{files}", str(files or "")) for part in spawn.argv)]


def _check_command(spawn: Spawn) -> None:
    """The two mistakes that people make, named before anything is started."""
    if not spawn.cwd.is_dir():
        raise SpawnFailed(f"The working directory {spawn.cwd} does not exist; create it or correct `workdir`.")
    command = spawn.argv[0]
    found = spawn.cwd / command if "/" in command else shutil.which(command, path=spawn.env.get("PATH"))
    if found is None or not Path(found).exists():
        raise SpawnFailed(f"{command} is not on PATH; install it or give its whole path in `command`.")
    if not os.access(found, os.X_OK):
        raise SpawnFailed(f"{command} is not executable; `chmod +x` it or correct `command`.")
