"""Runs the chat process: listens and speaks for bot accounts. Several may run; they share the accounts out."""

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand

from gateway.chat.process import make_process
from gateway.watch import program


class Command(BaseCommand):
    help = "Listens and speaks in the chat for Nexus's bot accounts. Several may run; they share the accounts out."
    # They load the whole site, 25 MiB of it, and `migrate` has asked them.
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        program.begin("chat")
        asyncio.run(_main())


async def _main() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await make_process().run(stop)
