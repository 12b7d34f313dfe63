"""Does a file that a person attaches reach the agent, and one that the agent writes reach the room?"""

import pytest

from tests.e2e.conftest import MakeRoom
from tests.world.talk import Question, ask
from tests.world.world import Bridged, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_a_file_goes_to_the_agent_and_one_comes_back(world: World, echo: Bridged, make_room: MakeRoom) -> None:
    room = make_room(echo.slug)
    bob = world.person("bob")
    text = f"@{echo.slug} [[file notes.txt]] what is in it?"

    sent = bob.send_file(room_id=room.rid, name="log.txt", content=b"it failed\n" * 3, text=text)
    answer = Question(world, sent, room.rid, echo.slug).wait_done()

    assert "I was given 1-log.txt (30 bytes)" in answer
    [posted] = [
        message
        for message in world.chat_state()["messages"]
        if message["rid"] == room.rid and message["u"]["username"] == echo.slug and message.get("files")
    ]
    assert posted["files"][0]["name"] == "notes.txt"
    content = bob.content_of(link=posted["attachments"][0]["title_link"])
    assert content.startswith(b"This is notes.txt, written by the echo agent.")


def test_an_answer_longer_than_the_room_takes_comes_with_a_file(
    world: World, echo: Bridged, make_room: MakeRoom
) -> None:
    room = make_room(echo.slug)

    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="[[long 900]] tell me all")
    answer = question.wait_done(timeout_s=120)

    row = question.rows()[-1]
    assert f"The whole answer is in `answer-{row['id']}.md`" in answer
    assert len(question.reply_messages()) == 6
