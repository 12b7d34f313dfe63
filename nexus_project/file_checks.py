"""Are the host's files private, kept out of version control, and is there room for more?"""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings

from nexus_project.finding import Check, Finding, critical, good, skipped, warning

LEAST_FREE: Final = 0.10
LEAST_FREE_MIB: Final = 1024
GIT_TIMEOUT_S: Final = 5.0
_SECRETIVE: Final = ("*.env", "*.toml", "secrets.json", "env")


@dataclass(frozen=True, slots=True)
class Exposed:
    """A path that others may read, or that is somebody else's."""

    path: Path
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Room:
    path: str
    free_mib: int
    free: float
    free_inodes: float


def private_paths() -> Iterator[Path]:
    """What holds secrets: the environment's files, the state directory, bridges' configurations, backups."""
    yield Path(settings.BASE_DIR) / ".env"
    yield from (Path(value) for name, value in os.environ.items() if re.fullmatch(r"NEXUS_\w+_FILE", name) and value)
    if settings.NEXUS_MCP_SECRETS:
        yield Path(settings.NEXUS_MCP_SECRETS)
    state = Path(settings.NEXUS_STATE_DIR)
    for folder in (state, state / "bridge", state / "bridges", state / "host"):
        for pattern in _SECRETIVE:
            yield from folder.glob(pattern)
    yield state / "files"


def read_exposed(paths: Iterator[Path] | None = None) -> list[Exposed]:
    found = []
    # Whoever owns the code could read it anyway: runtime_host may run as root in the checkout of an operator.
    trusted = {0, os.geteuid(), Path(settings.BASE_DIR).stat().st_uid}
    for path in private_paths() if paths is None else paths:
        try:
            status = path.lstat()
        except OSError:
            continue
        is_secret_mount = path.is_relative_to("/run/secrets")
        if not is_secret_mount and (stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid not in trusted):
            found.append(Exposed(path=path, is_ours=status.st_uid == os.geteuid()))
    return found


def judge_exposed(found: Sequence[Exposed]) -> Finding:
    if not found:
        return good("files with secrets are readable by their owner alone")
    names = " ".join(str(one.path) for one in found)
    return critical(f"others may read {names}", f"run: chmod go-rwx {names}")


def fix_exposed(found: Sequence[Exposed]) -> str:
    ours = [one.path for one in found if one.is_ours and not one.path.is_symlink()]
    for path in ours:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700)
    return f"took others' rights from {' '.join(map(str, ours))}" if ours else ""


def read_tracked() -> list[str] | None:
    """Which of our secret files git knows; None where nothing is to be asked."""
    base = Path(settings.BASE_DIR)
    if shutil.which("git") is None or not (base / ".git").exists():
        return None
    command = ["git", "-C", str(base), "ls-files", "--", ".env", ".env.*", ".nexus", "*.pem", "*.key"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GIT_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return [name for name in done.stdout.splitlines() if name != ".env.example"] if done.returncode == 0 else None


def judge_tracked(found: list[str] | None) -> Finding:
    if found is None:
        return skipped("this is no git checkout")
    if found:
        names = " ".join(found)
        return critical(
            f"git keeps {names}: whoever has the repository has the secrets",
            f"run: git rm --cached {names}, commit, and change the secrets in them",
        )
    return good("no secret is in version control")


def read_room() -> list[Room]:
    rooms = {}
    for path in (Path(settings.NEXUS_STATE_DIR), Path("/tmp")):  # noqa: S108 - looked at, not written to
        there = next(one for one in (path, *path.parents) if one.exists())
        found = os.statvfs(there)
        total, inodes = found.f_blocks * found.f_frsize, found.f_files
        rooms[there.stat().st_dev] = Room(
            path=str(there),
            free_mib=found.f_bavail * found.f_frsize // 1024 // 1024,
            free=found.f_bavail * found.f_frsize / total if total else 1.0,
            free_inodes=found.f_favail / inodes if inodes else 1.0,
        )
    return list(rooms.values())


def judge_room(rooms: Sequence[Room]) -> Finding:
    for room in rooms:
        if room.free_mib < LEAST_FREE_MIB and room.free < LEAST_FREE:
            return critical(
                f"{room.free_mib} MiB are free at {room.path}",
                "make room: manage.py retention --dry-run shows what shorter lifetimes would delete",
            )
        if room.free < LEAST_FREE or room.free_inodes < LEAST_FREE:
            return warning(
                f"{room.free:.0%} of the space and {room.free_inodes:.0%} of the inodes are free at {room.path}",
                "make room before it is full",
            )
    return good(f"{min((room.free_mib for room in rooms), default=0)} MiB are free")


CHECKS: Final = (
    Check("files.private", read_exposed, judge_exposed, fix=fix_exposed),
    Check("files.tracked", read_tracked, judge_tracked),
    Check("files.room", read_room, judge_room),
)
