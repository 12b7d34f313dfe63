"""Which processes make up an embedded Nexus, and how is each started and known to be ready?"""

import http.client
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docker import roster
from docker.ports import HOST, answers
from docker.process import Process
from docker.state import StateDirectory

CHECKOUT = Path(__file__).resolve().parent.parent
_HTTP_TIMEOUT_S = 2.0
# What every program may see of the environment in which the launcher runs, besides NEXUS_*.
_PASSED_ON = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
_BRIDGE_ROUND, _NEXUS_ROUND, _CHAT_ROUND = 0, 1, 2

# glibc gives each thread its own heap, which a dozen mostly idle threads never give back.
_SMALL = {"MALLOC_ARENA_MAX": "2"}

WATCHED = ("chat", "composer", "runtime", "runtime_host", "sweep")
ALL = ("devchat", "gateway", "chat", "composer", "runtime", "runtime_host", "sweep", "mem0-api", "bridge")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the programs listen, on loopback."""

    chat: int
    gateway: int
    mem0: int
    postgres: int
    valkey: int
    watch: Mapping[str, int] = field(default_factory=dict)
    """Where programs without a web server tell how they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """`nexus_env` holds every setting and secret; a bridge gets none of it."""

    ports: Ports
    state_path: Path
    nexus_env: Mapping[str, str]
    restart: bool = True
    chat_arguments: tuple[str, ...] = ()

    def named(self, name: str) -> Process:
        """The program of that name out of ALL."""
        makers: dict[str, Callable[[], Process]] = {
            "devchat": self.devchat,
            "gateway": lambda: self._nexus("gateway", port=self.ports.gateway, ready_path="/healthz"),
            "mem0-api": lambda: self._nexus("mem0-api", port=self.ports.mem0),
            "runtime_host": lambda: self._nexus("runtime_host", stop_round=_BRIDGE_ROUND),
            "bridge": lambda: self.bridge(
                name="bridge", config_path=StateDirectory(self.state_path).bridge_config_path
            ),
        }
        return makers[name]() if name in makers else self._nexus(name)

    def devchat(self) -> Process:
        password = self.nexus_env["NEXUS_ROCKETCHAT_ADMIN_PASSWORD"]
        port = self.ports.chat
        return Process(
            name="devchat",
            argv=(
                *(sys.executable, *roster.arguments("devchat", env={}, port=port)),
                *("--snapshot", str(self.state_path / "devchat.json"), *self.chat_arguments),
            ),
            env={**passed_on(), "ADMIN_PASS": password},
            cwd=CHECKOUT,
            ready=lambda: responds(port=port, path="/api/info"),
            stop_round=_CHAT_ROUND,
            restart=self.restart,
        )

    def bridge(self, *, name: str, config_path: Path) -> Process:
        """Starts when its configuration appears. It sees what a person's own terminal would give it."""
        program = Path(sys.executable).with_name("nexus-bridge")
        return Process(
            name=name,
            argv=(str(program), "run", "--config", str(config_path)),
            env={key: value for key, value in os.environ.items() if not key.startswith("NEXUS_")},
            cwd=config_path.parent,
            starts_when=config_path,
            stop_round=_BRIDGE_ROUND,
            restart=self.restart,
        )

    def _watched(self, name: str) -> dict[str, str]:
        return {"NEXUS_WATCH_PORT": str(self.ports.watch[name])} if name in self.ports.watch else {}

    def _nexus(
        self,
        name: str,
        *,
        port: int | None = None,
        ready_path: str | None = None,
        stop_round: int = _NEXUS_ROUND,
    ) -> Process:
        def is_ready() -> bool:
            if port is None:
                return True
            if ready_path is None:
                return answers(port)
            return responds(port=port, path=ready_path)

        return Process(
            name=name,
            argv=(sys.executable, *roster.arguments(name, env=self.nexus_env, port=port or 0)),
            env={**_SMALL, **passed_on(), **self.nexus_env, **self._watched(name)},
            cwd=CHECKOUT,
            ready=is_ready,
            stop_round=stop_round,
            restart=self.restart,
        )


def passed_on() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def responds(*, port: int, path: str) -> bool:
    """Whether an HTTP server there answers with anything but an error of its own."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_HTTP_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < http.client.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
