"""Does an answer come, wherever a person asks: in a room, in a thread, in a direct chat, of the host's own agent?"""

import pytest

from tests.e2e.conftest import HOST_AGENT, MakeRoom
from tests.world.talk import ask
from tests.world.world import Bridged, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_a_mention_is_answered_from_what_the_room_said_before(
    world: World, echo: Bridged, make_room: MakeRoom
) -> None:
    room = make_room(echo.slug)
    world.person("alice").say(room_id=room.rid, text="decision: the order service uses Postgres 17 as its database")
    world.person("bob").say(room_id=room.rid, text="lunch at twelve?")

    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="what did we decide about the database?")

    reply = question.wait_done()
    assert "You asked: what did we decide about the database?" in reply
    assert "Postgres 17" in reply
    assert "lunch" not in reply
    assert len(question.rows()) == 1


def test_a_reply_streams_into_the_room_as_one_message_that_is_edited(
    world: World, echo: Bridged, make_room: MakeRoom
) -> None:
    room = make_room(echo.slug)

    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="[[long 20]] [[delay 4]] and then?")

    question.wait_said("line 20 of 20")
    assert question.state() == "running", "the text is there before the run ends"
    early = question.reply()
    late = question.wait_done()
    assert "You asked:" not in early
    assert "You asked: and then?" in late
    (message,) = question.reply_messages()
    assert message["editedBy"]["username"] == echo.slug


def test_a_question_in_a_thread_is_answered_there_and_may_be_followed_up_without_a_mention(
    world: World, echo: Bridged, make_room: MakeRoom
) -> None:
    room = make_room(echo.slug)
    root = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="what is red?")
    root.wait_done()

    inside = ask(
        world, person="bob", rid=room.rid, slug=echo.slug, text="and green?", thread=root.message_id, is_direct=True
    )

    assert "You asked: and green?" in inside.wait_done()
    assert {message["tmid"] for message in inside.reply_messages()} == {root.message_id}


def test_a_direct_message_is_answered_without_a_mention(world: World, echo: Bridged) -> None:
    rid = world.person("bob").post("im.create", username=echo.slug)["room"]["_id"]

    question = ask(world, person="bob", rid=rid, slug=echo.slug, text="are you there?", is_direct=True)

    assert "You asked: are you there?" in question.wait_done()


def test_the_hosts_own_agent_answers_through_runtime_host(world: World, make_room: MakeRoom) -> None:
    room = make_room(HOST_AGENT)

    question = ask(world, person="bob", rid=room.rid, slug=HOST_AGENT, text="say hello")

    assert "say hello" in question.wait_done()


def test_two_agents_in_one_message_answer_once_each(world: World, echo: Bridged, make_room: MakeRoom) -> None:
    room = make_room(echo.slug, HOST_AGENT)

    first = ask(world, person="bob", rid=room.rid, slug=echo.slug, text=f"@{HOST_AGENT} which of you is it?")

    assert "which of you is it?" in first.wait_done()
    rows = world.query(
        "SELECT i.id FROM invocations i JOIN messages m ON m.id = i.message_id WHERE m.rc_id = %s", first.message_id
    )
    assert len(rows) == 2


def test_what_only_looks_like_a_mention_asks_nobody(world: World, echo: Bridged, make_room: MakeRoom) -> None:
    room = make_room(echo.slug)
    bob = world.person("bob")

    for text in (f"`@{echo.slug} in code`", f"> @{echo.slug} in a quote", f"mail@{echo.slug} in a word"):
        bob.say(room_id=room.rid, text=text)
    last = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="this one?")

    last.wait_done()
    rows = world.query("SELECT i.id FROM invocations i JOIN rooms r ON r.id = i.room_id WHERE r.rid = %s", room.rid)
    assert len(rows) == 1
