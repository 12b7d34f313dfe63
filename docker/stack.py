"""How does a whole Nexus run on one machine, for the demo, for tests and for benchmarks?"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from docker import prepare
from docker.ports import HOST, PortTakenError, free_ports, is_free
from docker.postgres import Postgres
from docker.process import Process
from docker.programs import ALL, CHECKOUT, WATCHED, Ports, Programs, passed_on
from docker.state import StateDirectory
from docker.supervisor import ProcessFailedError, Supervisor
from docker.valkey import Valkey

DATABASES = ("postgres", "valkey")
_DATABASES_TIMEOUT_S = 60.0
_PREPARE_TIMEOUT_S = 180.0
_COMMAND_TIMEOUT_S = 120.0


def pick_ports(*, chat: int | None = None, gateway: int | None = None) -> Ports:
    """Free ports, except where a number is asked for."""
    free = free_ports(5 + len(WATCHED))
    return Ports(
        chat=chat or free[0],
        gateway=gateway or free[1],
        mem0=free[2],
        postgres=free[3],
        valkey=free[4],
        watch=dict(zip(WATCHED, free[5:], strict=True)),
    )


class Stack:
    """The databases and the chosen programs over one state directory.

    Order of calls: `start` (or `with`), then anything, at last `stop`. A killed program comes back
    unless `restart=False`; `is_durable=False` makes Postgres faster and unsafe in a power cut.
    Names are those of `docker.programs.ALL` and DATABASES, and what `add_bridge` and `add` bring.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        ports: Ports | None = None,
        programs: Collection[str] = ALL,
        settings: Mapping[str, str] | None = None,
        restart: bool = True,
        is_durable: bool = True,
        chat_arguments: tuple[str, ...] = (),
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self.state = StateDirectory(state_dir)
        self.ports = ports or pick_ports()
        self._programs = [name for name in ALL if name in programs]
        self._settings = dict(settings or {})
        self._restart = restart
        self._is_durable = is_durable
        self._chat_arguments = chat_arguments
        self._on_step = on_step
        self._lock: int | None = None
        self._supervisor: Supervisor | None = None
        self.env: dict[str, str] = {}
        """Every setting of this Nexus, secrets among them; known after `start`."""

    @property
    def chat_url(self) -> str:
        return f"http://{HOST}:{self.ports.chat}"

    @property
    def gateway_url(self) -> str:
        return f"http://{HOST}:{self.ports.gateway}"

    @property
    def hub_url(self) -> str:
        return f"ws://{HOST}:{self.ports.gateway}/ws/bridge/"

    @property
    def supervisor(self) -> Supervisor:
        if self._supervisor is None:
            raise RuntimeError("The stack was not started.")
        return self._supervisor

    def start(self, *, timeout_s: float = 60.0) -> None:
        """Returns when every chosen program that has something to run is ready.

        Raises AlreadyRunningError, PortTakenError, or ProcessFailedError with the end of the log of what failed;
        then nothing is left running.
        """
        self.state.create()
        self._lock = self.state.lock()
        try:
            self._start(timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        if self._lock is not None:
            self.state.status_path.unlink(missing_ok=True)
            self.state.environment_path.unlink(missing_ok=True)
            self.state.unlock(self._lock)
            self._lock = None

    def hurry(self) -> None:
        """A stop that is under way kills from now on. Safe to call from a signal handler."""
        if self._supervisor is not None:
            self._supervisor.hurry()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def pid(self, name: str) -> int | None:
        return self.supervisor.pid(name)

    def pids(self) -> dict[str, int]:
        return self.supervisor.pids()

    def kill(self, name: str) -> int | None:
        """SIGKILL; returns the pid it had. `wait_restarted` waits for the next one."""
        return self.supervisor.send(name, signal.SIGKILL)

    def pause(self, name: str) -> None:
        self.supervisor.send(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self.supervisor.send(name, signal.SIGCONT)

    def take_down(self, name: str) -> None:
        """Stops it politely and leaves it down until `bring_up`."""
        self.supervisor.take_down(name)

    def bring_up(self, name: str) -> None:
        self.supervisor.bring_up(name)

    def wait_ready(self, *names: str, timeout_s: float = 30.0) -> None:
        self.supervisor.wait_ready(names, timeout_s=timeout_s)

    def wait_restarted(self, name: str, *, after_pid: int, timeout_s: float = 30.0) -> None:
        self.supervisor.wait_restarted(name, after_pid=after_pid, timeout_s=timeout_s)

    def log(self, name: str) -> str:
        return self.supervisor.log_path(name).read_text(encoding="utf-8", errors="replace")

    def add(self, process: Process) -> None:
        self.supervisor.add(process)

    def add_bridge(self, name: str, *, config_path: Path) -> None:
        """One more bridge; it starts as soon as its configuration is there."""
        self.supervisor.add(self._table().bridge(name=name, config_path=config_path))

    def manage(self, *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Runs `manage.py` against this Nexus; the caller looks at the exit code."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=CHECKOUT,
            env={**passed_on(), **self.env},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def _start(self, timeout_s: float) -> None:
        for port in (self.ports.chat, self.ports.gateway):
            if not is_free(port):
                raise PortTakenError(port=port)
        self.state.forget_other_hub(f"ws://{HOST}:{self.ports.gateway}")
        known = self.state.secrets()
        postgres = Postgres(
            data_dir=self.state.path / "postgres",
            port=self.ports.postgres,
            password=known["POSTGRES_PASSWORD"],
            is_durable=self._is_durable,
        )
        valkey = Valkey(
            directory=self.state.path / "valkey",
            port=self.ports.valkey,
            password=known["VALKEY_PASSWORD"],
        )
        self.env = self._make_env(known, database_url=postgres.url, redis_url=valkey.url)
        self.state.write_environment(self.env)
        self._supervisor = Supervisor(log_dir=self.state.log_dir, status_path=self.state.status_path, hold=self._lock)
        self._supervisor.start()
        self._on_step("starting Postgres and Valkey")
        self._start_databases(postgres, valkey)
        if not prepare.is_prepared(self.state.path):
            self._on_step("preparing the database and the static files")
            self._prepare()
        self._on_step(f"starting {', '.join(self._programs)}")
        self._start_programs(timeout_s)

    def _start_databases(self, postgres: Postgres, valkey: Valkey) -> None:
        self.supervisor.add(valkey.process())
        if "devchat" in self._programs:
            self.supervisor.add(self._table().devchat())
        if not postgres.exists():
            prepare.forget(self.state.path)
        self.supervisor.add(postgres.process())
        self.supervisor.wait_ready(DATABASES, timeout_s=_DATABASES_TIMEOUT_S)
        postgres.create_database()

    def _prepare(self) -> None:
        log_path = self.supervisor.log_path("prepare")
        with log_path.open("wb") as log:
            done = subprocess.run(
                [sys.executable, "-m", "docker.prepare"],
                cwd=CHECKOUT,
                env={**passed_on(), **self.env},
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=_PREPARE_TIMEOUT_S,
            )
        if done.returncode != 0:
            what = f"ended with exit code {done.returncode}"
            raise ProcessFailedError(name="prepare", what=what, log_path=log_path)

    def _start_programs(self, timeout_s: float) -> None:
        table = self._table()
        started = [table.named(name) for name in self._programs if name != "devchat"]
        self.supervisor.add(*started)
        has_work = [p.name for p in started if p.starts_when is None or p.starts_when.exists()]
        has_work += [name for name in self._programs if name == "devchat"]
        deadline = time.monotonic() + timeout_s
        for name in has_work:
            self.supervisor.wait_ready([name], timeout_s=deadline - time.monotonic())

    def _table(self) -> Programs:
        return Programs(
            ports=self.ports,
            state_path=self.state.path,
            nexus_env=self.env,
            restart=self._restart,
            chat_arguments=self._chat_arguments,
        )

    def _make_env(self, known: Mapping[str, str], *, database_url: str, redis_url: str) -> dict[str, str]:
        """Settings given to us win over those of our own environment, and both over the defaults."""
        from_outside = {k: v for k, v in os.environ.items() if k.startswith("NEXUS_")}
        return {
            **{name: value for name, value in known.items() if name.startswith("NEXUS_")},
            **from_outside,
            "NEXUS_STATE_DIR": str(self.state.path),
            "NEXUS_DATABASE_URL": database_url,
            "NEXUS_REDIS_URL": redis_url,
            "NEXUS_ROCKETCHAT_URL": self.chat_url,
            "NEXUS_PUBLIC_URL": self.gateway_url,
            "NEXUS_MEM0_URL": f"http://{HOST}:{self.ports.mem0}",
            "MEM0_DIR": str(self.state.path / "mem0"),
            "MEM0_TELEMETRY": "False",
            **self._settings,
        }
