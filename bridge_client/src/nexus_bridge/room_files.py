"""What an agent left for its room: a directory of its own in the working directory, sent to the hub after the turn.

Only plain files that lie in that directory itself are sent: no link leads out of it, and no second name of another file.
"""

import asyncio
import contextlib
import mimetypes
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from nexus_bridge import events
from nexus_bridge.errors import BridgeError
from nexus_bridge.hub_http import send
from nexus_bridge.protocol import Prompt
from nexus_bridge.settings import Hub

FOLDER: Final = ".nexus-files"
MAX_FILES: Final = 10
MAX_FILE_BYTES: Final = 50 * 1024 * 1024
SEND_S: Final = 60.0
"""All files of a turn together; what is not sent by then stays behind, and the room is told so."""

Told = events.File | events.Notice


def folder_of(*, workdir: Path, invocation: int) -> Path:
    return workdir / FOLDER / str(invocation)


def prepare(*, workdir: Path, invocation: int) -> Path | None:
    """The directory of this turn, empty. None: it can't be made, and the agent is not told of one."""
    folder = folder_of(workdir=workdir, invocation=invocation)
    try:
        if folder.parent.is_symlink():
            return None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The project's version control must not see it.
        (folder.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError:
        return None
    return folder


def hint(folder: Path) -> str:
    """What the agent is told below its prompt."""
    return f"\n\nFiles that you write into {folder} are sent to the room with your answer (at most {MAX_FILES})."


async def send_files(*, hub: Hub, prompt: Prompt, folder: Path) -> Sequence[Told]:
    """Send what lies there, then remove the directory. Each file becomes an event; what was left behind, a sentence."""
    told: list[Told] = []
    try:
        async with asyncio.timeout(SEND_S):
            await asyncio.to_thread(_send_all, hub, prompt, folder, told)
    except TimeoutError:
        told.append(_left("Some files", "sending them took too long"))
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return told


def _send_all(hub: Hub, prompt: Prompt, folder: Path, told: list[Told]) -> None:
    sent = 0
    with _open_folder(folder) as handle:
        for name in _names(handle):
            if sent >= MAX_FILES:
                told.append(_left("More files", f"{MAX_FILES} are the most"))
                return
            with _open_plain(name, handle) as (file, why):
                told.append(_left(name, why) if file is None else _send_one(hub, prompt, name=name, file=file))
            sent += isinstance(told[-1], events.File)


def _names(handle: int | None) -> list[str]:
    # By the open folder and not by its path, which somebody could move meanwhile.
    return [] if handle is None else sorted(os.listdir(handle))[: MAX_FILES * 10]  # noqa: PTH208


def _send_one(hub: Hub, prompt: Prompt, *, name: str, file: IO[bytes]) -> Told:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_FILE_BYTES:
        return _left(name, f"it is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    try:
        identity = send(hub=hub, tools_token=prompt.tools_token, name=name, content_type=kind, size=size, file=file)
    except BridgeError as error:
        return _left(name, str(error))
    return events.File(id=identity, name=name, size=size, content_type=kind)


@contextlib.contextmanager
def _open_folder(folder: Path) -> Iterator[int | None]:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def _open_plain(name: str, handle: int | None) -> Iterator[tuple[IO[bytes] | None, str]]:
    """Opened by its name below the folder's handle, so that nobody can put another folder in its place meanwhile."""
    try:
        # Without blocking: a pipe without a writer must not hold the bridge.
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
    except OSError:
        yield None, "it is a link or can't be read"
        return
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(opened)
        yield None, "it is a second name of another file" if stat.S_ISREG(found.st_mode) else "it is no plain file"
        return
    with os.fdopen(opened, "rb") as file:
        yield file, ""


def _left(name: str, why: str) -> events.Notice:
    return events.Notice(level="warning", text=f"{name[:100]} was not sent: {why}.")
