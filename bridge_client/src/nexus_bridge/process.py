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
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

from nexus_bridge import guard
from nexus_bridge.adapters.base import Spawn
from nexus_bridge.errors import BridgeError
from nexus_bridge.streams import READ_BYTES, ByteReader, ByteTail, ByteWriter
from nexus_bridge.terminal import open_terminal

logger = logging.getLogger(__name__)

STDERR_TAIL_BYTES: Final = 16 * 1024
MAX_UNWRITTEN_BYTES: Final = 32 * 1024 * 1024
START_TIMEOUT_S: Final = 30.0
DRAIN_AFTER_EXIT_S: Final = 2.0
"""A grandchild may hold the output open for ever: so long is end-of-file awaited once the CLI itself is gone."""
REAP_PAUSE_S: Final = 0.005
TREE_MARK: Final = "NEXUS_TREE"
"""Set in each CLI's environment to a random word, by which all of its tree can be found."""
SWEEPS: Final = 20
SWEEP_PAUSE_S: Final = 0.05
GONE_WITHIN_S: Final = guard.GIVE_UP_S + 1.0


class SpawnFailed(BridgeError):
    """The process did not start; the text names the command and the reason."""


class StdinStuck(BridgeError):
    """The CLI does not read what it is given and the buffer for it is full."""


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """What one CLI with all its children may use; 0 is no limit. Checked once a second, on Linux."""

    processes: int = 512
    memory_mib: int = 0


class Process:
    """One running CLI. Use `start`; whoever starts it calls `kill` or awaits `gone` in the end."""

    def __init__(
        self, *, guard_pid: int, mark: str, files: Path | None, control: "_Control", streams: "_Streams"
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
        files = await asyncio.to_thread(_write_private_files, spawn.files) if spawn.files else None
        ours, theirs = socket.socketpair()
        mark = secrets.token_hex(16)
        try:
            argv = _guard_argv(spawn=spawn, limits=limits, control=theirs.fileno(), files=files)
            env = {**spawn.env, TREE_MARK: mark}
            guard_pid, streams = _start_guard(argv=argv, spawn=spawn, env=env, control=theirs.fileno())
        except OSError as problem:
            ours.close()
            _remove_private_files(files)
            raise SpawnFailed(f"Can't start {spawn.argv[0]}: {problem.strerror}.") from problem
        finally:
            theirs.close()
        control = _Control(ours, on_exit=streams.end_soon)
        process = cls(guard_pid=guard_pid, mark=mark, files=files, control=control, streams=streams)
        try:
            await process._control.started(command=spawn.argv[0])
        except BaseException:
            await process.kill()
            raise
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
            await asyncio.to_thread(_sweep, self._mark)
            await asyncio.to_thread(_remove_private_files, self._files)
        self._control.close()
        self._streams.close()

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


class _Control:
    """Our end of the guard's control socket, and the one background task that reads it."""

    def __init__(self, ours: socket.socket, *, on_exit: Callable[[], None]) -> None:
        ours.setblocking(False)
        self._socket = ours
        self._on_exit = on_exit
        self._received = b""
        self._first = asyncio.get_running_loop().create_future()
        self._settled = asyncio.Event()
        self.pid = 0
        self.exit_code = -9
        self.has_said_goodbye = False
        self.limit_hit = ""
        self.exited = asyncio.Event()
        self.ended = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="guard-control")

    async def started(self, *, command: str) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                failure = await self._first
        except TimeoutError:
            raise SpawnFailed(f"{command} did not start within {START_TIMEOUT_S:.0f} s.") from None
        if failure:
            raise SpawnFailed(f"Can't start {command}: {failure}.")

    def send(self, line: str) -> None:
        # Lines are a few bytes and the guard reads at once; a full socket means that it is stopped, and then the
        # line is of no use either.
        try:
            self._socket.send(f"{line}\n".encode())
        except OSError:
            return

    async def settle(self, *, spared: Sequence[int]) -> None:
        self._settled.clear()
        self.send(" ".join(["settle", *map(str, spared)]))
        ended = asyncio.ensure_future(self.ended.wait())
        settled = asyncio.ensure_future(self._settled.wait())
        await asyncio.wait({ended, settled}, timeout=GONE_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        settled.cancel()

    def close(self) -> None:
        self._task.cancel()
        self._socket.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._socket, 4096):
                *lines, self._received = (self._received + data).split(b"\n")
                for line in lines:
                    self._hear(line.decode())
        except OSError:
            pass  # reset: the guard is gone, as at end-of-file
        finally:
            self._resolve_start("the guard process died")
            self._exit()
            self.ended.set()

    def _hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "started":
            self.pid = int(rest)
            self._resolve_start("")
        elif word == "failed":
            self.has_said_goodbye = True
            self._resolve_start(rest)
        elif word == "exited":
            self.exit_code = int(rest)
            self.has_said_goodbye = True
            self._exit()
        elif word == "settled":
            self._settled.set()
        elif word == "limit":
            self.limit_hit = rest

    def _exit(self) -> None:
        if not self.exited.is_set():
            self.exited.set()
            self._on_exit()

    def _resolve_start(self, failure: str) -> None:
        if not self._first.done():
            self._first.set_result(failure)


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


def _sweep(mark: str) -> None:
    """The guard itself was killed: the CLI died with it, and what had left its group is found by the mark it inherited."""
    sign = f"{TREE_MARK}={mark}".encode()
    for _ in range(SWEEPS):
        found = [pid for pid in _all_pids() if sign in _environment(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(SWEEP_PAUSE_S)


def _all_pids() -> list[int]:
    proc = Path("/proc")
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal()] if proc.is_dir() else []


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or somebody else's
        return b""


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


def _write_private_files(files: Mapping[str, str]) -> Path | None:
    if not files:
        return None
    directory = Path(tempfile.mkdtemp(prefix="nexus-cli-"))
    for name, content in files.items():
        with os.fdopen(os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
    return directory


def _remove_private_files(directory: Path | None) -> None:
    """Where no guard lived to do it."""
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
