"""How do the processes of one machine stay up: started, restarted when they die, stopped in order?"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from docker.guard_pipe import GuardPipe
from docker.process import Backoff, Process, cap_log, spawn

logger = logging.getLogger(__name__)

_TICK_S = 0.05
_LOG_CHECK_S = 1.0
_KILL_TIMEOUT_S = 5.0
_TAIL_BYTES = 1_500
# One that dies this often before it was ever ready will not become ready by another try.
_HOPELESS_DEATHS = 4


class ProcessFailedError(RuntimeError):
    """A process did not become ready; the text says where to look and shows the end of its log."""

    def __init__(self, *, name: str, what: str, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        super().__init__(f"{name} {what}. Its log is {log_path}; it ends with:\n{tail(log_path)}")


@dataclass(slots=True)
class _Child:
    process: Process
    backoff: Backoff
    popen: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    starts_count: int = 0
    is_wanted: bool = True
    exit_code: int | None = None
    gone: threading.Event = field(default_factory=threading.Event)


class Supervisor:
    """Owns its processes and the one thread that starts and reaps them.

    Order of calls: `start`, any number of `add`, `wait_ready`, at last `stop`.
    """

    def __init__(
        self,
        *,
        log_dir: Path,
        status_path: Path | None = None,
        hold: int | None = None,
        make_backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._log_dir = log_dir
        self._status_path = status_path
        self._hold = hold
        self._make_backoff = make_backoff
        self._children: dict[str, _Child] = {}
        # Guards every pid: a signal is sent only under it, a child reaped only under it.
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._is_closing = False
        self._next_log_check = 0.0
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._guard: GuardPipe | None = None

    def start(self) -> None:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        self._guard = GuardPipe(hold=self._hold)
        self._thread.start()

    def add(self, *processes: Process) -> None:
        """Starts them, all at once, as soon as the supervisor's thread gets to it."""
        with self._lock:
            for process in processes:
                if process.name in self._children:
                    raise ValueError(f"There is already a process named {process.name}.")
                self._children[process.name] = _Child(process, self._make_backoff())
        self._wake.set()

    def wait_ready(self, names: Iterable[str], *, timeout_s: float) -> None:
        """Raises ProcessFailedError for the first that is not ready in time or keeps dying."""
        deadline = time.monotonic() + timeout_s
        for name in names:
            while not self._is_ready(name):
                self._refuse_hopeless(name)
                if time.monotonic() > deadline:
                    raise self._failed(name, f"was not ready after {timeout_s:.0f} s")
                time.sleep(_TICK_S)

    def wait_restarted(self, name: str, *, after_pid: int, timeout_s: float) -> None:
        """Waits until another process than that one runs under the name, and is ready."""
        deadline = time.monotonic() + timeout_s
        while self.pid(name) in {None, after_pid} or not self._is_ready(name):
            if time.monotonic() > deadline:
                raise self._failed(name, f"was not restarted within {timeout_s:.0f} s")
            time.sleep(_TICK_S)

    def pid(self, name: str) -> int | None:
        with self._lock:
            popen = self._children[name].popen
            return None if popen is None else popen.pid

    def pids(self) -> dict[str, int]:
        """The processes that run now."""
        with self._lock:
            return {n: c.popen.pid for n, c in self._children.items() if c.popen is not None}

    def starts_count(self, name: str) -> int:
        with self._lock:
            return self._children[name].starts_count

    def send(self, name: str, number: signal.Signals) -> int | None:
        """Signals the process, not its children; returns the pid it had, None when it is down."""
        with self._lock:
            popen = self._children[name].popen
            if popen is not None:
                os.kill(popen.pid, number)
            return None if popen is None else popen.pid

    def take_down(self, name: str) -> None:
        """Stops one process and leaves it down until `bring_up`."""
        with self._lock:
            self._children[name].is_wanted = False
        self._stop_round([self._children[name]])

    def bring_up(self, name: str) -> None:
        with self._lock:
            child = self._children[name]
            child.is_wanted, child.due_at = True, 0.0
        self._wake.set()

    def adopt(self, popen: subprocess.Popen[bytes]) -> None:
        """Somebody else's process, leader of its own group: it, too, shall not outlive a killed supervisor."""
        self._tell_guard(added=popen.pid)

    def disown(self, popen: subprocess.Popen[bytes]) -> None:
        """To be called before its end is awaited, or right after."""
        self._tell_guard(removed=popen.pid)

    def hurry(self) -> None:
        """From now on, a stop kills without waiting. Safe to call from a signal handler."""
        self._hurry.set()

    def stop(self) -> None:
        """Stops everything, round by round; afterwards nothing of any process group is left."""
        with self._lock:
            children = list(self._children.values())
            for child in children:
                child.is_wanted = False
        for number in sorted({child.process.stop_round for child in children}):
            self._stop_round([c for c in children if c.process.stop_round == number])
        self._is_closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_KILL_TIMEOUT_S)
        if self._guard is not None:
            self._guard.close()

    def _stop_round(self, children: list[_Child]) -> None:
        for child in children:
            self._signal_child(child, child.process.stop_signal)
        asked_at = time.monotonic()
        for child in children:
            patience_s = asked_at + child.process.stop_timeout_s - time.monotonic()
            if self._wait_gone(child, timeout_s=patience_s):
                continue
            logger.warning("process did not stop when asked", extra={"program": child.process.name})
            self._kill_group(child)
            child.gone.wait(_KILL_TIMEOUT_S)

    def _wait_gone(self, child: _Child, *, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while child.popen is not None and not child.gone.wait(_TICK_S):
            if time.monotonic() > deadline or self._hurry.is_set():
                return False
        return True

    def _signal_child(self, child: _Child, number: signal.Signals) -> None:
        with self._lock:
            if child.popen is not None:
                os.kill(child.popen.pid, number)
                # One that a test has paused could not act on it.
                os.kill(child.popen.pid, signal.SIGCONT)

    def _kill_group(self, child: _Child) -> None:
        with self._lock:
            if child.popen is not None:
                _kill_group(child.popen.pid)

    def _is_ready(self, name: str) -> bool:
        with self._lock:
            child = self._children[name]
        probe = child.process.ready
        return child.popen is not None and (probe is None or probe())

    def _refuse_hopeless(self, name: str) -> None:
        with self._lock:
            child = self._children[name]
            has_ended = child.popen is None and child.starts_count > 0
        if has_ended and not child.process.restart:
            raise self._failed(name, f"ended with exit code {child.exit_code}")
        if has_ended and child.starts_count >= _HOPELESS_DEATHS:
            raise self._failed(name, f"died {child.starts_count} times (exit {child.exit_code})")

    def _failed(self, name: str, what: str) -> ProcessFailedError:
        return ProcessFailedError(name=name, what=what, log_path=self.log_path(name))

    def log_path(self, name: str) -> Path:
        return self._log_dir / f"{name}.log"

    def _run(self) -> None:
        while not self._is_closing:
            try:
                self._tick()
            except Exception:
                # The outermost loop: without it the processes would run on unwatched.
                logger.exception("supervisor failed at one round")
            self._wake.wait(_TICK_S)
            self._wake.clear()

    def _tick(self) -> None:
        now = time.monotonic()
        with self._lock:
            changed = [self._reap(c, now) or self._start_if_due(c, now) for c in self._children.values()]
            if any(changed):
                self._write_status()
        if now >= self._next_log_check:
            self._next_log_check = now + _LOG_CHECK_S
            for name in list(self._children):
                cap_log(self.log_path(name))

    def _reap(self, child: _Child, now: float) -> bool:
        popen = child.popen
        if popen is None or not _has_ended(popen):
            return False
        # Before it is reaped its id can't be given to another, so this hits nobody else.
        _kill_group(popen.pid)
        child.exit_code = popen.wait()
        self._tell_guard(removed=popen.pid)
        lived_s = now - child.started_at
        child.popen = None
        child.due_at = now + child.backoff.after(lived_s=lived_s)
        logger.log(
            logging.WARNING if child.is_wanted else logging.DEBUG,
            "process ended",
            extra={"program": child.process.name, "exit_code": child.exit_code, "lived_s": lived_s},
        )
        child.is_wanted = child.is_wanted and child.process.restart
        child.gone.set()
        return True

    def _start_if_due(self, child: _Child, now: float) -> bool:
        must_wait = child.process.starts_when is not None and not child.process.starts_when.exists()
        if child.popen is not None or not child.is_wanted or must_wait or now < child.due_at:
            return False
        child.gone.clear()
        child.popen = spawn(child.process, log_path=self.log_path(child.process.name))
        child.started_at = now
        child.starts_count += 1
        self._tell_guard(added=child.popen.pid)
        return True

    def _tell_guard(self, *, added: int | None = None, removed: int | None = None) -> None:
        with self._lock:
            if self._guard is not None and added is not None:
                self._guard.add(added)
            if self._guard is not None and removed is not None:
                self._guard.remove(removed)

    def _write_status(self) -> None:
        if self._status_path is None:
            return
        rows = [
            {
                "name": name,
                "pid": None if child.popen is None else child.popen.pid,
                "starts": child.starts_count,
                "exit_code": child.exit_code,
            }
            for name, child in self._children.items()
        ]
        status = {"supervisor": os.getpid(), "processes": rows}
        draft = self._status_path.with_suffix(".tmp")
        draft.write_text(json.dumps(status, indent=1) + "\n", encoding="utf-8")
        draft.replace(self._status_path)


def tail(log_path: Path) -> str:
    """The end of a log, for the person who has to find out what happened."""
    try:
        with log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL_BYTES))
            return log.read().decode(errors="replace")
    except FileNotFoundError:
        return "(no log)"


def _has_ended(popen: subprocess.Popen[bytes]) -> bool:
    """Looks without reaping where the system can."""
    if not hasattr(os, "waitid"):
        return popen.poll() is not None
    return os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
