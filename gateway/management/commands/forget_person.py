"""Takes all that a person has written out of Nexus's memory, as his own `!forget me yes` would."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from composer.memory import forgetting
from gateway import audit
from gateway.models import Message, User


class Command(BaseCommand):
    help = "Forgets a person: his messages become tombstones, and whatever was made of them goes. It can't be undone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="a username, or the chat's id of a user")
        parser.add_argument("--yes", action="store_true", help="do it; without it only the number of messages is told")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["user"]
        found = list(User.objects.filter(rocketchat_id=name)[:1]) or list(User.objects.filter(username=name)[:2])
        if len(found) != 1:
            raise CommandError(f"{'no' if not found else 'more than one'} user is called {name!r}; give the chat's id")
        his = Message.objects.filter(user=found[0], deleted_at=None)
        if not options["yes"]:
            self.stdout.write(f"{name} has {his.count()} messages here; --yes takes them out of memory for good.")
            return
        last = his.aggregate(last=Max("pk"))["last"] or 0
        with transaction.atomic(durable=True):
            forgetting.ask(user=found[0], until=timezone.now(), last_message_id=last)
            audit.record(actor="command", action="person_forgotten", target=found[0].rocketchat_id)
        count = forgetting.work(time_s=float("inf"))
        self.stdout.write(f"{name} is forgotten: {count} messages. mem0-api follows with the next remembering.")
