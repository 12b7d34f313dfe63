"""What does an embedded Nexus keep on disk, and who may use it at a time?"""

import fcntl
import json
import os
import secrets
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

SECRET_NAMES = (
    "NEXUS_SECRET_KEY",
    "NEXUS_FIELD_KEY",
    "NEXUS_ADMIN_TOKEN",
    "NEXUS_WEBHOOK_TOKEN",
    "NEXUS_MEM0_KEY",
    "NEXUS_METRICS_TOKEN",
    "NEXUS_BACKUP_KEY",
    "NEXUS_ROCKETCHAT_ADMIN_PASSWORD",
    "POSTGRES_PASSWORD",
    "VALKEY_PASSWORD",
)
# The guard of a launcher that was killed needs up to its grace time and a little to end the processes.
_GUARD_TIMEOUT_S = 12.0
_POLL_S = 0.1


class AlreadyRunningError(RuntimeError):
    """Another launcher uses this state directory; the text names it."""


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """A private directory: data of the databases, logs, secrets, and a lock that dies with its owner."""

    path: Path

    @property
    def log_dir(self) -> Path:
        return self.path / "log"

    @property
    def status_path(self) -> Path:
        return self.path / "processes.json"

    @property
    def environment_path(self) -> Path:
        """`NAME=value` lines with which `manage.py` finds the running Nexus."""
        return self.path / "env"

    @property
    def bridge_dir(self) -> Path:
        return self.path / "bridge"

    @property
    def bridge_config_path(self) -> Path:
        """What the demo's bridge is run with, as soon as it is there."""
        return self.bridge_dir / "bridge.toml"

    def create(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        self.log_dir.mkdir(exist_ok=True)
        self.bridge_dir.mkdir(mode=0o700, exist_ok=True)

    @property
    def lock_path(self) -> Path:
        return self.path / "lock"

    def lock(self) -> int:
        """The locked descriptor; raises AlreadyRunningError while its owner lives.

        A lock whose owner was killed is free as soon as nothing of its processes is left.
        """
        deadline = time.monotonic() + _GUARD_TIMEOUT_S
        while (descriptor := _try_lock(self.lock_path)) is None:
            owner = _read_pid(self.lock_path)
            if _is_alive(owner) or time.monotonic() > deadline:
                raise AlreadyRunningError(
                    f"Nexus is already running here, as process {owner}. Stop it with Ctrl-C in its terminal, "
                    f"or with: kill {owner}"
                )
            time.sleep(_POLL_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor

    def unlock(self, descriptor: int) -> None:
        self.lock_path.unlink(missing_ok=True)
        os.close(descriptor)

    def secrets(self) -> dict[str, str]:
        """Made once; later calls find the same ones, and add those that a newer version asks for."""
        path = self.path / "secrets.json"
        known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        missing = [name for name in SECRET_NAMES if name not in known]
        if missing:
            known |= {name: secrets.token_urlsafe(36) for name in missing}
            write_private(path, json.dumps(known, indent=1) + "\n")
        return known

    def forget_other_hub(self, hub: str) -> None:
        """Removes a bridge's configuration that an earlier start with other ports left; the demo makes it anew.

        `hub` is where the bridge connects, without a path: ws://127.0.0.1:4000.
        """
        try:
            known = tomllib.loads(self.bridge_config_path.read_text(encoding="utf-8")).get("hub")
        except FileNotFoundError:
            return
        except ValueError:
            known = None
        if known != hub:
            self.bridge_config_path.unlink()

    def write_environment(self, values: dict[str, str]) -> None:
        lines = [f"{name}={value}\n" for name, value in sorted(values.items())]
        write_private(self.environment_path, "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Never readable by others, never half-written."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last owner may have removed the file between our two calls: then we hold a lock nobody sees.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _read_pid(path: Path) -> int:
    """0 while the owner has not written its own yet."""
    try:
        return int(path.read_text(encoding="utf-8").strip() or 0)
    except FileNotFoundError:
        return 0


def _is_alive(pid: int) -> bool:
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _runs(pid)


def _runs(pid: int) -> bool:
    """A killed process that its parent has not looked at yet keeps its id, but does nothing."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return not Path("/proc/self").exists()
    return stat.rpartition(")")[2].split()[0] != "Z"
