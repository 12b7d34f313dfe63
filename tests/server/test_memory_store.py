"""Does Mem0 on our table keep each message once, follow edits and deletions, and never mix scopes?"""

import json

import psycopg
import pytest
from django.db import connection

from composer.memory.store import NewMemory, Store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def store(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        store = Store()
        yield store
        store.close()


def memory(msg, text, *, scope="room:backend", rev=1, **values):
    return NewMemory(msg=msg, scope=scope, text=text, actor="bob", rev=rev, **values)


def rows():
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload FROM memories ORDER BY payload->>'msg'")
        return [json.loads(payload) if isinstance(payload, str) else payload for (payload,) in cursor.fetchall()]


def found(store, query, *scopes):
    return [hit.msg for hit in store.search(query=query, scopes=scopes or ("room:backend",), limit=10)]


def test_a_message_is_found_by_its_words(store):
    store.add([memory(1, "The orders database is Postgres 17."), memory(2, "Lunch is at noon.")])

    assert found(store, "which database holds the orders?")[0] == 1


def test_adding_a_message_twice_keeps_it_once(store):
    first = store.add([memory(1, "We deploy on Tuesdays.")])
    second = store.add([memory(1, "We deploy on Tuesdays.")])

    assert [result.state for result in (*first, *second)] == ["added", "unchanged"]
    assert len(rows()) == 1


def test_what_is_stored_names_message_scope_and_embedder(store):
    store.add([memory(7, "hello there", at="2026-11-22T09:00:00+00:00")])

    payload = rows()[0]

    assert payload["msg"] == "7"
    assert payload["run_id"] == "room:backend"
    assert payload["embedder"] == "hashed-1"
    assert payload["actor_id"] == "bob"


def test_an_edit_replaces_the_memory(store):
    store.add([memory(1, "The port is 5432.", rev=1)])
    result = store.add([memory(1, "The port is 5433.", rev=2)])

    assert result[0].state == "replaced"
    assert [payload["data"] for payload in rows()] == ["The port is 5433."]


def test_a_text_that_arrives_late_does_not_replace_a_newer_one(store):
    store.add([memory(1, "The port is 5433.", rev=2)])
    result = store.add([memory(1, "The port is 5432.", rev=1)])

    assert result[0].state == "unchanged"
    assert [payload["data"] for payload in rows()] == ["The port is 5433."]


def test_a_deleted_message_is_gone_from_memory_and_removing_again_does_nothing(store):
    store.add([memory(1, "secret plan"), memory(2, "other plan")])

    removed = [store.remove(msg=1), store.remove(msg=1)]

    assert removed == [1, 0]
    assert found(store, "plan") == [2]


def test_a_search_never_answers_from_another_scope(store):
    store.add([memory(1, "the launch code is 1234", scope="dm:bob:claude"), memory(2, "launch is on Friday")])

    assert found(store, "launch code") == [2]
    assert found(store, "launch code", "dm:bob:claude", "room:backend") == [1, 2]
    assert found(store, "launch code", "room:nobody") == []


def test_a_small_scope_in_a_big_table_is_found_whole(store):
    store.add(
        [memory(number, f"deploy note {number} about the release", scope="room:big") for number in range(100, 200)]
    )
    store.add([memory(number, f"deploy note {number} about the release") for number in range(1, 11)])

    assert sorted(found(store, "deploy note about the release")) == list(range(1, 11))


def test_mem0_finds_our_table_and_makes_no_other(store):
    store.add([memory(1, "anything")])
    found(store, "Alice and the Postgres Database in New York")

    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'mem%%'")
        assert {name for (name,) in cursor.fetchall()} <= {"memories"}


def test_the_database_itself_refuses_a_second_memory_of_a_message(store):
    store.add([memory(1, "once")])

    with pytest.raises(psycopg.errors.UniqueViolation), psycopg.connect(**_dsn()) as other:
        other.execute(
            "INSERT INTO memories (id, vector, payload) SELECT gen_random_uuid(), vector, payload FROM memories"
        )


def _dsn():
    database = connection.settings_dict
    return {
        "dbname": database["NAME"],
        "user": database["USER"],
        "password": database["PASSWORD"],
        "host": database["HOST"],
        "port": database["PORT"],
    }
