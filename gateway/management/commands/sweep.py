"""Runs the sweep: timers, rescue of what waits, housekeeping. Several may run; one leads."""

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from gateway.sweep import Sweep
from gateway.watch import program


class Command(BaseCommand):
    help = "Every few seconds: all timers, then what has waited without a worker. Several may run; one leads."
    # They load the whole site, 25 MiB of it, and `migrate` has asked them.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="one round, then exit")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        sweep = Sweep(every_s=settings.NEXUS_SWEEP_S, stop=stop)
        if options["once"]:
            sweep.round()
            return
        program.begin("sweep")
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        sweep.run()
