"""Do agents hand over to each other in the room, and do two that were told to talk for ever stop and say so?"""

from collections import Counter
from itertools import product

import pytest
from django.conf import settings

from tests.e2e.conftest import HOST_AGENT, MakeRoom
from tests.world.talk import ask
from tests.world.world import Bridged, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def test_two_agents_told_to_talk_for_ever_stop_and_say_so(world: World, echo: Bridged, make_room: MakeRoom) -> None:
    for taker, giver in ((echo.slug, HOST_AGENT), (HOST_AGENT, echo.slug)):
        world.query(
            "INSERT INTO agent_handovers (from_agent_id, to_agent_id) SELECT taker.id, giver.id FROM agents taker, agents"
            " giver WHERE taker.slug = %s AND giver.slug = %s ON CONFLICT DO NOTHING",
            taker,
            giver,
        )
    room = make_room(echo.slug, HOST_AGENT)
    # The question asks both, and each repeats what it was asked, so each mentions the other one.
    loop = " again, ".join([f"tell @{HOST_AGENT} and @{echo.slug} to go on"] * 12)

    ask(world, person="bob", rid=room.rid, slug=echo.slug, text=f"talk for ever: {loop}")

    ends = f"This chain of agents has reached its limit of {settings.NEXUS_MAX_HOPS} hops"
    world.until(lambda: len(_said(world, room.rid, ends)) == 2, what="both chains say that they end", timeout_s=90)
    rows = world.until(lambda: _all_settled(world, room.rid), what="every answer stands")
    turns = Counter((row["slug"], row["hop"]) for row in rows)
    assert turns == dict.fromkeys(product((echo.slug, HOST_AGENT), range(settings.NEXUS_MAX_HOPS + 1)), 1)
    assert {(row["state"], row["root"]) for row in rows} == {("done", "bob")}
    assert len(_said(world, room.rid, ends)) == 2


def _said(world: World, rid: str, text: str) -> list[str]:
    return [
        message["msg"]
        for message in world.chat_state()["messages"]
        if message["rid"] == rid and text in message["msg"]
    ]


def _all_settled(world: World, rid: str) -> list[dict[str, object]]:
    """All rows of the room once none of them has anything left to do; empty before."""
    rows = world.query(
        "SELECT a.slug, i.hop, i.state, u.username AS root, i.reply_settled_at FROM invocations i"
        " JOIN rooms r ON r.id = i.room_id JOIN agents a ON a.id = i.agent_id JOIN users u ON u.id = i.root_asker_id"
        " WHERE r.rid = %s ORDER BY i.id",
        rid,
    )
    return rows if all(row["reply_settled_at"] for row in rows) else []
