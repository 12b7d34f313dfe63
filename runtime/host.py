"""The host's own bridge: who may run it (a lease), how it is run (no credentials in sight), and its life.

It is the same program as on everybody's laptop. The CLIs it spawns share neither process nor environment with the
services; its bridge token stands in a file of its own and is replaced whenever a host takes over.
"""

import contextlib
import ctypes
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from gateway.watch import BEATS
from runtime.host_user import HostUser

logger = logging.getLogger(__name__)

ROLE: Final = "runtime_host"
LEASE_S: Final = 20.0
RENEW_S: Final = 5.0
STOP_S: Final = 25.0
"""For the bridge's clean stop; a little more than it gives its CLIs."""

FIRST_DELAY_S: Final = 1.0
LAST_DELAY_S: Final = 30.0
STEADY_S: Final = 60.0
"""A bridge that ran this long was fine: the next restart is quick again."""

PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL")
PR_SET_PDEATHSIG: Final = 1

_TAKE = """
    INSERT INTO host_leases (role, owner, lease_until) VALUES (%s, %s, now() + make_interval(secs => %s))
    ON CONFLICT (role) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
    WHERE host_leases.owner = excluded.owner OR host_leases.lease_until IS NULL OR host_leases.lease_until < now()
    RETURNING role
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the bridge needs: its configuration file, and an environment that holds no credentials of ours."""

    config: Path
    home: Path
    user: HostUser | None = None


class Lease:
    """One row says who runs the host's bridge. By database time; lost when it can't be renewed in time."""

    def __init__(self, *, owner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._owner = owner
        self._clock = clock
        self._held_until = 0.0

    @property
    def is_held(self) -> bool:
        """As far as this process can know without asking."""
        return self._clock() < self._held_until

    def renew(self) -> bool:
        """Take or keep it. With the database away it is held as long as it was granted for, and no longer."""
        asked_at = self._clock()
        try:
            with connection.cursor() as cursor:
                cursor.execute(_TAKE, [ROLE, self._owner, LEASE_S])
                is_ours = cursor.fetchone() is not None
        except (DatabaseError, InterfaceError) as error:
            connection.close()
            logger.warning("lease not renewed", extra={"error": repr(error)})
            return self.is_held
        self._held_until = asked_at + LEASE_S - RENEW_S if is_ours else 0.0
        BEATS.beat("lease")
        return is_ours

    def let_go(self) -> None:
        self._held_until = 0.0
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE host_leases SET lease_until = now() WHERE role = %s AND owner = %s", [ROLE, self._owner]
                )
        except (DatabaseError, InterfaceError):
            # It runs out by itself.
            connection.close()


class Host:
    """Holds the lease and keeps the bridge running while it does. `run` returns when `stop` is set."""

    def __init__(
        self,
        *,
        lease: Lease,
        prepare: Callable[[], Bundle],
        stop: threading.Event,
        expected: tuple[type[Exception], ...],
    ) -> None:
        self._lease = lease
        self._prepare = prepare
        self._stop = stop
        self._expected: tuple[type[Exception], ...] = (*expected, DatabaseError, InterfaceError, OSError)
        self._delays = restart_delays()
        self._bundle: Bundle | None = None

    def run(self) -> None:
        BEATS.expect("lease", within_s=3 * LEASE_S, what="asked for its lease")
        try:
            while not self._stop.is_set():
                if not self._lease.renew():
                    self._bundle = None
                    self._stop.wait(RENEW_S)
                    continue
                self._run_once()
        finally:
            BEATS.forget("lease")
            self._lease.let_go()

    def _run_once(self) -> None:
        """One life of the bridge, and the wait before its next one."""
        started_at = time.monotonic()
        try:
            self._bundle = self._bundle or self._prepare()
        except self._expected as error:
            logger.warning("host's bridge not prepared", extra={"error": str(error)})
        else:
            code = self._supervise(self._bundle)
            logger.info("host's bridge ended", extra={"code": code})
            if code == os.EX_NOPERM or not self._lease.is_held:
                # The hub refuses its token, or somebody else may have made a new one meanwhile.
                self._bundle = None
        if time.monotonic() > started_at + STEADY_S:
            self._delays = restart_delays()
        if self._lease.is_held:
            self._wait(next(self._delays))

    def _supervise(self, bundle: Bundle) -> int:
        child = subprocess.Popen(
            [sys.executable, "-m", "nexus_bridge", "run", "--config", str(bundle.config), *_logging()],
            env=bridge_env(os.environ, home=bundle.home),
            cwd=bundle.config.parent,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **_as(bundle.user),
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread of ours holds a lock here
        )
        logger.info("host's bridge started", extra={"pid": child.pid})
        try:
            renew_at = time.monotonic() + RENEW_S
            while child.poll() is None and not self._stop.is_set() and self._lease.is_held:
                self._stop.wait(0.2)
                if time.monotonic() >= renew_at:
                    renew_at = time.monotonic() + RENEW_S
                    self._lease.renew()
        finally:
            code = stop_bridge(child)
        return code

    def _wait(self, seconds: float) -> None:
        """The lease goes on while nothing runs: it is ours to try again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.wait(min(RENEW_S, max(0.0, until - time.monotonic()))):
            self._lease.renew()


def _logging() -> list[str]:
    """The bridge's lines stand among ours."""
    return ["--json-logs"] if settings.NEXUS_LOG_FORMAT == "json" else []


def _as(user: HostUser | None) -> dict[str, Any]:
    """Nothing of our own groups goes along."""
    if user is None or not user.must_switch:
        return {}
    return {"user": user.uid, "group": user.gid, "extra_groups": []}


def stop_bridge(child: "subprocess.Popen[bytes]") -> int:
    """Ask, wait, then insist. The CLIs are the bridge's to end; they die with it."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait(STOP_S)


def restart_delays(rng: Callable[[], float] = random.random) -> Iterator[float]:
    """1 s to 30 s, doubling, jittered."""
    delay = FIRST_DELAY_S
    while True:
        yield delay * (0.5 + rng() / 2)
        delay = min(LAST_DELAY_S, delay * 2)


def bridge_env(inherited: Mapping[str, str], *, home: Path) -> dict[str, str]:
    """An allow-list: nothing of NEXUS_*, of the database or of Redis is in it."""
    kept = {name: inherited[name] for name in PASSED_ON if name in inherited}
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **kept, "HOME": str(home)}


def write_privately(path: Path, text: str) -> None:
    """A file for our own user alone, complete or not there at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    coming = path.with_name(f".{path.name}.{os.getpid()}")
    coming.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
        coming.replace(path)
    finally:
        coming.unlink(missing_ok=True)


def _die_with_parent() -> None:
    """Linux: when this process is killed its bridge goes too, and the next host finds the journal free."""
    with contextlib.suppress(OSError, AttributeError):
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


# Loaded before any fork: the child may not import.
_libc = ctypes.CDLL(None)
