"""How does the supervisor tell its guard which process groups are its own?"""

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import IO

from docker import guard

_CLOSE_TIMEOUT_S = guard.GRACE_S + 5.0


class GuardPipe:
    """Owns the guard. One that somebody killed is replaced at the next start of a process.

    `hold` is a locked descriptor: the guard keeps the lock until its work is done, too.
    """

    def __init__(self, *, hold: int | None = None) -> None:
        self._hold = hold
        self._pids: set[int] = set()
        self._guard = _start_guard(hold)

    def add(self, pid: int) -> None:
        self._pids.add(pid)
        if self._guard.poll() is not None:
            self._guard = _start_guard(self._hold)
            for known in self._pids:
                self._write(f"+{known}\n")
        else:
            self._write(f"+{pid}\n")

    def remove(self, pid: int) -> None:
        self._pids.discard(pid)
        self._write(f"-{pid}\n")

    def close(self) -> None:
        """Lets the guard end whatever was not removed."""
        with contextlib.suppress(BrokenPipeError):
            _stdin(self._guard).close()
        try:
            self._guard.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()

    def _write(self, order: str) -> None:
        pipe = _stdin(self._guard)
        # A guard that died between two orders is replaced by the next `add`.
        with contextlib.suppress(BrokenPipeError):
            pipe.write(order.encode())
            pipe.flush()


def _start_guard(hold: int | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(guard.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,
        pass_fds=() if hold is None else (hold,),
    )


def _stdin(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdin is None:
        raise RuntimeError("The guard was started without a pipe.")
    return process.stdin
