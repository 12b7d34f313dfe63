"""Are the host's files private, kept out of version control, and is there room for more?"""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

from gateway import downloads
from gateway.doctor.finding import Check, Finding, critical, good, skipped, warning
from gateway.doctor.setup import read_neighbours

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
    for path in private_paths() if paths is None else paths:
        try:
            status = path.lstat()
        except OSError:
            continue
        is_secret_mount = path.is_relative_to("/run/secrets")
        if not is_secret_mount and (stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid not in (os.geteuid(), 0)):
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


def read_told() -> list[str]:
    """`PID program` of each process whose command line holds one of our secrets."""
    secrets = [value.encode() for value in read_neighbours().values() if len(value) >= 12]
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if any(secret in line for secret in secrets):
            program = line.partition(b"\0")[0].decode(errors="replace")
            found.append(f"{entry.name} {Path(program).name}")
    return found


def judge_told(found: Sequence[str]) -> Finding:
    if found:
        return critical(
            f"the command line of {', '.join(found)} shows a secret to everybody on this machine",
            "give secrets by environment or file, never as an argument",
        )
    return good("no command line shows a secret")


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


def read_wheel() -> list[str]:
    return [path.name for path in downloads.wheels()]


def judge_wheel(names: Sequence[str]) -> Finding:
    if names:
        return good(f"/client/ serves {names[-1]}")
    return warning("/client/ has no bridge to download", "run: manage.py build_client")


def fix_wheel(_names: Sequence[str]) -> str:
    return f"built {downloads.build().name}"


def read_webhook() -> Mapping[str, str]:
    return {"token": settings.NEXUS_WEBHOOK_TOKEN, "url": settings.NEXUS_WEBHOOK_URL}


def judge_webhook(given: Mapping[str, str]) -> Finding:
    if not given["token"]:
        return warning(
            "the webhook is off, so a room that nobody listens in is looked at once a minute only",
            "set NEXUS_WEBHOOK_TOKEN and run bootstrap",
        )
    if urlsplit(given["url"]).path != "/rc/webhook":
        return critical(f"NEXUS_WEBHOOK_URL leads to {given['url']}, where no webhook is", "let it end in /rc/webhook")
    return good(f"the chat calls {given['url']}")


CHECKS: Final = (
    Check("files.private", read_exposed, judge_exposed, fix=fix_exposed),
    Check("files.tracked", read_tracked, judge_tracked),
    Check("files.told", read_told, judge_told),
    Check("files.room", read_room, judge_room),
    Check("files.client", read_wheel, judge_wheel, fix=fix_wheel),
    Check("settings.webhook", read_webhook, judge_webhook),
)
