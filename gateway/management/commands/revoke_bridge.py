"""Revokes a bridge for good: its connection ends within seconds, and what waits for its agents fails with a sentence."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from gateway import bridges
from gateway.models import LIVE, Bridge, Invocation


class Command(BaseCommand):
    help = "Revokes a bridge for good."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("bridge", help="a bridge's name, or the slug of an agent behind it")
        parser.add_argument("--force", action="store_true", help="also while runs are under way; they are cut off")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["bridge"]
        found = Bridge.objects.filter(Q(name=name) | Q(agents__slug=name), revoked_at=None).distinct().first()
        if found is None:
            raise CommandError(f"there is no bridge or agent {name!r} that is not revoked; list_bridges names them")
        live = Invocation.objects.filter(agent__bridge=found, state__in=LIVE).count()
        if live and not options["force"]:
            raise CommandError(f"{live} of its runs are under way; --force cuts them off")
        try:
            bridges.revoke(bridge_id=found.pk, actor="command")
        except bridges.BridgeError as error:
            raise CommandError(str(error)) from error
        told = {"id": found.pk, "name": found.name, "runs_cut_off": live}
        self.stdout.write(json.dumps(told) if options["json"] else f"{found.name} is revoked.")
