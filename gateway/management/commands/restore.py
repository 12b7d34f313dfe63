"""Fills this database and state directory from a backup, all of it or nothing."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from gateway import audit, backup


class Command(BaseCommand):
    help = "Restores a backup onto a fresh host; Nexus must not run meanwhile. docs/backup.md has the whole way."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="a file that `manage.py backup` wrote")
        parser.add_argument("--check", action="store_true", help="only read all of it and say whether it is good")
        parser.add_argument("--replace", action="store_true", help="also over rows that are there; they are lost")
        parser.add_argument(
            "--other-field-key", action="store_true", help="though NEXUS_FIELD_KEY is another; bootstrap must follow"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path = _path(options["file"])
        try:
            if options["check"]:
                self._check(path)
                return
            manifest = backup.restore(
                path=path, may_replace=options["replace"], may_have_other_key=options["other_field_key"]
            )
        except backup.BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{manifest.rows} rows of {len(manifest.tables)} tables and {len(manifest.files)} files are here, as of {manifest.made_at}. "
            "The audit log's chain holds. Now start Nexus, and run: manage.py doctor --deep"
        )

    def _check(self, path: Path) -> None:
        manifest = backup.check(path=path)
        self.stdout.write(
            f"good: {manifest.rows} rows of {len(manifest.tables)} tables and {len(manifest.files)} files, of {manifest.made_at} by Nexus {manifest.version}"
        )
        try:
            audit.record(actor="command", action="backup_checked", target=path.name)
        except DatabaseError:
            self.stderr.write("It could not be noted in the audit log, so the doctor will not know of it.")


def _path(text: str) -> Path:
    path = Path(text)
    try:
        is_there = bool(text) and "\0" not in text and path.is_file()
    except OSError:
        is_there = False
    if not is_there:
        raise CommandError(f"there is no file {text[:200]!r}")
    return path
