"""What is one supervised process: how it is started, when it is ready, how it is stopped?"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

Probe = Callable[[], bool]

# A log that reaches this size is moved to NAME.log.1, replacing the one before: two of them are kept.
LOG_LIMIT_BYTES = 8 * 1024 * 1024
_PROBE_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """`ready` answers within a second or two; without it, running is ready.

    `starts_when` names a file without which there is nothing to run yet.
    `stop_round` orders the stop: all of round 0 are gone before round 1 is told.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ready: Probe | None = None
    starts_when: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_round: int = 0
    stop_timeout_s: float = 10.0
    restart: bool = True


class Backoff:
    """The waits between restarts: doubled each time, forgotten after a long enough life."""

    def __init__(self, *, first_s: float = 0.5, cap_s: float = 10.0, reset_after_s: float = 30.0) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._reset_after_s = reset_after_s
        self._next_s = first_s

    def after(self, *, lived_s: float) -> float:
        """How long to wait before the next start."""
        if lived_s >= self._reset_after_s:
            self._next_s = self._first_s
        wait_s = self._next_s
        self._next_s = min(self._cap_s, wait_s * 2)
        return wait_s


def spawn(process: Process, *, log_path: Path) -> subprocess.Popen[bytes]:
    """Starts it in a session of its own, so that a terminal's Ctrl-C reaches only the supervisor.

    Must be called from a thread that lives as long as the process may: the kernel ties the signal
    that ends an orphan to the thread, not to the program.
    """
    with log_path.open("ab") as log:
        return subprocess.Popen(
            tied(process.argv, stop_signal=process.stop_signal),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(process.env),
            cwd=process.cwd,
            start_new_session=True,
        )


def tied(argv: Sequence[str], *, stop_signal: signal.Signals) -> list[str]:
    """Where it can, the kernel itself ends a program whose starter was killed; elsewhere only the guard does."""
    prefix = ["setpriv", "--pdeathsig", stop_signal.name.removeprefix("SIG"), "--"] if _can_tie() else []
    return [*prefix, *argv]


@cache
def _can_tie() -> bool:
    if shutil.which("setpriv") is None:
        return False
    # Small systems have a setpriv without this option.
    command = ["setpriv", "--pdeathsig", "TERM", "--", "true"]
    return subprocess.run(command, capture_output=True, check=False, timeout=_PROBE_TIMEOUT_S).returncode == 0


def cap_log(log_path: Path, *, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
    """Copies and empties a log that grew too long, under its writer's feet.

    Writers append, so they go on at the new end; lines written between the two steps are lost.
    """
    try:
        if log_path.stat().st_size < limit_bytes:
            return
    except FileNotFoundError:
        return
    shutil.copyfile(log_path, log_path.with_suffix(".log.1"))
    os.truncate(log_path, 0)
