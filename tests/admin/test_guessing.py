"""Does a login tell a guesser anything but no? What costs time is counted; a clock would only measure the machine."""

import hmac
from collections import Counter

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import MD5PasswordHasher

from gateway import staff
from tests.admin.conftest import PASSWORD

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]


def guesses(token):
    """Of every length and kind; the last ones share all but a sign with the admin token."""
    yield from ("", "x", "x" * len(token), "é" * 40, "\ud800", "x" * 1_000_000, token.upper(), f" {token}")
    yield from (token[:-1], token[:-1] + "~", token + "~", "~" + token[1:])


def test_every_guess_is_compared_whole_as_digests_of_one_length(settings, monkeypatch):
    compared = []
    real = hmac.compare_digest

    def watched(left, right):
        compared.append((len(left), len(right)))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    found = [staff.is_admin_token(guess) for guess in guesses(settings.NEXUS_ADMIN_TOKEN)]

    assert not any(found)
    assert staff.is_admin_token(settings.NEXUS_ADMIN_TOKEN)
    assert compared == [(32, 32)] * (len(found) + 1)


def test_every_door_compares_the_token_there_and_nowhere_else(client, settings, monkeypatch):
    asked = []

    def nobody(token):
        asked.append(token)
        return False

    monkeypatch.setattr(staff, "is_admin_token", nobody)
    token = settings.NEXUS_ADMIN_TOKEN

    answers = [
        client.post("/admin/login/", {"username": "", "password": token}).status_code,
        client.post("/api/v1/login", {"token": token}, content_type="application/json").status_code,
        client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code,
    ]

    assert answers == [200, 401, 401]
    assert asked == [token] * 3


def test_a_name_that_nobody_has_costs_as_much_as_a_wrong_password(client, monkeypatch):
    people = get_user_model().objects
    people.create_superuser("olga", password=PASSWORD)
    people.create_user("mallory", password=PASSWORD)
    people.create_user("gone", password=PASSWORD, is_staff=True, is_active=False)
    staff._account()
    hashed: Counter[str] = Counter()
    real = MD5PasswordHasher.encode

    def watched(hasher, password, salt):
        hashed[password] += 1
        return real(hasher, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", watched)
    said = set()
    for name in ("olga", "mallory", "gone", "nobody", staff.TOKEN_ACCOUNT):
        answer = client.post("/api/v1/login", {"username": name, "password": f"a guess at {name}"}, "application/json")
        said.add((answer.status_code, answer.json()["error"]["message"]))

    assert said == {(401, staff.WRONG)}
    assert set(hashed.values()) == {1}
    assert len(hashed) == 5
