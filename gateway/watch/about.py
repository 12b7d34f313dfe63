"""Which invocation is a log line about? Whoever works on one says so once; every line below it, in any module, tells."""

import contextvars
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

INVOCATION: Final = "invocation"
HEADER: Final = "X-Nexus-Invocation"
"""Names the invocation to another program of the host."""

_invocation: contextvars.ContextVar[int | None] = contextvars.ContextVar("nexus_invocation", default=None)


@contextmanager
def about_invocation(invocation_id: int | None) -> Iterator[None]:
    """Of this thread or asyncio task, and of the tasks it starts. Threads of a pool are told by whoever hands work to them."""
    token = _invocation.set(invocation_id)
    try:
        yield
    finally:
        _invocation.reset(token)


def current() -> int | None:
    """For who passes it on: to a thread, or to another program."""
    return _invocation.get()


_program = ""


def name_program(name: str) -> None:
    """Every line of this process tells it."""
    global _program
    _program = name


class AboutFilter(logging.Filter):
    """Writes program and the invocation at work into every record; one that names its own invocation keeps it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _program:
            record.program = _program
        invocation_id = _invocation.get()
        if invocation_id is not None and not hasattr(record, INVOCATION):
            setattr(record, INVOCATION, invocation_id)
        return True
