"""Which databases do the tests run on: their own Postgres and Valkey, started before Django reads its settings?

A pytest plugin (`-p tests.services`). Whoever sets NEXUS_DATABASE_URL or NEXUS_REDIS_URL brings that one himself.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from docker.as_root import RootNotPossibleError
from docker.ports import free_ports
from docker.postgres import Postgres, PostgresError
from docker.process import Process
from docker.supervisor import ProcessFailedError, Supervisor
from docker.valkey import Valkey, ValkeyError

_PREFIX = "nexus-test-"
_READY_TIMEOUT_S = 60
_OURS = "TEST_SERVICES_OF_OURS"
"""Names the variables that stand for services of ours, for the workers that inherit them."""

_SECRETS = ("SECRET_KEY", "FIELD_KEY", "ADMIN_TOKEN", "WEBHOOK_TOKEN", "MEM0_KEY", "METRICS_TOKEN")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Registered by `-p`, so it runs before pytest-django's hook of the same name, which reads the settings."""
    if _is_without_django(args):
        return
    # Each of several workers has its own: they would find each other's keys in one Valkey.
    for name in filter(None, os.environ.pop(_OURS, "").split(",")):
        del os.environ[name]
    try:
        early_config.add_cleanup(start_services())
    except (PostgresError, ValkeyError, RootNotPossibleError, ProcessFailedError) as error:
        raise pytest.UsageError(f"The tests' databases did not start. {error}") from error


def start_services() -> Callable[[], None]:
    """Starts what the environment does not name, tells the environment, and returns what stops it again."""
    _remove_leftovers()
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = _lock(directory)
    supervisor = Supervisor(log_dir=directory / "log")
    supervisor.start()
    saved = dict(os.environ)

    def stop() -> None:
        supervisor.stop()
        os.environ.clear()
        os.environ.update(saved)
        os.close(lock)
        shutil.rmtree(directory, ignore_errors=True)

    try:
        _start(supervisor, directory)
    except BaseException:
        stop()
        raise
    return stop


def _start(supervisor: Supervisor, directory: Path) -> None:
    postgres_port, valkey_port = free_ports(2)
    postgres = Postgres(
        data_dir=directory / "postgres",
        port=postgres_port,
        password=secrets.token_urlsafe(24),
        is_durable=False,
    )
    valkey = Valkey(directory=directory / "valkey", port=valkey_port, password=secrets.token_urlsafe(24))
    wanted: list[Process] = []
    ours: list[str] = []
    if "NEXUS_REDIS_URL" not in os.environ:
        wanted.append(valkey.process())
        os.environ["NEXUS_REDIS_URL"] = valkey.url
        ours.append("NEXUS_REDIS_URL")
    has_own_database = "NEXUS_DATABASE_URL" in os.environ
    if not has_own_database:
        wanted.append(postgres.process())
        os.environ["NEXUS_DATABASE_URL"] = postgres.url
        ours.append("NEXUS_DATABASE_URL")
    if "NEXUS_STATE_DIR" not in os.environ:
        os.environ["NEXUS_STATE_DIR"] = str(directory / "state")
        ours.append("NEXUS_STATE_DIR")
    os.environ[_OURS] = ",".join(ours)
    supervisor.add(*wanted)
    supervisor.wait_ready([process.name for process in wanted], timeout_s=_READY_TIMEOUT_S)
    if not has_own_database:
        postgres.create_database()
    for name in _SECRETS:
        os.environ.setdefault(f"NEXUS_{name}", secrets.token_urlsafe(48))


def _is_without_django(args: list[str]) -> bool:
    return "no:django" in args or "-pno:django" in args


def _lock(directory: Path) -> int:
    """Held as long as this process lives, however it ends."""
    descriptor = os.open(directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _remove_leftovers() -> None:
    """A run that was killed could not remove its directory; its lock is free, so nobody uses it."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if not (directory / "lock").exists():
                continue
            os.close(_lock(directory))
            shutil.rmtree(directory, ignore_errors=True)
