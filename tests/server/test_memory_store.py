"""Does Mem0 on our table keep each message once, follow edits and deletions, and never mix scopes?"""

import json
from uuid import UUID

import psycopg
import pytest
from django.db import connection

from composer.memory.store import NewMemory, Store
from gateway.models import Message, Room, RoomMember
from tests.server.people import START, make_agent, make_room, make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def store(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        store = Store()
        yield store
        store.close()


@pytest.fixture(autouse=True)
def rooms():
    """Messages 1 to 99 are said in `backend`, up to 199 in `big`, and 300 in Bob's direct chat."""
    bob = make_user("bob")
    backend, big = make_room("x"), make_room("y")
    Room.objects.filter(pk=backend.pk).update(rid="backend")
    Room.objects.filter(pk=big.pk).update(rid="big")
    direct = make_room("dm", kind="dm", members=(bob,))
    RoomMember.objects.create(room=direct, agent=make_agent("claude"))
    places = [(n, backend) for n in range(1, 20)] + [(n, big) for n in range(100, 200)] + [(300, direct)]
    Message.objects.bulk_create(
        Message(pk=n, rc_id=f"m{n}", room=room, user=bob, text="x", ts=START, rc_updated_at=START)
        for n, room in places
    )


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
    store.add([memory(300, "the launch code is 1234", scope="dm:uid-bob:claude"), memory(2, "launch is on Friday")])

    assert found(store, "launch code") == [2]
    assert found(store, "launch code", "dm:uid-bob:claude", "room:backend") == [300, 2]
    assert found(store, "launch code", "room:nobody") == []


def test_a_caller_cannot_choose_another_scope_than_the_messages_own(store):
    told = store.add(
        [
            memory(300, "the launch code is 1234"),
            memory(1, "hello there", scope="room:big"),
            memory(999, "no such one"),
        ]
    )

    assert [result.state for result in told] == ["elsewhere", "elsewhere", "refused"]
    assert rows() == []


def test_a_row_that_claims_another_scope_is_not_believed(store):
    store.add([memory(300, "the launch code is 1234", scope="dm:uid-bob:claude"), memory(1, "the launch is near")])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE memories SET payload = jsonb_set(payload, '{run_id}', to_jsonb('room:backend'::text))")

    assert found(store, "launch code") == [1]


def test_what_was_deleted_is_not_found_even_before_memory_heard_of_it(store):
    store.add([memory(1, "the launch is near")])
    Message.objects.filter(pk=1).update(text="", deleted_at=START)

    assert found(store, "launch") == []


def test_memories_are_read_and_removed_one_by_one_inside_their_scope(store):
    store.add([memory(number, f"note {number}") for number in (1, 2, 3)])
    kept = store.kept(scope="room:backend")
    one = UUID(kept[0].id)

    assert sorted(memory.msg for memory in kept) == [1, 2, 3]
    assert store.kept(scope="room:big") == []
    assert [memory.text for memory in store.kept(scope="room:backend", msg=2)] == ["note 2"]
    assert [memory.id for memory in store.kept(scope="room:backend", after=kept[0].id, limit=1)] == [kept[1].id]
    assert store.one(memory_id=one, scope="room:backend") == kept[0]
    assert store.one(memory_id=one, scope="room:big") is None
    assert (store.remove_one(memory_id=one, scope="room:big"), len(rows())) == (0, 3)
    assert (store.remove_one(memory_id=one, scope="room:backend"), len(rows())) == (1, 2)


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
