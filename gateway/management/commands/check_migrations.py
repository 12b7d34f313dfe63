"""Checks that the migrations since the last release can be applied while the code before them runs. Needs no database."""

from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db.migrations.loader import MigrationLoader

from gateway.migration_rules import unsafe

RELEASED: Final = {"gateway": "0013", "composer": "0011", "runtime": "0001"}
"""Migrations up to these numbers came with or before the first release: no older code runs beside them."""


class Command(BaseCommand):
    help = "Checks that migrations since the last release are safe while the code before them still runs."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        loader = MigrationLoader(None)
        found: list[str] = []
        for app, name in sorted(key for key in loader.disk_migrations if key[0] in RELEASED):
            if name[:4] > RELEASED[app]:
                migration = loader.disk_migrations[app, name]
                before = loader.project_state((app, name), at_end=False)
                found += unsafe(migration, before)
        if found:
            raise CommandError(
                "\n".join(
                    [*found, 'docs/upgrading.md says how; safe_because = "…" in the migration is your word for it.']
                )
            )
        self.stdout.write("every migration since the last release is safe while the code before it runs")
