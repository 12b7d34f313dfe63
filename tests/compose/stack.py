"""How does a whole Nexus run in containers for the tests: docker/compose.yml under podman, with runtime_host beside it?"""

import os
import shlex
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from docker.ports import HOST, free_ports
from docker.programs import CHECKOUT, Ports
from docker.stack import Stack
from docker.supervisor import Supervisor

PROJECT = "nexus-test"
IMAGE = "localhost/nexus:test"
WEBHOOK_URL = "http://gateway:4000/rc/webhook"
"""As compose.yml says it."""
_UP_TIMEOUT_S = 420
_LOOK_TIMEOUT_S = 60
_LOOK_EVERY_S = 3


class ContainerStack(Stack):
    """The same words as the embedded stack. The settings are those that docker/env writes, seen from the host."""

    image = IMAGE

    def __init__(self, *, scratch: Path, state_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        free = free_ports(7)
        ports = Ports(chat=free[0], gateway=free[1], mem0=free[2], postgres=free[3], valkey=free[4])
        super().__init__(state_dir=state_dir, ports=ports, programs=("runtime_host",))
        self._worker_ports = free[5], free[6]
        self._extra = dict(settings or {})
        self._tools = _environment(scratch)
        self.env_path = state_dir / "compose.env"
        self._looks: threading.Thread | None = None
        self._closing = threading.Event()

    def podman(self, *words: str, timeout_s: float = _LOOK_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        return self._run(["podman", *words], timeout_s=timeout_s)

    def inside(self, service: str, *command: str) -> "subprocess.Popen[str]":
        """A program in a container, to talk with by its pipes; it ends when its input does."""
        words = ["podman", "exec", "--interactive", self.name_of(service), *command]
        env = {**os.environ, **self._tools}
        return subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def make(self, word: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The very word that people type, with podman-compose behind it."""
        # A make that runs these tests would pass its own ARGS on.
        return self._run(["make", word], timeout_s=_UP_TIMEOUT_S, MAKEFLAGS="", MAKEOVERRIDES="", **variables)

    def dumps(self) -> list[Path]:
        return sorted((self.env_path.parent / ".nexus" / "dumps").glob("*.dump"))

    def image_of(self, service: str) -> str:
        return self.podman("inspect", "--format", "{{.ImageName}}", self.name_of(service)).stdout.strip()

    def containers(self) -> dict[str, str]:
        """`Up` or `Exited` for each service."""
        done = self.podman("ps", "-a", "--filter", f"label=io.podman.compose.project={PROJECT}", "--format", _ROW)
        rows = [line.split("|") for line in done.stdout.splitlines()]
        return {service: status.split()[0] for service, status in rows}

    def leftovers(self) -> list[str]:
        """Containers, volumes and networks of ours that are still there."""
        kinds = (("ps", "-a"), ("volume", "ls"), ("network", "ls"))
        mine = ("--filter", f"label=io.podman.compose.project={PROJECT}", "--quiet")
        return [line for kind in kinds for line in self.podman(*kind, *mine).stdout.split()]

    def name_of(self, service: str) -> str:
        return f"{PROJECT}_{service}_1"

    def _start(self, timeout_s: float) -> None:
        self._closing.clear()
        self._looks = threading.Thread(target=self._look_after_health, name="health", daemon=True)
        self._looks.start()
        done = self.make("up")
        if done.returncode != 0:
            raise RuntimeError(f"make up failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        lines = [line.partition("=") for line in self.env_path.read_text(encoding="utf-8").splitlines()]
        known = {name: value for name, _, value in lines if name.startswith("NEXUS_") and value}
        # Where the chat's container reaches the gateway's; the host's own programs do not use it.
        webhook = {"NEXUS_WEBHOOK_URL": WEBHOOK_URL}
        self.env = {**known, **webhook, **self._extra, "NEXUS_STATE_DIR": str(self.state.path)}
        self._supervisor = Supervisor(log_dir=self.state.log_dir, status_path=self.state.status_path, hold=self._lock)
        self._supervisor.start()
        self._start_programs(timeout_s)

    def stop(self) -> None:
        was_started = self._lock is not None
        super().stop()
        if was_started and self.env_path.exists():
            self._closing.set()
            done = self._run(["docker/compose", "down", "-v"], timeout_s=_UP_TIMEOUT_S)
            if self._looks is not None:
                self._looks.join(_LOOK_TIMEOUT_S)
            if done.returncode != 0:
                raise RuntimeError(f"compose down failed:\n{done.stderr[-4000:]}")

    def _look_after_health(self) -> None:
        """Health checks are run by systemd's timers under podman; here, where there is no systemd, by us."""
        while not self._closing.wait(_LOOK_EVERY_S):
            for service, state in self.containers().items():
                if state == "Up" and not self._closing.is_set():
                    self.podman("healthcheck", "run", self.name_of(service))

    def _run(self, command: list[str], *, timeout_s: float, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=CHECKOUT,
            env={**os.environ, **self._tools, **self._words(), **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )

    def _words(self) -> dict[str, str]:
        """What a person says to `make up`, and where this test's own things are."""
        composer, runtime = self._worker_ports
        return {
            "COMPOSE": "podman-compose",
            "COMPOSE_PROJECT_NAME": PROJECT,
            "ENGINE": "podman",
            "IMAGE": IMAGE,
            "BUILD": "true",
            "ENV_FILE": str(self.env_path),
            "DEVCHAT": "1",
            "BIND_ADDRESS": HOST,
            "CHAT_PORT": str(self.ports.chat),
            "GATEWAY_PORT": str(self.ports.gateway),
            "MEM0_PORT": str(self.ports.mem0),
            "POSTGRES_PORT": str(self.ports.postgres),
            "REDIS_PORT": str(self.ports.valkey),
            "COMPOSER_PORT": str(composer),
            "RUNTIME_PORT": str(runtime),
        }


_ROW = '{{index .Labels "com.docker.compose.service"}}|{{.Status}}'


def _environment(scratch: Path) -> dict[str, str]:
    """What tests/compose/set_up wrote for a shell."""
    script = f"source {shlex.quote(str(scratch / 'environment'))} && env -0"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=10)
    pairs = [entry.partition("=") for entry in done.stdout.split("\0") if entry]
    wanted = {"PATH", "BUILDAH_ISOLATION", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF"}
    return {name: value for name, _, value in pairs if name in wanted}
