"""Is Postgres as Nexus needs it: reachable, migrated, durable, guarded, with room for more?"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor

from gateway.models import BotAccount
from gateway.secrets import UnreadableSecretError, unseal
from nexus_project.finding import Check, Finding, critical, good, skipped, warning

OLDEST_SERVER: Final = 150_000
OLDEST_VECTOR: Final = (0, 8)
MOST_CONNECTIONS: Final = 0.8
LONGEST_TRANSACTION_S: Final = 600.0
MOST_SKEW_S: Final = 2.0
GUARDS: Final = (
    ("audit_log", "audit_log_append_only"),
    ("audit_log", "audit_log_no_truncate"),
    ("audit_seals", "audit_seals_append_only"),
    ("audit_seals", "audit_seals_no_truncate"),
    ("invocations", "invocation_edge_insert"),
    ("invocations", "invocation_edge_update"),
    ("messages", "message_text_changed"),
)
NEEDS: Final = ("database.reachable",)

_CONNECTIONS: Final = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), current_setting('max_connections')
"""
_OLDEST: Final = """
    SELECT COALESCE(max(extract(epoch FROM now() - xact_start)), 0) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
"""

Row = tuple[Any, ...]


def rows(statement: LiteralString, *given: Any) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(given) or None)
        return list(cursor.fetchall())


def judge_versions(found: tuple[int, str | None]) -> Finding:
    server, vector = found
    if server < OLDEST_SERVER:
        return critical(
            f"Postgres {server // 10_000} is too old", "Nexus needs 15 or newer; docs/upgrading.md says how to move"
        )
    if vector is None:
        return critical(
            "the extension vector is not in this database",
            "as a superuser: CREATE EXTENSION vector; then manage.py migrate",
        )
    if tuple(int(part) for part in vector.split(".")[:2]) < OLDEST_VECTOR:
        return critical(
            f"pgvector {vector} is too old: filtered searches lose neighbours",
            "install 0.8 or newer; then ALTER EXTENSION vector UPDATE",
        )
    return good(f"Postgres {server // 10_000}.{server % 10_000} with pgvector {vector}")


def read_versions() -> tuple[int, str | None]:
    found = rows("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    return int(rows("SELECT current_setting('server_version_num')")[0][0]), found[0][0] if found else None


def read_migrations() -> tuple[list[str], list[str]]:
    """Those not applied, and those that this program does not know."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    ours = {app for app, _ in executor.loader.disk_migrations}
    unknown = [
        key
        for key in executor.loader.applied_migrations
        if key not in executor.loader.disk_migrations and key[0] in ours
    ]
    return [f"{one.app_label}.{one.name}" for one, _ in plan], sorted(".".join(key) for key in unknown)


def judge_migrations(found: tuple[Sequence[str], Sequence[str]]) -> Finding:
    missing, unknown = found
    if missing:
        return critical(f"the database lacks {', '.join(missing)}", "run: manage.py migrate")
    if unknown:
        return critical(
            f"the database has {', '.join(unknown)} of a newer Nexus",
            "run the newer version, or go back as docs/upgrading.md says",
        )
    return good("all migrations are applied")


def judge_durable(found: Mapping[str, str]) -> Finding:
    off = [name for name, value in found.items() if value == "off"]
    if off:
        return critical(
            f"Postgres runs with {', '.join(off)} off: a power cut loses what was acknowledged",
            f"set {', '.join(off)} to on in postgresql.conf",
        )
    return good("what Postgres acknowledges is on disk")


def read_durable() -> dict[str, str]:
    return dict(
        rows("SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')")
    )


def judge_role(is_superuser: bool) -> Finding:
    if is_superuser:
        return warning(
            "Nexus's role is a superuser of Postgres, so a hole in Nexus is one in every database there",
            "docs/security.md shows the role with just enough rights",
        )
    return good("Nexus's role is no superuser")


def read_guards() -> list[str]:
    on = {tuple(row) for row in rows("SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgenabled = 'O'")}
    return [f"{name} on {table}" for table, name in GUARDS if (table, name) not in on]


def judge_guards(missing: Sequence[str]) -> Finding:
    if missing:
        return critical(
            f"these guards are gone or switched off: {', '.join(missing)}",
            "switch them on again (ALTER TABLE … ENABLE TRIGGER …), ask who switched them off, and run: manage.py doctor --deep",
        )
    return good("audit log and states are guarded by the database")


def judge_indexes(invalid: Sequence[str]) -> Finding:
    if invalid:
        return critical(f"unfinished indexes: {', '.join(invalid)}", f"run: REINDEX INDEX CONCURRENTLY {invalid[0]}")
    return good("all indexes are whole")


def judge_connections(found: tuple[int, int]) -> Finding:
    used, limit = found
    if used > limit * MOST_CONNECTIONS:
        return warning(
            f"{used} of {limit} connections of Postgres are taken",
            "raise max_connections, or put a pooler before it (docs/operations.md)",
        )
    return good(f"{used} of {limit} connections are taken")


def judge_transactions(oldest_s: float) -> Finding:
    if oldest_s > LONGEST_TRANSACTION_S:
        return warning(
            f"a transaction has been open for {oldest_s / 60:.0f} minutes, so nothing is cleaned up behind it",
            "look for it in pg_stat_activity and end it with pg_terminate_backend(pid)",
        )
    return good("no transaction is left open")


def judge_vacuum(setting: str) -> Finding:
    if setting != "on":
        return warning(
            "autovacuum is off: tables and indexes grow without end", "set autovacuum = on in postgresql.conf"
        )
    return good("autovacuum is on")


def read_sealed() -> tuple[int, int]:
    """Bot accounts whose token NEXUS_FIELD_KEY does not open, and all that have one."""
    sealed = [
        bytes(row)
        for row in BotAccount.objects.exclude(access_token=b"").values_list("access_token", flat=True)
        if row
    ]
    return sum(1 for one in sealed if not _opens(one)), len(sealed)


def _opens(data: bytes) -> bool:
    try:
        unseal(data)
    except UnreadableSecretError:
        return False
    return True


def judge_sealed(found: tuple[int, int]) -> Finding:
    shut, count = found
    if shut:
        return critical(
            f"NEXUS_FIELD_KEY does not open {shut} of {count} bot accounts' tokens",
            "set the key they were made with, or run bootstrap, which makes new tokens",
        )
    return good(f"NEXUS_FIELD_KEY opens all {count} bot accounts' tokens")


def judge_skew(skew_s: float) -> Finding:
    if abs(skew_s) > MOST_SKEW_S:
        return warning(
            f"this machine's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} Postgres's",
            "switch NTP on, on both",
        )
    return good("this machine's clock and Postgres's agree")


def read_skew() -> float:
    return float(rows("SELECT %s - extract(epoch FROM clock_timestamp())", time.time())[0][0])


def read_passwordless() -> list[str] | None:
    """Lines of pg_hba.conf that let somebody from elsewhere in without one; None where we may not look."""
    if not rows(
        "SELECT has_table_privilege('pg_catalog.pg_hba_file_rules', 'SELECT') AND has_function_privilege('pg_hba_file_rules()', 'EXECUTE')"
    )[0][0]:
        return None
    found = rows(
        "SELECT type || ' ' || COALESCE(address, '') || ' ' || auth_method FROM pg_hba_file_rules"
        " WHERE auth_method IN ('trust', 'password') AND type <> 'local'"
        " AND COALESCE(address, '') NOT IN ('127.0.0.1', '::1', 'localhost', 'samehost')"
    )
    return [str(row[0]) for row in found]


def judge_passwordless(found: Sequence[str] | None) -> Finding:
    if found is None:
        return skipped("Nexus's role may not read pg_hba.conf")
    if found:
        return critical(
            f"pg_hba.conf lets others in without a safe password: {'; '.join(found)}",
            "use scram-sha-256 there, and reload Postgres",
        )
    return good("Postgres wants a safe password from everybody elsewhere")


def judge_reachable(error: str) -> Finding:
    if error:
        where = f"{settings.DATABASES['default']['HOST']}:{settings.DATABASES['default']['PORT']}"
        return critical(
            f"Postgres at {where} can't be used ({error})",
            "start it, and look at NEXUS_DATABASE_URL; everything else waits for it",
        )
    return good("Postgres answers")


def read_reachable() -> str:
    try:
        rows("SELECT 1")
    except (DatabaseError, InterfaceError) as error:
        connection.close()
        return str(error).strip().splitlines()[0][:200]
    return ""


def _is_superuser() -> bool:
    return bool(rows("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0][0])


def _invalid() -> list[str]:
    return [str(row[0]) for row in rows("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")]


def _connections() -> tuple[int, int]:
    used, limit = rows(_CONNECTIONS)[0]
    return int(used), int(limit)


def _oldest_s() -> float:
    return float(rows(_OLDEST)[0][0])


def _vacuum() -> str:
    return str(rows("SELECT current_setting('autovacuum')")[0][0])


CHECKS: Final = (
    Check("database.reachable", read_reachable, judge_reachable),
    Check("database.versions", read_versions, judge_versions, NEEDS),
    Check("database.migrations", read_migrations, judge_migrations, NEEDS),
    Check("database.durable", read_durable, judge_durable, NEEDS),
    Check("database.role", _is_superuser, judge_role, NEEDS),
    Check("database.passwords", read_passwordless, judge_passwordless, NEEDS),
    Check("database.guards", read_guards, judge_guards, NEEDS),
    Check("database.indexes", _invalid, judge_indexes, NEEDS),
    Check("database.connections", _connections, judge_connections, NEEDS),
    Check("database.transactions", _oldest_s, judge_transactions, NEEDS),
    Check("database.vacuum", _vacuum, judge_vacuum, NEEDS),
    Check("database.sealed", read_sealed, judge_sealed, ("database.migrations",)),
    Check("database.clock", read_skew, judge_skew, NEEDS),
)
