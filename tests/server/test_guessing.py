"""Does guessing a secret end in waiting, however many addresses or secrets the guesser has, and is nobody else kept out?"""

from collections import Counter

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.test import RequestFactory

from gateway import bridge_auth, bridge_http, bridges, guessing, staff
from gateway.guessing import FAILURES_OF_ONE_PER_MINUTE, FAILURES_PER_MINUTE, FailureLimit
from gateway.hub import consumer
from gateway.hub.process import Hub
from tests.server import people

GUESSES = 10_000
HERE, THERE = "192.0.2.1", "198.51.100.7"
PASSWORD = "a long enough pass phrase"


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def limit(now):
    return FailureLimit(clock=lambda: now[0], per_minute=3, of_one_per_minute=5)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    for module, name in ((bridge_http, "_failures"), (bridge_http, "_tools_failures"), (staff, "_failures")):
        monkeypatch.setattr(module, name, FailureLimit())


@pytest.fixture
def looked_up(monkeypatch):
    """What was looked for in the database: each is work that a guesser makes."""
    asked = []
    for module, name in (
        (bridge_auth, "find_bridge"),
        (bridge_auth, "find_run"),
        (bridges, "redeem_join"),
        (staff, "authenticate"),
    ):
        real = getattr(module, name)

        def watched(*arguments, _real=real, **values):
            asked.append(values)
            return _real(*arguments, **values)

        monkeypatch.setattr(module, name, watched)
    return asked


def addresses(count):
    return (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}" for number in range(count))


def tokens(count):
    return (bridge_auth.new_bridge_token() for _ in range(count))


def check(token, address):
    request = RequestFactory().get("/bridge/check", headers={"Authorization": f"Bearer {token}"}, REMOTE_ADDR=address)
    return bridge_http.check(request).status_code


def fetch(token, address):
    headers = {"Authorization": f"Bearer {token}"}
    request = RequestFactory().get("/bridge/files/1", headers=headers, REMOTE_ADDR=address)
    return bridge_http.fetch_file(request, file_id=1).status_code


def join(code, address):
    request = RequestFactory().post(
        "/bridge/join", data={"code": code}, content_type="application/json", REMOTE_ADDR=address
    )
    return bridge_http.join(request).status_code


def log_in(name, secret, address):
    request = RequestFactory().post("/admin/login/", REMOTE_ADDR=address)
    request.session = SessionStore()
    try:
        staff.log_in(request=request, username=name, secret=secret)
    except staff.LoginRefusedError as refused:
        return 429 if refused.is_limited else 401
    return 200


def bearer(token, address):
    try:
        staff.check_bearer(request=RequestFactory().get("/api/v1/me", REMOTE_ADDR=address), token=token)
    except staff.LoginRefusedError as refused:
        return 429 if refused.is_limited else 401
    return 200


# The limit itself


def test_an_address_that_guesses_waits_a_minute_and_no_other_does(limit, now):
    for _ in range(3):
        assert not limit.is_over(address=HERE)
        limit.failed(address=HERE)

    assert limit.is_over(address=HERE)
    assert not limit.is_over(address=THERE)
    now[0] = 61.0
    assert not limit.is_over(address=HERE)


def test_a_secret_that_is_guessed_from_everywhere_waits_everywhere_and_no_other_does(limit, now):
    for address in addresses(5):
        assert not limit.is_over(address=HERE, secret="one")
        limit.failed(address=address, secret="one")

    assert limit.is_over(address=HERE, secret="one")
    assert not limit.is_over(address=HERE, secret="another")
    assert not limit.is_over(address=HERE)
    now[0] = 61.0
    assert not limit.is_over(address=HERE, secret="one")


def test_who_was_let_in_before_is_not_kept_out_by_others(limit):
    limit.passed(address=HERE, secret="one")
    for address in addresses(50):
        limit.failed(address=address, secret="one")

    assert not limit.is_over(address=HERE, secret="one")
    assert limit.is_over(address=THERE, secret="one")
    for _ in range(3):
        limit.failed(address=HERE, secret="one")
    assert limit.is_over(address=HERE, secret="one")


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("unknown", "unknown", True),
        ("", "unknown", False),
    ],
)
def test_an_ipv6_network_is_one_address(limit, one, other, is_one):
    for _ in range(3):
        limit.failed(address=one)

    assert limit.is_over(address=other) is is_one


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(guessing, "MAX_KEYS", 100)
    limit = FailureLimit()
    for address, token in zip(addresses(1_000), tokens(1_000), strict=True):
        limit.failed(address=address, secret=token)
        limit.passed(address=address, secret=token)

    assert [len(one) for one in (limit._by_address._times, limit._by_secret._times, limit._known)] == [100] * 3


# Ten thousand guesses at each door


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(60)
@pytest.mark.parametrize("door", [check, fetch, join])
def test_ten_thousand_tokens_from_one_address_are_twenty_looked_up(door, looked_up):
    answers = Counter(door(token, HERE) for token in tokens(GUESSES))

    assert answers == {401: FAILURES_PER_MINUTE, 429: GUESSES - FAILURES_PER_MINUTE}
    assert len(looked_up) == FAILURES_PER_MINUTE


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(60)
@pytest.mark.parametrize("door", [check, fetch, join])
def test_one_dead_token_from_ten_thousand_addresses_is_sixty_looked_up(door, looked_up):
    [token] = tokens(1)

    answers = Counter(door(token, address) for address in addresses(GUESSES))

    assert answers == {401: FAILURES_OF_ONE_PER_MINUTE, 429: GUESSES - FAILURES_OF_ONE_PER_MINUTE}
    assert len(looked_up) == FAILURES_OF_ONE_PER_MINUTE
    assert door(next(tokens(1)), THERE) == 401


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(60)
def test_a_live_token_is_let_in_while_others_are_guessed(monkeypatch):
    bridge = people.make_bridge(owner=people.make_user("alice"))
    token = bridges.rotate(bridge_id=bridge.pk, actor="test")
    for address, guess in zip(addresses(1_000), tokens(1_000), strict=True):
        check(guess, address)

    assert check(token, THERE) == 200


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(60)
def test_the_admin_token_and_an_account_are_guessed_sixty_times_from_ten_thousand_addresses(settings, looked_up):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    get_user_model().objects.create_superuser("olga", password=PASSWORD)
    assert log_in("olga", PASSWORD, HERE) == bearer(settings.NEXUS_ADMIN_TOKEN, HERE) == 200
    looked_up.clear()

    named = Counter(
        log_in("OLGA" if address[-1] == "7" else "olga", "guess", address) for address in addresses(GUESSES)
    )
    held = Counter(bearer("guess", address) for address in addresses(GUESSES))

    expected = {401: FAILURES_OF_ONE_PER_MINUTE, 429: GUESSES - FAILURES_OF_ONE_PER_MINUTE}
    assert named == held == expected
    assert len(looked_up) == FAILURES_OF_ONE_PER_MINUTE
    # The next guess could be the right one: it is not even looked at. The owner's own address is.
    assert log_in("olga", PASSWORD, THERE) == log_in("", settings.NEXUS_ADMIN_TOKEN, THERE) == 429
    assert log_in("olga", PASSWORD, HERE) == bearer(settings.NEXUS_ADMIN_TOKEN, HERE) == 200
    assert log_in("nobody", "guess", THERE) == 401


class _Unknowing(Hub):
    """A hub that knows no token, and counts who asked."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    async def identify(self, *, token):
        self.asked += 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("is_one_token", [True, False])
async def test_the_bridges_socket_counts_the_same_way(is_one_token):
    hub = _Unknowing()
    [dead] = tokens(1)
    answers: Counter[int] = Counter()
    for address, token in zip(addresses(GUESSES), tokens(GUESSES), strict=True):
        given = (address, dead) if is_one_token else (HERE, token)
        scope = {"client": (given[0], 1), "headers": [(b"authorization", f"Bearer {given[1]}".encode())]}
        (status, _), identity = await consumer._examine(scope, hub=hub)
        answers[status] += 1
        assert identity is None

    bound = FAILURES_OF_ONE_PER_MINUTE if is_one_token else FAILURES_PER_MINUTE
    assert answers == {401: bound, 429: GUESSES - bound}
    assert hub.asked == bound
    await hub.writer.close()
