"""What the admin's tests share: people who may look, people who may change, and a row in every table."""

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from gateway import parts, staff
from gateway.guessing import FailureLimit
from tests.server.conftest import a_flush_deletes_rows  # noqa: F401  (a fixture)

PASSWORD = "a long enough pass phrase"


@pytest.fixture(autouse=True)
def calm(settings, tmp_path, monkeypatch):
    """Static files without a manifest, no failed logins from other tests, and no neighbours to ask."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    monkeypatch.setattr(staff, "_failures", FailureLimit())
    monkeypatch.setattr(parts, "_ask", lambda: [{"name": "database", "is_ok": True, "detail": "Postgres"}])
    parts.forget()


@pytest.fixture
def api(settings):
    """A script with the admin token."""
    return Client(headers={"Authorization": f"Bearer {settings.NEXUS_ADMIN_TOKEN}"})


@pytest.fixture
def operator(db):
    """A superuser's browser, just logged in."""
    return logged_in("olga", is_superuser=True)


@pytest.fixture
def onlooker(db):
    """A staff member's who may look only."""
    return logged_in("louis", is_superuser=False)


def logged_in(name, *, is_superuser):
    get_user_model().objects.create_user(name, password=PASSWORD, is_staff=True, is_superuser=is_superuser)
    client = Client()
    answer = client.post("/admin/login/?next=/admin/", {"username": name, "password": PASSWORD})
    assert answer.status_code == 302, answer.content
    return client
