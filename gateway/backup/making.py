"""How is a backup made: one snapshot of all tables and the files they name, whole or not at all?"""

import contextlib
import hashlib
import hmac
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import connection, transaction

from gateway import audit, files
from gateway.backup import tables
from gateway.backup.archive import BackupError, Manifest, Table, Writer, writing
from gateway.models import AuditSeal, File
from nexus_project.version import VERSION

PATTERN: Final = "nexus-*.backup"


class Made:
    """Where it is, and what is in it."""

    def __init__(self, *, path: Path, manifest: Manifest, removed: list[Path]) -> None:
        self.path = path
        self.manifest = manifest
        self.removed = removed


def make(*, folder: Path, is_encrypted: bool, keep: int | None, now: datetime) -> Made:
    """Raises BackupError; then nothing of a file is left, and no older one is removed."""
    if is_encrypted and not settings.NEXUS_BACKUP_KEY:
        raise BackupError("--encrypt needs NEXUS_BACKUP_KEY; make one, and keep a copy where the backups are not")
    path = folder / f"nexus-{now.astimezone(UTC):%Y%m%dT%H%M%S}Z.backup"
    draft = path.with_suffix(".part")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        manifest = _write(draft, key=settings.NEXUS_BACKUP_KEY if is_encrypted else "", now=now)
        draft.replace(path)
        size = path.stat().st_size
        removed = _remove_old(folder, keep=keep) if keep is not None else []
    except OSError as error:
        raise BackupError(
            f"{folder} can't take the backup: {error.strerror or error}; nothing is left of it"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    audit.record(
        actor="command", action="backup_made", target=path.name, rows=manifest.rows, bytes=size, encrypted=is_encrypted
    )
    return Made(path=path, manifest=manifest, removed=removed)


def _write(draft: Path, *, key: str, now: datetime) -> Manifest:
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        with writing(out, key=key) as writer:
            manifest = _fill(writer, now=now)
        out.flush()
        os.fsync(out.fileno())
    return manifest


def _fill(writer: Writer, *, now: datetime) -> Manifest:
    """All reads see the same moment, whatever is written meanwhile."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        seal = AuditSeal.objects.order_by("-last_id").first()
        manifest = Manifest(
            version=VERSION,
            made_at=now.isoformat(),
            server=_server(),
            migrations=tables.applied(),
            field_key=fingerprint(settings.NEXUS_FIELD_KEY),
            audit_seal=seal.sha256 if seal is not None else "",
        )
        for name in tables.names():
            columns = tables.columns(name)
            digest = writer.table(name, tables.copy_out(name, columns))
            manifest.tables[name] = Table(columns, tables.count(name), digest)
        _add_files(writer, manifest)
    writer.manifest(manifest)
    return manifest


def _server() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version')")
        return str(cursor.fetchone()[0])


def _add_files(writer: Writer, manifest: Manifest) -> None:
    """Each content once. One that housekeeping has just deleted is told, not waited for."""
    wanted = File.objects.exclude(sha256="").order_by("sha256").distinct().values_list("sha256", flat=True)
    for sha256 in wanted:
        path = files.path_of(sha256=sha256)
        try:
            with path.open("rb") as source:
                if hashlib.file_digest(source, "sha256").hexdigest() != sha256:
                    manifest.missing.append(sha256)
                    continue
                size = source.tell()
                source.seek(0)
                writer.file(sha256, source, size=size)
        except FileNotFoundError:
            manifest.missing.append(sha256)
            continue
        manifest.files.append(sha256)


def _remove_old(folder: Path, *, keep: int) -> list[Path]:
    """By name, which is by time; only files of our own form."""
    old = sorted(folder.glob(PATTERN), reverse=True)[keep:]
    for path in old:
        path.unlink()
    return old


def fingerprint(field_key: str) -> str:
    """Tells one NEXUS_FIELD_KEY from another, and nothing more: the key has too many values to be tried out."""
    return hmac.new(field_key.encode(), b"nexus backup: which field key", hashlib.sha256).hexdigest()[:16]
