"""Does a stack come up, survive kills, and leave nothing behind, as whoever runs it?"""

import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from docker import prepare
from docker.ports import HOST, PortTakenError
from docker.programs import CHECKOUT
from docker.stack import Stack, pick_ports
from tests.launcher.programs_for_tests import is_running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def test_the_databases_come_up_prepared_come_back_when_killed_and_are_gone_afterwards(tmp_path: Path) -> None:
    stack = Stack(state_dir=tmp_path / "state", programs=(), is_durable=False)
    with stack:
        assert _count(stack, "SELECT count(*) FROM invocations") == 0

        for name in ("postgres", "valkey"):
            killed = stack.kill(name)
            assert killed is not None
            stack.wait_restarted(name, after_pid=killed)

        assert _count(stack, "SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == 1
        pids = stack.pids()
        command_lines = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids.values())
        told = [secret for secret in stack.state.secrets().values() if secret in command_lines]

    assert told == [], "no secret stands on a command line"
    assert set(pids) == {"postgres", "valkey"}
    assert not any(is_running(pid) for pid in pids.values())
    assert not stack.state.lock_path.exists()
    assert prepare.is_prepared(stack.state.path)


def test_a_taken_port_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        stack = Stack(state_dir=tmp_path / "state", ports=pick_ports(gateway=port), programs=())

        with pytest.raises(PortTakenError, match=f"Port {port} on {HOST} is taken"):
            stack.start()

    assert not stack.state.lock_path.exists()
    assert not (tmp_path / "state" / "postgres").exists()


def test_the_launcher_says_how_to_choose_another_port(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        words = ["demo", "--once", "--state-dir", str(tmp_path / "state"), "--gateway-port", str(port)]
        words += ["--chat-port", str(pick_ports().chat)]
        done = subprocess.run(
            [sys.executable, "-m", "docker.embedded", *words],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.returncode == 1
    assert f"Choose another one: make demo GATEWAY_PORT={port + 1}" in done.stdout


def _count(stack: Stack, query: str) -> int:
    with psycopg.connect(stack.env["NEXUS_DATABASE_URL"]) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
