"""Do statements over libpq's own layer behave as psycopg's cursors do: values, errors, transactions, lost connections?"""

import contextlib
import signal
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import (
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connection,
    transaction,
)

from gateway import prepared, sql
from gateway.models import User
from gateway.sql import Ask
from tests.server.people import make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]

SLEEP = "SELECT 1 FROM pg_sleep(%s)"


@pytest.fixture(autouse=True)
def own_connection():
    """What a test leaves on its connection goes with it."""
    connection.close()
    yield
    connection.close()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bigint", 7),
        ("bigint", 2**40),
        ("bigint", -1),
        ("text", ""),
        ("text", "ünï 😀 % %s $1 \\ '"),
        ("text", None),
        ("boolean", True),
        ("double precision", 0.5),
        ("timestamptz", datetime(2026, 11, 23, 5, 6, 7, 890123, tzinfo=UTC)),
        ("interval", timedelta(seconds=1.5)),
        ("bigint[]", [1, 2**40, None]),
        ("text[]", ["a", "b,c", '"']),
        ("bigint[]", []),
    ],
)
def test_a_value_comes_back_as_it_went(kind, value):
    found = sql.rows(f"SELECT %s::{kind}, %s::{kind} IS NULL", [value, value])

    assert found == [(value, value is None)]


def test_a_percent_sign_is_written_twice():
    assert sql.rows("SELECT 'a' LIKE '%%a', %s::int", [5]) == [(True, 5)]


def test_rows_and_counts():
    make_user("alice")
    make_user("bob")

    assert sql.rows("SELECT username FROM users ORDER BY 1", []) == [("alice",), ("bob",)]
    assert sql.execute("UPDATE users SET display_name = 'x' WHERE username = %s", ["bob"]) == 1
    assert sql.execute("UPDATE users SET display_name = 'x' WHERE username = %s", ["carol"]) == 0


def test_each_statement_of_a_batch_sees_those_before_it():
    make_user("alice")

    counted = sql.batch(
        [
            ("SELECT count(*) FROM users WHERE display_name = 'y'", []),
            ("UPDATE users SET display_name = %s RETURNING username", ["y"]),
            ("SELECT count(*) FROM users WHERE display_name = 'y'", []),
        ]
    )

    assert counted == [[(0,)], [("alice",)], [(1,)]]


@pytest.mark.parametrize(
    ("statement", "parameters", "error"),
    [
        ("SELECT %s::int / 0", [1], DataError),
        ("SELECT nothing FROM users WHERE id = %s", [1], ProgrammingError),
        ("TAKE %s", [1], ProgrammingError),
        ("INSERT INTO users (rocketchat_id) VALUES (%s)", ["u"], IntegrityError),
        ("SELECT %s::text", ["a\x00b"], DataError),
    ],
)
def test_an_error_is_djangos_and_leaves_the_connection_usable(statement, parameters, error):
    make_user("alice")
    raw = connection.connection

    for _ in range(2):
        with pytest.raises(error):
            sql.batch([("UPDATE users SET display_name = 'z'", []), (statement, parameters), ("SELECT 1", [])])

    assert sql.rows("SELECT display_name FROM users WHERE username = %s", ["alice"]) != [("z",)]
    assert connection.connection is raw


def test_an_error_within_a_transaction_takes_the_transaction_back():
    make_user("alice")

    def work():
        with transaction.atomic():
            sql.execute("UPDATE users SET display_name = %s", ["z"])
            sql.execute("INSERT INTO users (rocketchat_id) VALUES (%s)", ["u"])

    with pytest.raises(IntegrityError):
        work()
    assert sql.rows("SELECT count(*) FROM users WHERE display_name = 'z'", []) == [(0,)]


def test_the_orm_and_prepared_statements_share_a_transaction():
    with transaction.atomic():
        sql.rows("SELECT 1", [])
        make_user("alice")
        assert sql.rows("SELECT username FROM users", []) == [("alice",)]
        transaction.set_rollback(True)

    assert not User.objects.exists()
    assert sql.rows("SELECT username FROM users", []) == []


def test_what_is_asked_while_something_is_under_way_is_answered_behind_it():
    first, second = Ask("SELECT %s::int", [1], list), Ask("SELECT %s::int", [2], list)

    with sql.under_way(first, second):
        assert sql.rows("SELECT %s::int", [3]) == [(3,)]

    assert (first.answer(), second.answer()) == ([(1,)], [(2,)])


def test_a_block_that_fails_leaves_nothing_under_way():
    with pytest.raises(KeyError), sql.under_way(Ask("SELECT 1", [], list)):
        raise KeyError

    assert User.objects.count() == 0
    assert sql.rows("SELECT 2", []) == [(2,)]


def test_a_failed_statement_under_way_is_told_after_the_block():
    ran = []
    with pytest.raises(DataError), sql.under_way(Ask("SELECT 1 / %s::int", [0], list)):
        ran.append(True)

    assert ran
    assert sql.rows("SELECT 2", []) == [(2,)]


def test_many_megabytes_go_both_ways():
    texts = ["x" * 3_000_000, "y" * 3_000_000]

    found = sql.batch([("SELECT %s::text", [text]) for text in texts])

    assert found == [[(text,)] for text in texts]


def test_a_connection_prepares_only_so_many(monkeypatch):
    monkeypatch.setattr(prepared, "MAX_NAMES", 3)

    for number in [*range(10), *range(10)]:
        assert sql.rows(f"SELECT {number}, %s::int", [number]) == [(number, number)]

    names = sql.rows("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'nexus%%'", [])
    assert names == [(3,)]


def test_a_table_that_looks_otherwise_now_is_prepared_anew():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE changing (a int)")
        assert sql.rows("SELECT * FROM changing", []) == []
        cursor.execute("ALTER TABLE changing ADD COLUMN b int")

        with pytest.raises(Exception, match="cached plan"):
            sql.rows("SELECT * FROM changing", [])
        assert sql.rows("SELECT * FROM changing", []) == []


def test_a_connection_that_is_gone_is_an_operational_error_and_the_next_one_is_new():
    sql.rows("SELECT 1", [])
    with psycopg.connect(connection.connection.info.dsn, password=connection.settings_dict["PASSWORD"]) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])

    with pytest.raises(OperationalError):
        sql.rows("SELECT 1", [])
    sql.drop_if_dead()

    assert sql.rows("SELECT 1", []) == [(1,)]


def test_a_failure_that_was_met_while_asking_more_is_told_again_after_the_block():
    def work():
        with sql.under_way(Ask("SELECT 1 / %s::int", [0], list)), contextlib.suppress(DataError):
            sql.rows("SELECT 1", [])

    with pytest.raises(DataError):
        work()
    assert sql.rows("SELECT 2", []) == [(2,)]


def test_who_is_interrupted_in_the_middle_of_an_answer_gets_no_other_ones_later():
    class TimeIsUpError(Exception):
        pass

    def interrupt(*_):
        raise TimeIsUpError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeIsUpError), transaction.atomic():
            sql.rows(SLEEP, [20])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert sql.rows("SELECT 2", []) == [(2,)]


def test_a_statement_that_takes_too_long_is_ended_by_postgres():
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '200ms'")

    with pytest.raises(OperationalError, match="timeout"):
        sql.rows(SLEEP, [20])
    assert sql.rows("SELECT 2", []) == [(2,)]


def test_a_closed_connection_within_a_transaction_says_so():
    def work():
        with transaction.atomic():
            sql.rows("SELECT 1", [])
            connection.connection.close()
            sql.rows("SELECT 1", [])

    with pytest.raises((InterfaceError, OperationalError)):
        work()
    assert sql.rows("SELECT 2", []) == [(2,)]
