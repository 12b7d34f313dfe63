"""Who decides what an agent may do? Its owner, in the room, with the whole command before his eyes."""

import pytest

from tests.e2e.conftest import MakeRoom
from tests.world.talk import Question, ask
from tests.world.world import Bridged, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

COMMAND = "rm -rf build/cache"


def test_the_owner_allows_what_the_asker_may_not_allow_himself(
    world: World, echo: Bridged, make_room: MakeRoom
) -> None:
    room = make_room(echo.slug)
    question = _ask_for_permission(world, echo, room.rid)

    world.person("bob").say(room_id=room.rid, text="!approve")
    world.until(lambda: "may decide" in _said_by(world, room.rid, echo.slug), what="Bob is told that he may not")
    assert question.state() == "running"
    world.person("alice").say(room_id=room.rid, text="!approve")

    assert f"Allowed: {COMMAND}" in question.wait_done()


def test_what_the_owner_denies_is_not_done(world: World, echo: Bridged, make_room: MakeRoom) -> None:
    room = make_room(echo.slug)
    question = _ask_for_permission(world, echo, room.rid)

    world.person("alice").say(room_id=room.rid, text="!deny not today")

    assert f"Denied: {COMMAND}" in question.wait_done()


def _ask_for_permission(world: World, echo: Bridged, rid: str) -> Question:
    question = ask(world, person="bob", rid=rid, slug=echo.slug, text=f"[[permission {COMMAND}]] clean up?")
    world.until(lambda: any(COMMAND in text for text in question.sentences()), what="the card shows the command")
    return question


def _said_by(world: World, rid: str, username: str) -> str:
    messages = world.chat_state()["messages"]
    return "\n".join(one["msg"] for one in messages if one["rid"] == rid and one["u"]["username"] == username)
