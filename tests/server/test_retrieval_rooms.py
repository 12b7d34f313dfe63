"""Does a search see every message that is stored now, whoever wrote it, and none that is gone or elsewhere?"""

import random
import tracemalloc

import pytest
from django.db import connections, transaction
from django.utils import timezone

from composer.asked import Asked, Person
from composer.memory.lines import line_of, select
from composer.retrieval import rooms
from composer.retrieval import search as searching
from composer.retrieval.index import Entry, RoomIndex
from composer.retrieval.rooms import searched
from composer.retrieval.search import search
from gateway.models import Message, User
from tests.server.people import make_agent, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def bob():
    return make_user("bob")


@pytest.fixture
def backend(bob):
    return make_room("backend", members=(bob,))


def find(room, question, **words):
    return [line.text for line in lines_of(room, question, **words)]


def lines_of(room, question, *, text="", remembered=None, tokens=2_000):
    user = question.user
    asked = Asked(
        invocation_id=1,
        thread=question.thread,
        hop=0,
        question=line_of(message=question, name=user.username),
        text=text or question.text,
        agent="claude-alice",
        persona="",
        budget=None,
        room_id=room.pk,
        rid=room.rid,
        kind=room.kind,
        room_name=room.name,
        project=None,
        asker=Person(user.pk, user.rocketchat_id, user.username),
        writer="",
    )
    return search(asked=asked, tokens=tokens, remembered=remembered or {}).lines


def test_the_message_that_has_the_words_comes_first(backend, bob):
    for number in range(20):
        say(backend, bob, f"lunch at {number}?")
    say(backend, bob, "orders-api listens on 5433 since we deployed it")
    say(backend, bob, "the review is done")
    question = say(backend, bob, "@claude-alice which port did orders-api get when it was deployed?")

    assert find(backend, question)[0].startswith("orders-api listens on 5433")


def test_what_was_said_since_the_last_search_is_found_at_once(backend, bob):
    find(backend, say(backend, bob, "which port?"))

    say(backend, bob, "the port is 5433")

    assert "the port is 5433" in find(backend, say(backend, bob, "which port?"))


def test_every_worker_sees_a_new_message_with_its_next_prompt(backend, bob, monkeypatch):
    workers = [rooms.SearchedRooms() for _ in range(3)]

    def found_by(worker):
        monkeypatch.setattr(searching, "searched", worker)
        return find(backend, question)

    question = say(backend, bob, "which port?")
    assert [found_by(worker) for worker in workers] == [[], [], []]
    say(backend, bob, "the port is 5433")
    question = say(backend, bob, "which port?")

    assert ["the port is 5433" in found_by(worker) for worker in workers] == [True, True, True]


def test_a_searchable_message_takes_less_than_three_kilobytes():
    words = [f"word{number}" for number in range(3_000)]
    rng = random.Random(7)
    index = RoomIndex()
    tracemalloc.start()
    try:
        for number in range(5_000):
            text = " ".join(rng.choices(words, k=14))
            index.add(Entry(number + 1, f"m{number}", number % 10 + 1, number * 60_000_000, "", 0, text))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # 300 MB for 100,000 messages.
    assert taken / index.count < 3_000


def test_edits_and_deletions_are_followed(backend, bob):
    edited, deleted = say(backend, bob, "the port is 80"), say(backend, bob, "the port is 81")
    find(backend, say(backend, bob, "which port?"))

    Message.objects.filter(pk=edited.pk).update(text="the port is 82")
    Message.objects.filter(pk=deleted.pk).update(text="", deleted_at=timezone.now())
    found = find(backend, say(backend, bob, "which port?"))

    assert "the port is 82" in found
    assert not {"the port is 80", "the port is 81"} & set(found)


def test_a_look_that_was_overtaken_takes_nothing_back(backend, bob):
    message = say(backend, bob, "the port is 80")
    find(backend, say(backend, bob, "which port?"))
    Message.objects.filter(pk=message.pk).update(text="the port is 81")
    look = searched.look(room_id=backend.pk)
    assert [row[8] for row in look.changed.answer()][:1] == ["the port is 81"]

    Message.objects.filter(pk=message.pk).update(text="the port is 82")
    found = find(backend, say(backend, bob, "which port?"))
    with searched.fresh(room_id=backend.pk, look=look) as room:
        assert room.index.number_of("81") == -1

    assert "the port is 82" in found


def test_a_message_that_is_committed_late_is_not_missed(backend, bob):
    find(backend, say(backend, bob, "which port?"))

    # Written first, committed last: its number lies below those of transactions that were seen before it.
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "INSERT INTO messages (rc_id, room_id, user_id, text, thread, system_type, ts, rc_updated_at, attachments,"
                " reactions) VALUES ('late', %s, %s, 'the port is 5433', '', '', '2026-11-22', '2026-11-22', '[]', '{}')",
                [backend.pk, bob.pk],
            )
            say(backend, bob, "another port is 80")
            assert "the port is 5433" not in find(backend, say(backend, bob, "which port?"))
            cursor.execute("COMMIT")
    finally:
        other.close()

    assert "the port is 5433" in find(backend, say(backend, bob, "which port?"))


@pytest.mark.parametrize("named", [rooms.NAMED, 0])
def test_a_line_has_the_name_its_author_has_now(backend, bob, monkeypatch, named):
    monkeypatch.setattr(rooms, "NAMED", named)
    agent = make_agent("echo-bob", owner=bob)
    say(backend, bob, "the port is 5433")
    Message.objects.filter(pk=say(backend, bob, "the port was 5432").pk).update(user=None, agent=agent)
    assert {line.name for line in lines_of(backend, say(backend, bob, "which port?"))} == {"bob", "echo-bob"}

    User.objects.filter(pk=bob.pk).update(username="robert")

    found = lines_of(backend, say(backend, bob, "and which port now?"))
    assert {(line.user_id, line.agent_id, line.name) for line in found} == {
        (bob.pk, 0, "robert"),
        (0, agent.pk, "echo-bob"),
    }


def test_a_line_is_what_the_row_is(backend, bob):
    say(backend, bob, "the port is 5433")
    root = say(backend, bob, "which port?")
    say(backend, bob, "port 5434, in a thread", thread=root.rc_id)
    question = say(backend, bob, "which port?")

    found = {line.id: line for line in lines_of(backend, question)}

    assert found
    stored = select("m.id = ANY(%s::bigint[])", [list(found)])
    assert found == {line.id: line for line in stored}


def test_what_was_rolled_back_is_not_found(backend, bob):
    with transaction.atomic():
        say(backend, bob, "the port is 5433")
        seen_within = find(backend, say(backend, bob, "which port?"))
        transaction.set_rollback(True)

    assert seen_within == ["the port is 5433"]
    assert find(backend, say(backend, bob, "which port?")) == []


def test_messages_of_a_restored_database_are_not_read_again_and_again(backend, bob, monkeypatch):
    say(backend, bob, "the port is 5433")
    Message.objects.update(changed_xid=2**50)

    assert "the port is 5433" in find(backend, say(backend, bob, "which port?"))
    with searched.fresh(room_id=backend.pk) as room:
        reads: list[object] = []
        monkeypatch.setattr(room, "_apply", reads.extend)
        room.refresh()

    assert reads == []


def test_neither_the_question_nor_what_came_after_it_is_found(backend, bob):
    question = say(backend, bob, "which port?")
    say(backend, bob, "the port is 5433")

    assert find(backend, question) == []


def test_another_rooms_messages_are_never_found_whatever_memory_names(backend, bob):
    elsewhere = say(make_room("other", members=(bob,)), bob, "the port of the other room is 80")
    gone = say(backend, bob, "x")
    Message.objects.filter(pk=gone.pk).update(text="", deleted_at=timezone.now())
    question = say(backend, bob, "which port?")

    found = find(backend, question, remembered={elsewhere.pk: 1.0, gone.pk: 1.0, question.pk: 1.0, 10**12: 1.0})

    assert found == []


def test_what_memory_names_is_found_without_a_common_word(backend, bob):
    said = [say(backend, bob, f"note {number} on this and that") for number in range(30)]
    said.append(say(backend, bob, "we took the elephant"))
    question = say(backend, bob, "which database?")

    assert find(backend, question, remembered={said[-1].pk: 0.9})[0] == "we took the elephant"


def test_a_question_that_names_nothing_finds_nothing(backend, bob):
    say(backend, bob, "the port is 5433")

    assert find(backend, say(backend, bob, "@claude-alice and what now?")) == []


def test_an_empty_room_is_searched_without_complaint(backend, bob):
    assert find(backend, say(backend, bob, "which port?")) == []


def test_a_room_is_read_newest_first_and_the_rest_meanwhile(backend, bob, monkeypatch):
    monkeypatch.setattr(rooms, "FIRST", 5)
    monkeypatch.setattr(rooms, "STEP", 3)
    say(backend, bob, "the oldest port is 80")
    for number in range(20):
        say(backend, bob, f"note {number} about lunch")
    question = say(backend, bob, "which port?")

    with searched.fresh(room_id=backend.pk) as room:
        pass
    assert room.is_whole.wait(20)

    assert find(backend, question)[0] == "the oldest port is 80"


def test_a_huge_room_is_searched_up_to_a_bound(backend, bob, monkeypatch, settings):
    monkeypatch.setattr(rooms, "FIRST", 5)
    settings.NEXUS_SEARCHED_MESSAGES = 10
    oldest = say(backend, bob, "the oldest port is 80")
    for number in range(20):
        say(backend, bob, f"note {number} about a port")
    question = say(backend, bob, "which port?")

    with searched.fresh(room_id=backend.pk) as room:
        pass
    assert room.is_whole.wait(20)

    assert room.index.alive_count == 10
    assert "the oldest port is 80" not in find(backend, question)
    # Memory reaches behind the bound.
    assert "the oldest port is 80" in find(backend, question, remembered={oldest.pk: 0.5})


def test_the_rooms_searched_last_stay_within_the_bound(bob, settings):
    settings.NEXUS_SEARCHED_MESSAGES = 10
    talks = [make_room(f"room{number}", members=(bob,)) for number in range(4)]
    for room in talks:
        for number in range(4):
            say(room, bob, f"note {number}")
        find(room, say(room, bob, "which note?"))

    assert sum(room.index.count for room in searched._rooms.values()) <= 10
    assert talks[-1].pk in searched._rooms


def test_a_room_with_very_many_changes_is_read_anew(backend, bob, monkeypatch):
    find(backend, say(backend, bob, "which port?"))
    monkeypatch.setattr(rooms, "MANY", 3)
    for number in range(5):
        say(backend, bob, f"port {number}")

    found = find(backend, say(backend, bob, "which port?"))

    assert {f"port {number}" for number in range(5)} <= set(found)


def test_a_message_of_a_megabyte_is_searched_by_its_head(backend, bob):
    say(backend, bob, "the port is 5433 " + "word " * 200_000)
    question = say(backend, bob, "which port? " + "please " * 150_000)

    assert find(backend, question)[0].startswith("the port is 5433")


def test_replies_lend_each_other_their_words_and_not_the_talk_around(backend, bob):
    root = say(backend, bob, "should orders move to another database?")
    for number in range(6):
        say(backend, bob, f"lunch talk {number}")
        say(backend, bob, ("fine", "yes", "agreed", "Postgres then", "done", "merged")[number], thread=root.rc_id)
    question = say(backend, bob, "what about orders and the database?")

    found = find(backend, question)

    assert found[0] == root.text
    assert "yes" in found
    assert "lunch talk 3" not in found


def test_clock_skew_breaks_nothing(backend, bob):
    early = say(backend, bob, "the port is 5433")
    Message.objects.filter(pk=early.pk).update(ts="1970-01-01T00:00:00Z")
    late = say(backend, bob, "the port is 81")
    Message.objects.filter(pk=late.pk).update(ts="2199-01-01T00:00:00Z")

    found = find(backend, say(backend, bob, "which port did we name in march?"))

    assert found == ["the port is 5433"]


def test_a_named_author_is_found_by_any_of_his_names(backend, bob):
    alice = make_user("alice.k")
    alice.display_name = "Alice Kowalski"
    alice.save()
    for number in range(10):
        say(backend, bob, f"we deploy on day {number}")
    say(backend, alice, "we deploy on Friday")

    for name in ("Alice", "@alice.k", "kowalski"):
        assert find(backend, say(backend, bob, f"when did {name} want to deploy?"))[0] == "we deploy on Friday"


@pytest.fixture(autouse=True)
def nothing_known():
    make_agent()
    searched.forget()
    yield
    searched.forget()
