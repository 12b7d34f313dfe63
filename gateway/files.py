"""Files of messages and replies on the host's disk, each under its own SHA-256."""

import contextlib
import hashlib
import os
import re
import secrets
import time
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from gateway.models import File, Invocation

MAX_PER_RUN: Final = 10

FRESH_S: Final = 3_600
"""Content younger than this stays: the row that names it may not be written yet."""

_STEP_BYTES: Final = 64 * 1024
_SHA256 = re.compile(r"^[0-9a-f]{64}\Z")


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class TooLargeError(Exception):
    """More than NEXUS_FILE_MAX_MIB; nothing was kept."""


class TooManyError(Exception):
    """The run has sent MAX_PER_RUN files already."""


def path_of(*, sha256: str) -> Path:
    """Where a file with this digest lies, whether or not it is there."""
    if not _SHA256.match(sha256):
        raise ValueError("not a SHA-256")
    return Path(settings.NEXUS_STATE_DIR) / "files" / sha256[:2] / sha256


def keep(stream: Readable) -> tuple[str, int]:
    """Store what the stream holds; returns digest and size. The same content is stored once."""
    folder = Path(settings.NEXUS_STATE_DIR) / "files"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    coming = folder / f"coming-{secrets.token_hex(8)}"
    digest, size, most = hashlib.sha256(), 0, settings.NEXUS_FILE_MAX_MIB * 1024 * 1024
    try:
        with os.fdopen(os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            while step := stream.read(_STEP_BYTES):
                size += len(step)
                if size > most:
                    raise TooLargeError
                digest.update(step)
                out.write(step)
        path = path_of(sha256=digest.hexdigest())
        path.parent.mkdir(mode=0o700, exist_ok=True)
        coming.replace(path)
    finally:
        coming.unlink(missing_ok=True)
    return digest.hexdigest(), size


def keep_for_room(*, run: Invocation, name: str, content_type: str, stream: Readable) -> File:
    """A file that this run made; it is posted with the answer. Raises TooManyError, TooLargeError."""
    _check_count(run)  # before what may take long, and once more when it is there
    sha256, size = keep(stream)
    with transaction.atomic():
        Invocation.objects.select_for_update(no_key=True).get(pk=run.pk)  # two files at once are counted one by one
        _check_count(run)
        return File.objects.create(
            sha256=sha256,
            name=plain_name(name),
            size=size,
            content_type=content_type[:200],
            invocation=run,
            expires_at=Now() + timedelta(days=settings.NEXUS_KEEP_FILES_DAYS),
        )


def _check_count(run: Invocation) -> None:
    if File.objects.filter(invocation=run).count() >= MAX_PER_RUN:
        raise TooManyError


def plain_name(name: str) -> str:
    """As the last part of a path: no folder, nothing that can't be seen."""
    kept = "".join("_" if sign in "/\\" else sign for sign in name if sign.isprintable())
    return kept.strip().lstrip(".")[:300] or "file"


def forget(*, sha256: str) -> None:
    """Remove the content, unless somebody has just kept the same again."""
    path = path_of(sha256=sha256)
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > FRESH_S:
            path.unlink()
