"""Does a mention in a finished reply ask the next agent, where it may, and does every chain end?"""

import pytest
from django.conf import settings

from gateway.models import Invocation, Notice, RoomMember
from nexus_bridge import events
from tests.server import people
from tests.server.posting import end, in_db, output, start

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def reviewer(alice, agent, room):
    other = people.make_agent("gemini-alice", owner=alice, bridge=people.make_bridge(owner=alice))
    other.accepts_handover_from.add(agent)
    RoomMember.objects.create(room=room, agent=other)
    return other


def finish(row, text):
    output(row, text, events.Done(status="ok"))
    end(row)


def opened():
    return list(Invocation.objects.filter(asker_agent__isnull=False).select_related("agent", "message", "root_asker"))


async def test_a_mention_in_the_finished_reply_asks_the_next_agent(desk, chat, room, bob, agent, reviewer):
    row = await in_db(lambda: start(people.ask(room, bob, agent)))()
    await in_db(finish)(row, "Done. @gemini-alice please review.")

    await desk.quiet()

    [handed] = await in_db(opened)()
    assert (handed.agent, handed.root_asker, handed.hop) == (reviewer, bob, 1)
    assert handed.message.rc_id in chat.messages
    assert "@gemini-alice please" in chat.texts()[0]


async def test_an_agent_that_takes_no_hand_over_is_not_called(desk, chat, room, bob, agent, reviewer):
    await in_db(reviewer.accepts_handover_from.clear)()
    row = await in_db(lambda: start(people.ask(room, bob, agent)))()
    await in_db(finish)(row, "Done. @gemini-alice please review.")

    await desk.quiet()

    assert await in_db(opened)() == []
    assert "@\u200bgemini-alice please" in chat.texts()[0]


async def test_an_agent_outside_the_room_is_not_asked(desk, room, bob, agent, reviewer):
    await in_db(RoomMember.objects.filter(agent=reviewer).delete)()
    row = await in_db(lambda: start(people.ask(room, bob, agent)))()
    await in_db(finish)(row, "@gemini-alice please review.")

    await desk.quiet()

    assert await in_db(opened)() == []


async def test_a_chain_at_its_limit_stops_with_a_sentence(desk, chat, room, bob, agent, reviewer):
    row = await in_db(lambda: start(people.ask(room, bob, agent)))()
    await in_db(Invocation.objects.filter(pk=row.pk).update)(hop=settings.NEXUS_MAX_HOPS)
    await in_db(finish)(row, "@gemini-alice please review.")

    await desk.quiet()
    await desk.quiet()

    assert await in_db(opened)() == []
    reply, sentence = chat.texts()
    assert "@\u200bgemini-alice" in reply
    assert "limit" in sentence


async def test_a_chain_that_has_cost_too_much_stops_with_a_sentence(desk, room, bob, agent, reviewer, settings):
    settings.NEXUS_CHAIN_MAX_USD = 1.0
    row = await in_db(lambda: start(people.ask(room, bob, agent)))()

    def finish_dear():
        output(row, "@gemini-alice please review", events.Done(status="ok"))
        end(row, cost_usd=1.5)

    await in_db(finish_dear)()
    await desk.quiet()
    await desk.after(2)

    assert await in_db(opened)() == []
    [text] = await in_db(lambda: list(Notice.objects.values_list("text", flat=True)))()
    assert text.startswith("This chain of agents has cost $1.50")


async def test_two_agents_that_ask_each_other_too_often_are_stopped(desk, room, bob, agent, reviewer):
    for number in range(7):
        row = await in_db(lambda thread: start(people.ask(room, bob, agent, thread=thread)))(f"thread-{number}")
        await in_db(finish)(row, "@gemini-alice please review.")
        await desk.quiet()
        await desk.after(1.0)

    assert len(await in_db(opened)()) == 6
    assert "so I stop here" in (await in_db(Notice.objects.get)(kind="warning")).text


async def test_a_reply_that_broke_off_asks_nobody(desk, room, bob, agent, reviewer):
    row = await in_db(lambda: start(people.ask(room, bob, agent)))()
    await in_db(output)(row, "@gemini-alice please")
    await in_db(end)(row, "failed", reason="crash")

    await desk.quiet()

    assert await in_db(opened)() == []
