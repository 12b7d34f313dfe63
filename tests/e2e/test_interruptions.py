"""Does an answer go on where it was when one process dies under it, or Redis forgets everything?"""

import pytest

from tests.e2e.conftest import HOST_AGENT, MakeRoom
from tests.world import ledger
from tests.world.talk import ask
from tests.world.world import Bridged, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SLOW = "[[long 10]] [[delay 3]] [[long 5]]"


@pytest.mark.parametrize(
    ("number", "program"),
    list(enumerate(["gateway", "chat", "composer", "runtime", "sweep", "mem0-api", "valkey", "postgres"], start=100)),
)
def test_an_answer_survives_the_death_of(
    world: World, echo: Bridged, make_room: MakeRoom, number: int, program: str
) -> None:
    room = make_room(echo.slug)
    marker = f"q0{number}x0"
    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text=f"{marker} go on? {SLOW}")
    question.wait_said("line 10 of 10")

    pid = world.stack.kill(program)
    assert pid is not None
    world.stack.wait_restarted(program, after_pid=pid)

    reply = question.wait_done()
    assert [reply.count(text) for text in ("line 1 of 10", "line 10 of 10", "line 5 of 5", "You asked:")] == [1] * 4
    assert len(question.rows()) == 1
    assert len(question.reply_messages()) == 1
    assert ledger.started(world.ledger_dir)[echo.slug, marker] == 1


def test_an_answer_survives_a_redis_that_forgets_everything(world: World, echo: Bridged, make_room: MakeRoom) -> None:
    room = make_room(echo.slug)
    world.person("alice").say(room_id=room.rid, text="decision: the deploy script lives in tools/deploy.sh")
    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text=f"{SLOW} where is the deploy script?")
    question.wait_said("line 10 of 10")

    world.flush_redis()

    assert "tools/deploy.sh" in question.wait_done()
    after = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="once more, where is the deploy script?")
    assert "tools/deploy.sh" in after.wait_done(), "the working memory was found again in Postgres"


def test_a_question_asked_while_the_gateway_and_the_chat_process_are_dead_is_answered_once(
    world: World, echo: Bridged, make_room: MakeRoom
) -> None:
    room = make_room(echo.slug)
    world.stack.take_down("chat")
    world.stack.take_down("gateway")

    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="did you hear me?")
    world.stack.bring_up("gateway")
    world.stack.bring_up("chat")

    assert "You asked: did you hear me?" in question.wait_done()
    assert len(question.rows()) == 1


def test_a_run_whose_bridge_dies_is_interrupted_keeps_what_it_said_and_is_not_started_again(
    world: World, make_room: MakeRoom
) -> None:
    mortal = world.agent(owner="alice", role="mortal")
    room = make_room(mortal.slug)
    question = ask(world, person="bob", rid=room.rid, slug=mortal.slug, text=f"q0003x0 {SLOW}")
    question.wait_said("line 10 of 10")

    pid = world.stack.kill(mortal.bridge)
    assert pid is not None

    row = question.wait_settled()
    assert (row["state"], row["reason"]) == ("interrupted", "bridge_restarted")
    assert "line 10 of 10" in question.reply()
    (sentence,) = question.sentences()
    assert "does not run again by itself" in sentence
    world.wait_online(mortal.slug)
    assert "You asked: q0004x0" in ask(world, person="bob", rid=room.rid, slug=mortal.slug, text="q0004x0").wait_done()
    started = ledger.started(world.ledger_dir)
    assert (started[mortal.slug, "q0003x0"], started[mortal.slug, "q0004x0"]) == (1, 1)


def test_the_hosts_agent_is_back_after_runtime_host_was_killed(world: World, make_room: MakeRoom) -> None:
    room = make_room(HOST_AGENT)
    pid = world.stack.kill("runtime_host")
    assert pid is not None

    question = ask(world, person="bob", rid=room.rid, slug=HOST_AGENT, text="are you back?")

    assert "are you back?" in question.wait_done(timeout_s=90)


def test_a_revoked_bridge_is_cut_off_and_its_agent_says_why_it_does_not_answer(
    world: World, make_room: MakeRoom
) -> None:
    banned = world.agent(owner="alice", role="banned")
    room = make_room(banned.slug)
    running = ask(world, person="bob", rid=room.rid, slug=banned.slug, text="[[hang]] q0005x0")
    running.wait_said("Waiting.")

    world.revoke(banned)

    world.until(lambda: "revoked" in world.stack.log(banned.bridge), what="the bridge is told", timeout_s=10)
    world.stack.take_down(banned.bridge)
    row = running.wait_settled()
    assert row["state"] == "interrupted"
    after = ask(world, person="bob", rid=room.rid, slug=banned.slug, text="and now?")
    assert after.wait_settled()["reason"] == "bridge_revoked"
    assert len(after.sentences()) == 1


def test_an_answer_that_ends_while_the_chat_is_down_is_posted_once_it_is_back(
    world: World, echo: Bridged, make_room: MakeRoom
) -> None:
    room = make_room(echo.slug)
    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text=f"{SLOW} still there?")
    question.wait_said("line 10 of 10")

    world.stack.take_down("devchat")
    question.wait_state("done")
    world.stack.bring_up("devchat")
    world.stack.wait_ready("devchat")

    reply = question.wait_done(timeout_s=90)
    assert [reply.count(text) for text in ("line 1 of 10", "line 5 of 5", "You asked: still there?")] == [1] * 3
    assert len(question.reply_messages()) == 1
