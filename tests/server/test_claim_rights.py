"""Does a claim, which reads all it needs in one statement, judge exactly as opening a row does?"""

import itertools

import pytest

from gateway.invocations import claim_next, claims, open_invocation, rights
from gateway.models import LIVE, RoomMember, State, WhoMayAsk
from tests.server.people import make_agent, make_bridge, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration]

CASES = list(
    itertools.product(WhoMayAsk.values, ("owner", "named", "member", "stranger", "foreign"), (False, True, None))
)


@pytest.mark.parametrize(("who_may_ask", "asker", "accepts"), CASES)
def test_claiming_and_opening_agree(who_may_ask, asker, accepts):
    """`accepts` says whether the agent takes a hand-over from the writing agent; None: a human asks directly."""
    owner, other = make_user("alice"), make_user("bob")
    user = owner if asker == "owner" else other
    agent = make_agent(owner=owner, bridge=make_bridge())
    writer = make_agent("writer")
    room = make_room(members=(owner, other))
    row = open_invocation(
        message=say(room, user, "?"),
        room=room,
        agent=agent,
        root_asker=user,
        asker_agent=_writer(agent, writer, accepts),
    )
    assert row is not None
    # What was allowed when it was asked may not be when it is claimed.
    agent.who_may_ask = who_may_ask
    agent.save()
    if asker == "named":
        agent.allowed_askers.add(user)
    if asker in ("stranger", "named"):
        RoomMember.objects.filter(room=room, user=user).delete()
    if asker == "foreign":
        user.is_foreign_bot = True
        user.save()
    if accepts is False:
        agent.accepts_handover_from.clear()

    verdict = rights.refusal(
        agent=agent,
        asker_id=user.pk,
        is_foreign_bot=user.is_foreign_bot,
        room_id=room.pk,
        writer=writer if accepts is not None else None,
    )
    claim = claim_next(invocation_id=row.pk)

    row.refresh_from_db()
    assert (claim is None) == (verdict is not None)
    assert (row.state, row.detail) == ((State.FAILED, verdict) if verdict else (State.COMPOSING, ""))


def test_the_statements_of_a_claim_know_all_live_states():
    states = "(" + ", ".join(f"'{state}'" for state in LIVE) + ")"

    assert claims._NEXT_ROW.count(states) == claims._NEXT_ROW.count("l.state IN") == 3


def _writer(agent, writer, accepts):
    if accepts is None:
        return None
    agent.accepts_handover_from.add(writer)
    return writer
