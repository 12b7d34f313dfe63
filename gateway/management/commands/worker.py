"""Runs a Celery worker. Without Celery's own command line, which loads a terminal toolkit of 10 MiB into every process."""

import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError


@dataclass(frozen=True, slots=True)
class Kind:
    queues: tuple[str, ...]
    processes: int
    """0: tasks run in the worker's own process, one after the other."""


# Composing waits for recall now and then, so it has two processes; dispatching is one short transaction.
KINDS: Final = {"composer": Kind(("compose", "memory"), processes=2), "runtime": Kind(("run",), processes=0)}
MAX_PROCESSES: Final = 64


class Command(BaseCommand):
    help = "Runs a Celery worker: composer makes prompts and keeps memory, runtime offers prompts to bridges."
    # They load the whole site, 25 MiB of it, and `migrate` has asked them.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "kind", choices=sorted(KINDS), help="composer makes prompts, runtime offers them to bridges"
        )
        parser.add_argument("--name", help="a name of its own on this machine, as composer-2 (default: the kind)")
        parser.add_argument("--queues", help="only these of its queues, with commas between, as compose or memory")
        parser.add_argument(
            "--processes", type=int, help=f"how many tasks at once, up to {MAX_PROCESSES}; composer only"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        kind = options["kind"]
        queues = _queues(options["queues"], of=kind)
        processes = _processes(options["processes"], of=kind)
        sys.exit(_run(name=_name(options["name"] or kind), queues=queues, processes=processes))


def _run(*, name: str, queues: list[str], processes: int) -> int:
    """Until it is told to end; its exit code."""
    from celery.concurrency import get_implementation
    from celery.utils.nodenames import default_nodename, host_format

    from nexus_project.celery import app

    worker = app.Worker(
        hostname=host_format(default_nodename(f"{name}@%h")),
        pool_cls=get_implementation("prefork" if processes else "solo"),
        concurrency=processes or 1,
        queues=queues,
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _queues(wanted: str | None, *, of: str) -> list[str]:
    known = KINDS[of].queues
    if wanted is None:
        return list(known)
    queues = [queue.strip() for queue in wanted.split(",") if queue.strip()]
    if not queues or not set(queues) <= set(known):
        raise CommandError(f"{of} has the queues {' and '.join(known)}; --queues names one or more of them")
    return queues


def _processes(wanted: int | None, *, of: str) -> int:
    usual = KINDS[of].processes
    if wanted is None:
        return usual
    if not usual or not 1 <= wanted <= MAX_PROCESSES:
        raise CommandError(f"--processes is a number from 1 to {MAX_PROCESSES}, for a composer; a runtime needs one")
    return wanted


def _name(wanted: str) -> str:
    if not wanted.replace("-", "").replace("_", "").isalnum() or not wanted.isascii() or len(wanted) > 60:
        raise CommandError("--name has letters, digits, - and _ only, as composer-2")
    return wanted
