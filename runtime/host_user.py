"""The user under which the host's bridge and its CLIs run: not root, and not the one that holds Nexus's secrets.

The directory belongs to whoever prepares it, so that the unprivileged user can't put a link where we are about to
write; what the bridge writes to is his.
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path


class HostUserError(OSError):
    """Can't be run as that user; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class HostUser:
    name: str
    uid: int
    gid: int
    home: Path

    @property
    def must_switch(self) -> bool:
        return os.geteuid() != self.uid


def find(name: str) -> HostUser:
    """Raises HostUserError: not there, root, or nobody that we may become."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise HostUserError(
            f"NEXUS_HOST_USER: there is no user {name!r}; useradd --system --create-home {name}"
        ) from error
    if entry.pw_uid == 0:
        raise HostUserError("NEXUS_HOST_USER must not be root: agents' CLIs would own the machine")
    found = HostUser(name=name, uid=entry.pw_uid, gid=entry.pw_gid, home=Path(entry.pw_dir))
    if found.must_switch and os.geteuid() != 0:
        raise HostUserError(f"NEXUS_HOST_USER: start runtime_host as root, or as {name} itself")
    return found


def make_directory(path: Path, *, user: HostUser | None) -> None:
    """His own, where there is one; below a directory that is ours."""
    path.mkdir(mode=0o700, exist_ok=True)
    if user is not None and user.must_switch:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def make_base(path: Path, *, user: HostUser | None) -> None:
    """Ours; he may pass through it and change nothing of it."""
    path.mkdir(mode=0o711 if user is not None and user.must_switch else 0o700, parents=True, exist_ok=True)


def give(path: Path, *, user: HostUser | None) -> None:
    if user is not None and user.must_switch:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
