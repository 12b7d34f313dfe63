"""How does what every turn needs reach Postgres without its query being built and planned anew each time?

The ORM builds a statement for about half a millisecond, and Postgres plans it again on each call. These statements are
constant texts, prepared once per connection. What is rare uses the ORM.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from django.db import connection


def rows(statement: LiteralString, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """All rows of a prepared statement, on Django's own connection and in its transaction."""
    with _cursor() as cursor:
        cursor.execute(statement, parameters, prepare=True)
        return cursor.fetchall()


def execute(statement: LiteralString, parameters: Sequence[Any]) -> int:
    """Run a prepared statement that returns nothing; how many rows it touched."""
    with _cursor() as cursor:
        return cursor.execute(statement, parameters, prepare=True).rowcount


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
