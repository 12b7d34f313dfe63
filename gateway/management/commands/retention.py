"""Deletes what is past its lifetime now, as the sweep does little by little; or says what would be deleted."""

import json
from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand

from gateway import retention


class Command(BaseCommand):
    help = "Deletes rows past their lifetime, all of them at once; with --dry-run only says how many there are."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="delete nothing, say what would be deleted")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *args: Any, **options: Any) -> None:
        counts = retention.due() if options["dry_run"] else _delete_all()
        lifetimes = retention.days()
        if options["json"]:
            told = {table: {"days": lifetimes[table], "rows": counts.get(table, 0)} for table in lifetimes}
            self.stdout.write(json.dumps({"dry_run": options["dry_run"], "tables": told}))
            return
        verb = "would be deleted" if options["dry_run"] else "deleted"
        for table, days in lifetimes.items():
            self.stdout.write(f"{table:16} {_lifetime(table, days):28} {counts.get(table, 0):>8} {verb}")
        self.stdout.write("Invocations, the audit log and messages' places are kept for ever (docs/data-model.md).")


def _delete_all() -> Counter[str]:
    counts: Counter[str] = Counter()
    while deleted := retention.delete_due():
        counts.update(deleted)
    return counts


def _lifetime(table: str, days: float) -> str:
    if days:
        return f"{days:g} days"
    return "for ever" if table == "messages" else "until it ends by itself"
