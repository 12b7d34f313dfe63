"""The attachments of a prompt, fetched from the hub into a directory of their own for as long as the turn lasts."""

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nexus_bridge.errors import BridgeError, CredentialsRefused
from nexus_bridge.hub_http import fetch
from nexus_bridge.protocol import Attachment, Prompt
from nexus_bridge.settings import Hub

MAX_FILES: Final = 20
MAX_FILE_BYTES: Final = 50 * 1024 * 1024
EARLY_WAITS_S: Final = (0.2, 0.5, 1.0)
_PIECE_BYTES: Final = 64 * 1024


class FileNotFetched(BridgeError):
    """An attachment did not come; the turn goes on without it and says so."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """`remove` after the turn. `missing` has a sentence for each file that did not come."""

    directory: Path | None = None
    files: Sequence[Path] = ()
    missing: Sequence[str] = ()

    def remove(self) -> None:
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


async def fetch_files(hub: Hub, prompt: Prompt) -> Fetched:
    if not prompt.attachments:
        return Fetched()
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="nexus-bridge-"))
    try:
        return await _fetch_into(directory, hub=hub, prompt=prompt)
    except BaseException:  # cancelled most likely: the turn was stopped meanwhile
        shutil.rmtree(directory, ignore_errors=True)
        raise


async def _fetch_into(directory: Path, *, hub: Hub, prompt: Prompt) -> Fetched:
    files: list[Path] = []
    missing: list[str] = []
    for number, attachment in enumerate(prompt.attachments[:MAX_FILES], start=1):
        path = directory / f"{number}-{_safe_name(attachment.name)}"
        try:
            await _fetch_patiently(hub, attachment, prompt.tools_token, path)
        except BridgeError as error:
            missing.append(f"{attachment.name} could not be fetched: {error}")
        else:
            files.append(path)
    if (left := len(prompt.attachments) - MAX_FILES) > 0:
        missing.append(f"{left} more files are left out; {MAX_FILES} are the most.")
    return Fetched(directory=directory, files=files, missing=missing)


async def _fetch_patiently(hub: Hub, attachment: Attachment, tools_token: str, path: Path) -> None:
    """The hub gives files to running turns only, and may not have heard yet that this one runs."""
    for wait_s in EARLY_WAITS_S:
        try:
            await asyncio.to_thread(_fetch_one, hub, attachment, tools_token, path)
        except CredentialsRefused:
            await asyncio.sleep(wait_s)
        else:
            return
    await asyncio.to_thread(_fetch_one, hub, attachment, tools_token, path)


def _fetch_one(hub: Hub, attachment: Attachment, tools_token: str, path: Path) -> None:
    digest = hashlib.sha256()
    size = 0
    with fetch(hub=hub, file=attachment.id, tools_token=tools_token) as answer, path.open("xb") as file:
        while piece := answer.read(_PIECE_BYTES):
            size += len(piece)
            if size > MAX_FILE_BYTES:
                raise FileNotFetched("it is larger than 50 MiB")
            digest.update(piece)
            file.write(piece)
    if attachment.sha256 and digest.hexdigest() != attachment.sha256:
        path.unlink()
        raise FileNotFetched("it did not arrive whole")


def _safe_name(name: str) -> str:
    """A name from the chat as the last part of a path: no directory, no dot in front, nothing a shell would read."""
    kept = "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in name)
    return kept.lstrip(".")[-80:] or "file"
