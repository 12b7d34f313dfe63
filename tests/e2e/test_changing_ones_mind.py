"""What becomes of a question that is stopped, edited, deleted, or asked of an agent that is not there?"""

import pytest

from tests.e2e.conftest import MakeRoom
from tests.world import ledger
from tests.world.talk import ask
from tests.world.world import Bridged, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_a_running_answer_can_be_stopped_and_says_so(world: World, echo: Bridged, make_room: MakeRoom) -> None:
    room = make_room(echo.slug)
    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="[[hang]] for ever")
    question.wait_said("Waiting.")

    world.person("bob").say(room_id=room.rid, text=f"@{echo.slug} !stop")

    row = question.wait_settled()
    assert (row["state"], row["reason"]) == ("cancelled", "stopped")
    assert "Waiting." in question.reply()
    assert question.sentences() == ["Stopped by bob."]
    assert "You asked: next?" in ask(world, person="bob", rid=room.rid, slug=echo.slug, text="next?").wait_done()


def test_a_deleted_question_stops_its_run_and_is_forgotten(world: World, echo: Bridged, make_room: MakeRoom) -> None:
    room = make_room(echo.slug)
    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="[[hang]] my secret plan")
    question.wait_said("Waiting.")

    world.person("bob").post("chat.delete", roomId=room.rid, msgId=question.message_id)

    row = question.wait_settled(timeout_s=30)
    assert (row["state"], row["reason"]) == ("cancelled", "message_deleted")
    stored = world.query("SELECT text, deleted_at FROM messages WHERE rc_id = %s", question.message_id)
    assert stored[0]["text"] == ""
    assert stored[0]["deleted_at"] is not None


def test_an_edited_question_is_followed_and_not_asked_again(world: World, echo: Bridged, make_room: MakeRoom) -> None:
    room = make_room(echo.slug)
    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="q0001x0 what is it?")
    question.wait_done()

    text = f"@{echo.slug} q0001x0 what was it?"
    world.person("bob").post("chat.update", roomId=room.rid, msgId=question.message_id, text=text)

    world.until(
        lambda: world.query("SELECT text FROM messages WHERE rc_id = %s", question.message_id)[0]["text"] == text,
        what="the edit is stored",
    )
    ask(world, person="bob", rid=room.rid, slug=echo.slug, text="something after it").wait_done()
    assert len(question.rows()) == 1
    assert ledger.started(world.ledger_dir)[echo.slug, "q0001x0"] == 1


def test_a_question_to_an_agent_that_is_offline_waits_says_so_and_runs_by_itself_once_it_is_there(
    world: World, make_room: MakeRoom
) -> None:
    absent = world.agent(owner="alice", role="absent", is_started=False)
    room = make_room(absent.slug)
    question = ask(world, person="bob", rid=room.rid, slug=absent.slug, text="q0002x0 anybody home?")
    question.wait_state("waiting")
    world.until(question.sentences, what="the room is told that the question waits")
    (sentence,) = question.sentences()
    assert f"{absent.slug} is asleep" in sentence

    world.start_bridge(absent)

    assert "You asked: q0002x0 anybody home?" in question.wait_done()
    assert question.sentences() == [], "that it waits is not said any longer"
    assert ledger.started(world.ledger_dir)[absent.slug, "q0002x0"] == 1
