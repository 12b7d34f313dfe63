"""Which tables are in a backup, and how do their rows leave and enter Postgres?"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from django.apps import apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from psycopg import sql

from gateway.backup.archive import BackupError, Table

LEFT_OUT: Final = frozenset({"django_migrations", "django_session"})
"""Migrations stand in the manifest; sessions of browsers end with the host they were opened on."""

MADE_BY_MIGRATE: Final = frozenset({"django_content_type", "auth_permission"})
NOT_MOVED: Final = {"messages": frozenset({"changed_xid"})}
"""Numbers of the old server's transactions mean nothing on another: the column's default writes the new one's."""

OUR_APPS: Final = ("gateway", "composer", "runtime")
LEAP: Final = 1_000_000
"""Ids given away after the backup was made are known outside: bridges' journals hold invocations, the chat holds messages
whose ids follow from ours. No restored host may give them away again."""

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")


def names() -> list[str]:
    """Tables of this program that are in the database."""
    found = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return sorted(set(found) - LEFT_OUT)


def applied() -> list[tuple[str, str]]:
    return sorted(MigrationRecorder(connection).applied_migrations())


def columns(table: str) -> tuple[str, ...]:
    with connection.cursor() as cursor:
        found = connection.introspection.get_table_description(cursor, table)
    return tuple(one.name for one in found if one.name not in NOT_MOVED.get(table, ()))


def copy_out(table: str, names: Sequence[str]) -> Iterator[bytes]:
    """Rows in Postgres's text format, which every version of it reads."""
    with connection.cursor() as cursor, cursor.copy(_copy("COPY {} ({}) TO STDOUT", table, names)) as copy:
        for block in copy:
            yield bytes(block)


def count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        return int(cursor.fetchone()[0])


def copy_in(table: str, names: Sequence[str], blocks: Iterable[bytes]) -> int:
    """Returns how many rows came."""
    with connection.cursor() as cursor:
        with cursor.copy(_copy("COPY {} ({}) FROM STDIN", table, names)) as copy:
            for block in blocks:
                copy.write(block)
        return int(cursor.rowcount)


def _copy(statement: str, table: str, names: Sequence[str]) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names)))


def check_names(tables: dict[str, Table]) -> None:
    """A manifest comes from outside."""
    for name, table in tables.items():
        for one in (name, *table.columns):
            if not _NAME.fullmatch(one):
                raise BackupError(f"the manifest names {one[:60]!r}, which is no table or column; take another backup")


def filled() -> list[str]:
    """Tables that have rows beyond what `migrate` itself makes."""
    return [name for name in names() if name not in MADE_BY_MIGRATE and _has_rows(name)]


def _has_rows(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT EXISTS (SELECT 1 FROM {})").format(sql.Identifier(table)))
        return bool(cursor.fetchone()[0])


def run(statement: str, *tables: str, parameters: Sequence[Any] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, tables)), parameters)


def leap() -> None:
    """Give every row-numbering sequence its place behind what came, ours with a leap."""
    ours = {model._meta.db_table for app in OUR_APPS for model in apps.get_app_config(app).get_models()}
    with connection.cursor() as cursor:
        for name in names():
            for found in connection.introspection.get_sequences(cursor, name):
                column, step = str(found["column"]), LEAP if name in ours else 1
                cursor.execute(
                    sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), COALESCE(max({}), 0) + %s) FROM {}").format(
                        sql.Literal(name), sql.Literal(column), sql.Identifier(column), sql.Identifier(name)
                    ),
                    [step],
                )


def rebuild(migrations: Sequence[tuple[str, str]]) -> None:
    """Make an empty database look as it did after exactly these migrations."""
    for name in [*names(), *sorted(LEFT_OUT & set(connection.introspection.table_names()))]:
        run("DROP TABLE IF EXISTS {} CASCADE", name)
    _drop_functions()
    executor = MigrationExecutor(connection)
    wanted = set(migrations)
    graph = executor.loader.graph
    unknown = sorted(key for key in wanted if key not in executor.loader.disk_migrations)
    if unknown:
        raise BackupError(
            f"the backup has {'.'.join(unknown[0])}, which this version does not know; restore it with a newer Nexus"
        )
    last = [
        key
        for key in sorted(wanted)
        if not any(child.key in wanted and child.key[0] == key[0] for child in graph.node_map[key].children)
    ]
    executor.migrate(last)


def _drop_functions() -> None:
    """Those of our triggers; an extension keeps its own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND NOT EXISTS"
            " (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP FUNCTION IF EXISTS {name} CASCADE")
