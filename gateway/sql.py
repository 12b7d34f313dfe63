"""How does what every turn needs reach Postgres without its query being built and planned anew each time?

The ORM builds a statement for about half a millisecond, and Postgres plans it again on each call. These statements are
constant texts, prepared once per connection. What is rare uses the ORM.
"""

import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, LiteralString, TypeVar

import psycopg
from django.db import connection

Rows = list[tuple[Any, ...]]
Answer = TypeVar("Answer")


def rows(statement: LiteralString, parameters: Sequence[Any]) -> Rows:
    """All rows of a prepared statement, on Django's own connection and in its transaction."""
    with _cursor() as cursor:
        cursor.execute(statement, parameters, prepare=True)
        return cursor.fetchall()


def execute(statement: LiteralString, parameters: Sequence[Any]) -> int:
    """Run a prepared statement that returns nothing; how many rows it touched."""
    with _cursor() as cursor:
        return cursor.execute(statement, parameters, prepare=True).rowcount


def batch(statements: Sequence[tuple[LiteralString, Sequence[Any]]]) -> list[Rows]:
    """The rows of several prepared statements in one round trip; each sees what those before it did."""
    with _sent(statements) as cursors:
        return [cursor.fetchall() for cursor in cursors]


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
    """Ask all of them, and let the block work while Postgres does; it ends when all are answered."""
    with _sent([(ask.statement, ask.parameters) for ask in asks]) as cursors:
        yield
        for ask, cursor in zip(asks, cursors, strict=True):
            ask.rows = cursor.fetchall()


def drop_if_dead() -> None:
    """Close this thread's connection if its server has gone. Costs no round trip: a healthy idle socket has nothing to read."""
    raw = connection.connection
    if raw is None:
        return
    if connection.errors_occurred or raw.closed or select.select([raw.fileno()], [], [], 0)[0]:
        # Django asks the server, and connects anew with the next statement if there is no answer.
        connection.close_if_unusable_or_obsolete()


@contextmanager
def _sent(
    statements: Sequence[tuple[LiteralString, Sequence[Any]]],
) -> Iterator[list[psycopg.Cursor[tuple[Any, ...]]]]:
    """A cursor for each, in their order. What the block asks besides is answered behind them."""
    with _cursor() as first, first.connection.pipeline():
        cursors = [psycopg.Cursor(first.connection) for _ in statements]
        for cursor, (statement, parameters) in zip(cursors, statements, strict=True):
            cursor.execute(statement, parameters, prepare=True)
        yield cursors


@contextmanager
def _cursor() -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    raw: psycopg.Connection[tuple[Any, ...]] = connection.connection
    with connection.wrap_database_errors:
        # Django switches preparing off, for poolers between it and Postgres; its own cursors never prepare.
        if raw.prepare_threshold is None:
            raw.prepare_threshold = 5
        with psycopg.Cursor(raw) as cursor:
            yield cursor
