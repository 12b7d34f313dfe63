"""Writes the whole of this Nexus into one file: every table at one moment, and the files they name."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from gateway import backup
from gateway.management import words


class Command(BaseCommand):
    help = "Writes a backup into a folder, while Nexus runs. Settings and keys are not in it: docs/backup.md."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", help="where the backup goes; made if it is not there")
        parser.add_argument("--encrypt", action="store_true", help="encrypt it with NEXUS_BACKUP_KEY")
        parser.add_argument(
            "--keep",
            type=words.whole(at_least=1, at_most=10_000),
            help="afterwards, remove all but so many of the folder's backups",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = backup.make(
                folder=_folder(options["folder"]),
                is_encrypted=options["encrypt"],
                keep=options["keep"],
                now=timezone.now(),
            )
        except backup.BackupError as error:
            raise CommandError(str(error)) from error
        found = made.manifest
        told = {
            "path": str(made.path),
            "bytes": made.path.stat().st_size,
            "tables": {name: table.rows for name, table in found.tables.items()},
            "files": len(found.files),
            "files_missing": len(found.missing),
            "removed": [path.name for path in made.removed],
        }
        self.stdout.write(json.dumps(told) if options["json"] else _as_text(told, rows=found.rows))


def _as_text(told: dict[str, Any], *, rows: int) -> str:
    missing = f" ({told['files_missing']} more were no longer on disk)" if told["files_missing"] else ""
    removed = f" Removed: {', '.join(told['removed'])}." if told["removed"] else ""
    return (
        f"{told['path']}: {rows} rows of {len(told['tables'])} tables and {told['files']} files{missing}, "
        f"{told['bytes'] / 1024 / 1024:.1f} MiB.{removed}\n"
        "NEXUS_FIELD_KEY and the other settings are not in it; keep a copy of them elsewhere."
    )


def _folder(text: str) -> Path:
    path = Path(text)
    try:
        is_usable = bool(text.strip()) and "\0" not in text and (path.is_dir() or not path.exists())
    except OSError:
        is_usable = False
    if not is_usable:
        raise CommandError(f"{text[:200]!r} is no folder; name one, or one that can be made")
    return path
