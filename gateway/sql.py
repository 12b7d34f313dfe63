"""How does what every turn needs reach Postgres without its query being built and planned anew each time?

The ORM builds a statement for about half a millisecond, and Postgres plans it again on each call. These statements are
constant texts, prepared once per connection. What is rare uses the ORM.
"""

import contextlib
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, LiteralString, TypeVar

import psycopg
from django.db import connection

from gateway.prepared import Result, Rows, Statement, Statements

__all__ = ["Ask", "Rows", "batch", "drop_if_dead", "execute", "rows", "together", "under_way"]

Answer = TypeVar("Answer")


def rows(statement: LiteralString, parameters: Sequence[Any]) -> Rows:
    """All rows of a prepared statement, on Django's own connection and in its transaction."""
    return batch([(statement, parameters)])[0]


def execute(statement: LiteralString, parameters: Sequence[Any]) -> int:
    """Run a prepared statement; how many rows it touched."""
    with _sent([(statement, parameters)]) as results:
        pass
    return results[0].touched


def batch(statements: Sequence[Statement]) -> list[Rows]:
    """The rows of several prepared statements in one round trip; each sees what those before it did."""
    with _sent(statements) as results:
        pass
    return [one.rows for one in results]


class Ask(Generic[Answer]):
    """A read and what its rows mean. Several may share one round trip (`together`); alone it makes its own."""

    def __init__(self, statement: LiteralString, parameters: Sequence[Any], means: Callable[[Rows], Answer]) -> None:
        self.statement: LiteralString = statement
        self.parameters = parameters
        self.rows: Rows | None = None
        self._means = means

    def answer(self) -> Answer:
        if self.rows is None:
            self.rows = rows(self.statement, self.parameters)
        return self._means(self.rows)


def together(*asks: Ask[Any]) -> None:
    """Ask all of them now, in one round trip."""
    with under_way(*asks):
        pass


@contextmanager
def under_way(*asks: Ask[Any]) -> Iterator[None]:
    """Ask all of them, and let the block work while Postgres does; it ends when all are answered.

    The block may ask more by this module's functions, and not by the ORM.
    """
    with _sent([(ask.statement, ask.parameters) for ask in asks]) as results:
        yield
    for ask, result in zip(asks, results, strict=True):
        ask.rows = result.rows


def drop_if_dead() -> None:
    """Close this thread's connection if its server has gone. Costs no round trip: a healthy idle socket has nothing to read."""
    raw = connection.connection
    if raw is None:
        return
    if connection.errors_occurred or raw.closed or select.select([raw.fileno()], [], [], 0)[0]:
        # Django asks the server, and connects anew with the next statement if there is no answer.
        connection.close_if_unusable_or_obsolete()


@contextmanager
def _sent(asked: Sequence[Statement]) -> Iterator[list[Result]]:
    """Sent before the block; what they answered stands in the list after it."""
    results: list[Result] = []
    with connection.wrap_database_errors:
        statements = _statements()
        flight = statements.send(asked)
    try:
        yield results
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            statements.receive(flight)
        raise
    with connection.wrap_database_errors:
        results += statements.receive(flight)


def _statements() -> Statements:
    """Of this thread's connection, which is opened where it is not."""
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    raw: psycopg.Connection[Any] = connection.connection
    known: Statements | None = getattr(_here, "statements", None)
    if known is None or known.raw is not raw:
        known = _here.statements = Statements(raw)
    return known


_here = threading.local()
