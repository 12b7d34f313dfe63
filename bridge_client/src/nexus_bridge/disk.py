"""Files and directories that are ours alone: no symlinks followed, no other owner, no reading by others."""

import fcntl
import os
import stat
from pathlib import Path

from nexus_bridge.errors import JournalLocked, JournalRefused


def write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise JournalRefused(f"{directory} can't be used for the journal: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise JournalRefused(f"{directory} is a symbolic link or no directory; name a real one as `journal`")
    if found.st_uid != os.geteuid():
        raise JournalRefused(f"{directory} belongs to another user; name one of your own as `journal`")
    if found.st_mode & 0o022:
        raise JournalRefused(f"{directory} can be written by others; run: chmod 700 {directory}")


def open_private(path: Path, flags: int) -> int:
    """A descriptor of a regular file that is ours alone. Raises JournalRefused."""
    try:
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise JournalRefused(f"{path} can't be opened: {why}") from error
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(file)
        raise JournalRefused(f"{path} is not a file of yours; move it away")
    if found.st_mode & 0o077:
        os.close(file)
        raise JournalRefused(f"{path} is open to others; run: chmod 600 {path}")
    return file


def lock(directory: Path) -> int:
    """Held until closed, by this process alone: children do not inherit it."""
    file = open_private(directory / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid = os.pread(file, 32, 0).decode(errors="replace").strip()
        os.close(file)
        raise JournalLocked(directory=directory, pid=int(pid) if pid.isdigit() else 0) from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
