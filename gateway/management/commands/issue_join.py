"""Prints a one-shot join link for a bridge: what its owner runs on the laptop instead of copying a token."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from gateway import bridges
from gateway.management import words
from gateway.models import Bridge


class Command(BaseCommand):
    help = "Issues a join code: good once, for a day. Earlier ones of this bridge that were not used are void."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("bridge", help="a bridge's name, or the slug of an agent behind it")
        parser.add_argument(
            "--hours", type=words.number(above=0, at_most=24 * 7), default=24.0, help="how long it is good, up to 168"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *args: Any, **options: Any) -> None:
        name, hours = options["bridge"], options["hours"]
        found = Bridge.objects.filter(Q(name=name) | Q(agents__slug=name), revoked_at=None).distinct().first()
        if found is None:
            raise CommandError(f"there is no bridge or agent {name!r} that is not revoked; create_bridge makes one")
        try:
            issued = bridges.issue_join(bridge_id=found.pk, actor="command", valid_s=hours * 3600)
        except bridges.BridgeError as error:
            raise CommandError(str(error)) from error
        told = {"bridge": found.name, "url": issued.url, "expires_at": issued.expires_at.isoformat()}
        text = json.dumps(told) if options["json"] else bridges.join_instructions(url=issued.url, hours=hours)
        self.stdout.write(text)
