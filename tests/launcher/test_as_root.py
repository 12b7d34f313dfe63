"""Does Postgres run for root where the kernel allows no user namespaces, or say what to do?"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from docker import as_root
from docker.ports import free_ports
from docker.postgres import Postgres
from docker.supervisor import Supervisor

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for Postgres"),
]


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_root, "_NAMESPACE", ("no-such-program",))


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """Where every user may look."""
    path = Path(tempfile.mkdtemp(prefix="nexus-open-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_it_runs_as_nobody_where_nobody_may_look(open_dir: Path, tmp_path: Path) -> None:
    postgres = Postgres(data_dir=open_dir / "pg", port=free_ports(1)[0], password="p" * 20, is_durable=False)
    supervisor = Supervisor(log_dir=tmp_path)
    supervisor.start()
    try:
        supervisor.add(postgres.process())
        supervisor.wait_ready(["postgres"], timeout_s=20)
        postgres.create_database()
        pid = supervisor.pid("postgres")

        assert Path(f"/proc/{pid}").stat().st_uid == as_root.NOBODY
        with psycopg.connect(postgres.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        supervisor.stop()


@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_below_a_private_home_it_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    postgres = Postgres(data_dir=tmp_path / "state" / "pg", port=free_ports(1)[0], password="p" * 20)

    with pytest.raises(as_root.RootNotPossibleError, match="Run the same command as a normal user"):
        postgres.process()
