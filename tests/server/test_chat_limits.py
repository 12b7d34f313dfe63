"""Are the chat's limits met by waiting, and is what is final said first?"""

from email.utils import formatdate

import pytest
from asgiref.sync import sync_to_async

from gateway.chat.pace import Budget
from gateway.rocketchat.limits import SLACK_S, Limits
from tests.server import streaming
from tests.server.chat_world import chat_process, online, until

ROUTE = "POST chat.update"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limits(clock):
    return Limits(clock=clock)


def headers(*, left, ends_in_s=60.0, limit=10):
    at = 1_795_000_000
    return {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(left),
        "x-ratelimit-reset": str(int((at + ends_in_s) * 1000)),
        "date": formatdate(at, usegmt=True),
    }


def test_who_is_told_nothing_of_limits_is_not_held_back(limits):
    assert limits.heard(ROUTE, {"content-type": "application/json"}) is False
    assert [limits.take(ROUTE) for _ in range(100)] == [0.0] * 100


def test_no_more_calls_are_made_than_are_left_and_then_the_end_of_the_window_is_waited_for(limits, clock):
    assert limits.heard(ROUTE, headers(left=2, ends_in_s=30))

    assert [limits.take(ROUTE) for _ in range(3)] == [0.0, 0.0, pytest.approx(30 + SLACK_S)]
    clock.now += 31
    assert limits.take(ROUTE) == 0.0


def test_a_route_that_was_never_called_is_as_limited_as_the_others(limits):
    limits.heard("GET me", headers(left=9))

    assert sum(limits.take(ROUTE) == 0.0 for _ in range(50)) == 10


def test_calls_under_way_are_counted_although_the_answers_do_not_know_of_them(limits):
    limits.heard(ROUTE, headers(left=9))
    for _ in range(5):
        limits.take(ROUTE)

    limits.heard(ROUTE, headers(left=8))

    assert sum(limits.take(ROUTE) == 0.0 for _ in range(50)) == 4


def test_what_is_not_final_gets_half_of_a_window_and_nothing_while_a_final_waits(limits, clock):
    limits.heard(ROUTE, headers(left=10))
    live = 0
    while limits.look(ROUTE, is_final=False) == 0.0:
        live += limits.take(ROUTE) == 0.0
    finals = 0
    while limits.look(ROUTE, is_final=True) == 0.0:
        finals += limits.take(ROUTE) == 0.0

    clock.now += 60 + 2 * SLACK_S

    assert (live, finals) == (5, 5)
    assert limits.look(ROUTE, is_final=True) == 0.0
    assert limits.look(ROUTE, is_final=False) > 0.0


@pytest.mark.parametrize("spoil", ["date", "x-ratelimit-reset", "x-ratelimit-limit"])
def test_odd_headers_are_no_limit(limits, spoil):
    assert limits.heard(ROUTE, headers(left=1) | {spoil: "soon"}) is False


def test_a_budget_never_gives_more_than_its_burst_and_what_has_grown_since(clock):
    budget = Budget(burst=16, every_s=2.0, clock=clock)
    taken = []
    for _ in range(800):
        taken += [clock.now] if budget.take() else []
        clock.now += 0.25

    spans = [sum(start <= at < start + 40 for at in taken) for start in taken]
    assert max(spans) <= 36


# The whole chat process against a server with its limits on

AGENTS, ROOMS, WORDS = 4, 3, 4


def limits_on(chat, **changes):
    return chat.control("switches", {"limits_enabled": True} | changes)


def refused(chat):
    return chat.control("state?messages=0", method="GET")["refused_by_limits"]


@pytest.mark.integration
@pytest.mark.timeout(120)
@pytest.mark.django_db(transaction=True)
async def test_replies_of_several_agents_stream_at_once_and_no_call_is_refused(chat):
    rows = await sync_to_async(streaming.make_running)(chat, agents=AGENTS, rooms=ROOMS)
    limits_on(chat)

    async with chat_process(chat.url) as process:
        await online(process, AGENTS)
        for word in range(WORDS):
            await sync_to_async(streaming.say)(rows, f"word {word} ")
            for account in process.accounts.values():
                if account.poster is not None:
                    account.poster.nudge()
        await sync_to_async(streaming.finish)(rows)
        await until(lambda: streaming.settled(rows).count() == len(rows), what="all replies settled")

    assert refused(chat) == 0
    assert len(streaming.shown(chat, "the end")) == len(rows)


@pytest.mark.integration
@pytest.mark.timeout(120)
@pytest.mark.django_db(transaction=True)
async def test_without_the_bypass_finals_come_first_within_the_limits_and_none_is_refused(chat):
    """A window of two seconds instead of a minute, and more ends at once than fit into one."""
    rows = await sync_to_async(streaming.make_running)(chat, agents=AGENTS, rooms=4)
    ending, running = rows[:12], rows[12:]
    chat.admin.login.allow(grants={"api-bypass-rate-limit": ("admin",)})
    limits_on(chat, rest_limit_calls=10, rest_limit_ms=2_000)

    async with chat_process(chat.url) as process:
        await online(process, AGENTS)
        await sync_to_async(streaming.say)(rows, "word ")
        await sync_to_async(streaming.finish)(ending)
        await until(lambda: streaming.settled(ending).count() == len(ending), what="the ended replies settled")
        await sync_to_async(streaming.finish)(running)
        await until(lambda: streaming.settled(rows).count() == len(rows), what="all replies settled")

    assert refused(chat) == 0
    assert len(streaming.shown(chat, "the end")) == len(rows)
