"""Tells what is wrong with this host or soon will be, each with its cure."""

import json
from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand

from gateway import doctor
from gateway.doctor import Grade, Result
from nexus_project.version import VERSION

SIGNS = {Grade.OK: "ok      ", Grade.SKIPPED: "-       ", Grade.WARNING: "warning ", Grade.CRITICAL: "CRITICAL"}


class Command(BaseCommand):
    help = "Looks at settings, files, databases, chat, agents and work. Exit code 0: all is well, 1: warnings, 2: something critical."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--deep", action="store_true", help="also try things out: round trips, doors, certificates"
        )
        parser.add_argument(
            "--fix",
            action="store_true",
            help="mend what can be mended without asking: rights of files, the bridge's wheel",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        parser.add_argument("--quiet", action="store_true", help="only what needs a cure")

    def handle(self, *args: Any, **options: Any) -> None:
        results = []
        for result in doctor.examine(is_deep=options["deep"], may_fix=options["fix"]):
            results.append(result)
            if not options["json"] and not (options["quiet"] and is_well(result)):
                self.stdout.write(as_text(result))
                self.stdout.flush()
        if options["json"]:
            self.stdout.write(json.dumps({"version": VERSION, "checks": [as_json(one) for one in results]}))
        else:
            counts = Counter(one.finding.grade for one in results)
            self.stdout.write(", ".join(f"{counts[grade]} {grade}" for grade in Grade if counts[grade]) + ".")
        raise SystemExit(doctor.exit_code(results))


def is_well(result: Result) -> bool:
    return result.finding.grade in (Grade.OK, Grade.SKIPPED) and not result.fixed


def as_text(result: Result) -> str:
    lines = [f"{SIGNS[result.finding.grade]} {result.check.id:22} {result.finding.text}"]
    if result.fixed:
        lines.append(f"{'':31} done: {result.fixed}")
    if result.finding.cure:
        lines.append(f"{'':31} → {result.finding.cure}")
    return "\n".join(lines)


def as_json(result: Result) -> dict[str, str]:
    finding = result.finding
    return {
        "id": result.check.id,
        "grade": finding.grade,
        "text": finding.text,
        "cure": finding.cure,
        "fixed": result.fixed,
    }
