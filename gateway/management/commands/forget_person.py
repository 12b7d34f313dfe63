"""Takes all that a person has written out of Nexus's memory, as his own `!forget me yes` would."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from composer.memory import forgetting
from gateway import changes
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
        changes.forget_person(user_id=found[0].pk, actor="command")
        count = forgetting.work(time_s=float("inf"))
        self.stdout.write(f"{name} is forgotten: {count} messages. mem0-api follows with the next remembering.")
