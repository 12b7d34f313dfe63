"""What does each long-running program do to be watched? It says its name, and opens the door where its health is told.

Before anything else it refuses to start where that would be dangerous.
"""

import gc
from collections.abc import Callable
from typing import Final

from gateway.watch import BEATS, about, stuck, traces
from gateway.watch.door import open_door
from nexus_project import start

LOOKS: Final[dict[str, tuple[str, ...]]] = {
    "chat": ("unheld", "unsaid"),
    "composer": ("queued",),
    "runtime": ("composed",),
    "sweep": ("overdue",),
}
"""Which rows say that a program does not do its work. The gateway and mem0-api answer at their own ports."""

_name = ""


def name(program: str) -> None:
    """First of all; what is forked later inherits it."""
    global _name
    start.begin(program=program)
    _name = program
    about.name_program(program)
    traces.named(program)


def settle() -> None:
    """What is loaded by now stays. The collector never looks at it again: each time would stop everything for 0.2 s."""
    gc.collect()
    gc.freeze()


def watch(*, more: Callable[[], list[str]] = list) -> None:
    """When the work begins. `more` finds what only this program knows."""
    settle()
    # A second composer on the same host may be called composer-2.
    kind = _name.rstrip("0123456789").rstrip("-_")
    open_door(look=stuck.looker(*LOOKS.get(kind, ()), beats=lambda: [*BEATS.late(), *more()]))


def begin(program: str) -> None:
    """Both, for a program of one process."""
    name(program)
    watch()
