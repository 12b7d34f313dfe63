"""How does a backup become a running host's data again: checked first, then all of it or nothing?"""

import os
import secrets
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from gateway import audit, files
from gateway.backup import archive, tables
from gateway.backup.archive import BackupError, Manifest, Member
from gateway.backup.making import fingerprint
from gateway.parts import SWEEP_LOCK


def check(*, path: Path) -> Manifest:
    """Every hash, the version and the keys; changes nothing. Raises BackupError."""
    manifest = archive.verify(path, key=settings.NEXUS_BACKUP_KEY)
    tables.check_names(manifest.tables)
    known = MigrationExecutor(connection).loader.disk_migrations
    unknown = sorted(key for key in manifest.migrations if key not in known)
    if unknown:
        raise BackupError(
            f"this backup is of Nexus {manifest.version} and has {'.'.join(unknown[0])}, which this version does not know; use that version or a newer one"
        )
    return manifest


def restore(*, path: Path, may_replace: bool, may_have_other_key: bool) -> Manifest:
    """Fill this database. Raises BackupError; then it is as it was, or still empty."""
    manifest = check(path=path)
    if manifest.field_key != fingerprint(settings.NEXUS_FIELD_KEY) and not may_have_other_key:
        raise BackupError(
            "the bot accounts' tokens in it are encrypted with another NEXUS_FIELD_KEY: set the old one,"
            " or give --other-field-key and run bootstrap afterwards, which makes new tokens"
        )
    _refuse_busy()
    _make_room(manifest, may_replace=may_replace)
    _put_files(path)
    try:
        _load(path, manifest)
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0]
        raise BackupError(f"Postgres did not take it ({reason}); nothing was changed") from error
    if MigrationExecutor(connection).migration_plan(MigrationExecutor(connection).loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False, verbosity=0)
    return manifest


def _refuse_busy() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
            [SWEEP_LOCK],
        )
        is_busy = bool(cursor.fetchone()[0])
        if not is_busy and {"bot_accounts", "bridges"} <= set(tables.names()):
            cursor.execute(
                "SELECT EXISTS (SELECT 1 FROM bot_accounts WHERE lease_until > now()) OR EXISTS (SELECT 1 FROM bridges WHERE lease_until > now())"
            )
            is_busy = bool(cursor.fetchone()[0])
    if is_busy:
        raise BackupError("a Nexus is at work in this database; stop it, wait half a minute, and try again")


def _make_room(manifest: Manifest, *, may_replace: bool) -> None:
    """Leaves tables as they were when the backup was made, with or without rows."""
    rows = tables.filled()
    if rows and not may_replace:
        raise BackupError(
            f"this database is not empty ({', '.join(rows[:5])}); restore into a new one, or give --replace to lose what is in it"
        )
    if tables.applied() == sorted(manifest.migrations) and set(tables.names()) == set(manifest.tables):
        return
    if rows:
        raise BackupError("this database is of another version than the backup; restore into a new, empty one")
    tables.rebuild(manifest.migrations)


def _put_files(path: Path) -> None:
    """Under their own hash: one that stays behind after a failure harms nobody."""
    folder = Path(settings.NEXUS_STATE_DIR) / "files"
    for member in archive.read(path, key=settings.NEXUS_BACKUP_KEY):
        if member.kind != "files":
            continue
        target = files.path_of(sha256=member.name)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f"coming-{secrets.token_hex(8)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            for step in archive.steps_of(member):
                out.write(step)
        draft.replace(target)


def _load(path: Path, manifest: Manifest) -> None:
    with transaction.atomic(durable=True):
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            tables.run(f"SET LOCAL {setting} = 0")
        known = sorted(manifest.tables)
        for name in known:
            # The guards of rows that change are not meant for rows that come back as they were.
            tables.run("ALTER TABLE {} DISABLE TRIGGER USER", name)
        tables.run(f"TRUNCATE {', '.join(['{}'] * len(known))}, django_session", *known)
        for name, members in _by_table(path):
            found = tables.copy_in(name, manifest.tables[name].columns, map(archive.rows_of, members))
            if found != manifest.tables[name].rows:
                raise BackupError(
                    f"{name} has {found} rows, its manifest says {manifest.tables[name].rows}; nothing was changed"
                )
        tables.leap()
        for name in ("bot_accounts", "bridges"):
            # Who held them when the backup was made holds nothing here.
            tables.run("UPDATE {} SET lease_until = now() WHERE lease_until > now()", name)
        tables.run("SET CONSTRAINTS ALL IMMEDIATE")
        for name in known:
            tables.run("ALTER TABLE {} ENABLE TRIGGER USER", name)
        broken = audit.verify()
        if broken is not None:
            raise BackupError(
                f"the audit log in it was changed: seal {broken.seal_id} does not fit; nothing was changed"
            )
        audit.record(
            actor="command", action="backup_restored", target=path.name, made_at=manifest.made_at, rows=manifest.rows
        )


def _by_table(path: Path) -> Iterator[tuple[str, Iterator[Member]]]:
    members = (one for one in archive.read(path, key=settings.NEXUS_BACKUP_KEY) if one.kind == "tables")
    yield from groupby(members, key=lambda one: one.name)
