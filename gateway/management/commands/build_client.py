"""Builds the bridge's wheel that /client/ serves."""

from typing import Any

from django.core.management.base import BaseCommand

from gateway import downloads


class Command(BaseCommand):
    help = "Builds the bridge's wheel into the state directory, where /client/ finds it."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(str(downloads.build()))
