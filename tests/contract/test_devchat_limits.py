"""Who is slowed down, after how many calls, and how is he told?"""

import pytest

from gateway.devchat.errors import ChatError
from gateway.devchat.limits import DdpLimiter, Windows
from gateway.devchat.models import User
from gateway.devchat.store import Store
from tests.contract.conftest import PASSWORD, Clock, Devchat, Person


def test_people_have_ten_calls_a_minute_per_route_and_are_told_when_to_come_back(
    devchat: Devchat, alice: Person
) -> None:
    devchat.switch(limits_enabled=True)

    answers = [alice.get("me") for _ in range(11)]

    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert [answers[0].headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining")] == ["10", "9"]
    assert answers[10].headers["X-RateLimit-Remaining"] == "0"
    assert int(answers[10].headers["X-RateLimit-Reset"]) > 1_700_000_000_000
    assert answers[10].json()["error"].startswith("Error, too many requests. Please slow down. You must wait")
    assert answers[10].json()["error"].endswith("[error-too-many-requests]")
    assert "errorType" not in answers[10].json()
    assert alice.get("subscriptions.get").status_code == 200


def test_bots_and_admins_are_not_limited(devchat: Devchat, claude: Person) -> None:
    devchat.switch(limits_enabled=True)

    answers = [claude.get("me") for _ in range(15)] + [devchat.admin.get("me") for _ in range(15)]

    assert {answer.status_code for answer in answers} == {200}
    assert "X-RateLimit-Limit" not in answers[0].headers


def test_logins_are_limited_whoever_logs_in(devchat: Devchat) -> None:
    devchat.switch(limits_enabled=True)

    answers = [devchat.http.post("/api/v1/login", json={"user": "x", "password": "y"}) for _ in range(11)]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]


def test_ten_wrong_passwords_block_their_user(devchat: Devchat, alice: Person) -> None:
    devchat.switch(limits_enabled=True, rest_limit_calls=100)

    for _ in range(10):
        devchat.http.post("/api/v1/login", json={"user": "alice", "password": "guess"})
    blocked = devchat.http.post("/api/v1/login", json={"user": "alice", "password": PASSWORD})

    assert (blocked.status_code, blocked.json()["error"]) == (401, "error-login-blocked-for-user")


def test_the_limit_itself_can_be_set(devchat: Devchat, alice: Person) -> None:
    devchat.switch(limits_enabled=True, rest_limit_calls=2)

    assert [alice.get("me").status_code for _ in range(3)] == [200, 200, 429]


async def test_the_socket_says_how_long_to_wait(devchat: Devchat, alice: Person) -> None:
    devchat.switch(limits_enabled=True)
    async with devchat.realtime(alice) as client:
        answers = [await client.call("getUserRoles") for _ in range(11)]

    assert all("error" not in answer for answer in answers[:10])
    assert answers[10]["error"]["error"] == "too-many-requests"
    assert 0 < answers[10]["error"]["details"]["timeToReset"] <= 10_000


async def test_subscriptions_count_too(devchat: Devchat, alice: Person) -> None:
    devchat.switch(limits_enabled=True)
    async with devchat.realtime(alice) as client:
        answers = [await client.subscribe("notify-user", f"{alice.id}/message") for _ in range(41)]

    assert answers[39]["msg"] == "ready"
    assert answers[40]["error"]["error"] == "too-many-requests"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock=clock)


@pytest.fixture
def limiter(store: Store, clock: Clock) -> DdpLimiter:
    return DdpLimiter(store, Windows(clock))


def user(*roles: str) -> User:
    return User("uid", "alice", "Alice", "", list(roles), 0, 0)


def calls_until_refused(limiter: DdpLimiter, name: str, caller: User, *, sessions: int = 1) -> int:
    for number in range(2_000):
        try:
            limiter.check(name=name, session_id=str(number % sessions), user=caller)
        except ChatError:
            return number
    return -1


def test_people_send_five_messages_a_second_and_bots_only_meet_the_connections_limit(limiter: DdpLimiter) -> None:
    assert calls_until_refused(limiter, "sendMessage", user("user")) == 5


def test_bots_send_many(limiter: DdpLimiter) -> None:
    assert calls_until_refused(limiter, "sendMessage", user("bot")) == 600


def test_no_role_lifts_the_limit_of_other_methods(limiter: DdpLimiter) -> None:
    assert calls_until_refused(limiter, "updateMessage", user("bot", "admin")) == 10


def test_several_connections_of_a_user_share_his_limit(limiter: DdpLimiter) -> None:
    assert calls_until_refused(limiter, "updateMessage", user("user"), sessions=5) == 20


def test_a_window_ends_with_its_time(limiter: DdpLimiter, clock: Clock) -> None:
    calls_until_refused(limiter, "updateMessage", user("user"))

    clock.now_ms += 10_000

    assert calls_until_refused(limiter, "updateMessage", user("user")) == 10
