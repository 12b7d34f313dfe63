"""Brings Rocket.Chat to where Nexus can work in it: accounts, tokens, rooms, webhook. Safe to repeat."""

from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway import bootstrap
from gateway.bootstrap import Step, Verdict
from gateway.management import words


class Command(BaseCommand):
    help = "Makes the bots' accounts, invites them, sets up the webhook. Each step is one line; run it as often as you like."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--room", action="append", help="a room for every agent; may be repeated (else NEXUS_ROOMS)"
        )
        parser.add_argument("--code", default="", help="the admin account's second factor, from its app or mail")
        parser.add_argument("--no-webhook", action="store_true", help="leave the webhook alone")
        parser.add_argument(
            "--wait",
            type=words.number(above=-1, at_most=86_400),
            default=180.0,
            help="seconds to wait for the server (180)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        wants_hook = bool(settings.NEXUS_WEBHOOK_TOKEN) and not options["no_webhook"]
        wanted = bootstrap.Options(
            rooms=tuple(settings.NEXUS_ROOMS if options["room"] is None else options["room"]),
            code=options["code"],
            hook_url=settings.NEXUS_WEBHOOK_URL if wants_hook else "",
            wait_s=options["wait"],
        )
        counts: Counter[Verdict] = Counter()

        def say(step: Step) -> None:
            counts[step.verdict] += 1
            self.stdout.write(str(step))
            self.stdout.flush()

        try:
            is_well = bootstrap.run(options=wanted, say=say)
        except bootstrap.BootstrapError as error:
            raise CommandError(str(error)) from error
        told = f"{counts[Verdict.DONE]} done, {counts[Verdict.SAME]} as they were, {counts[Verdict.NOTE]} to note"
        if not is_well:
            raise CommandError(f"{told}, {counts[Verdict.FAILED]} failed. Cure those and run it again.")
        self.stdout.write(f"{told}. Nexus can work in this chat.")
