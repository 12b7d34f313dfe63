"""Is a change made on what was read, and is whoever read something older told, also when two come at once?"""

import threading
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client

from gateway import changes
from gateway.models import Agent, Bridge, McpServer
from tests.admin import rows
from tests.admin.asking import path, send

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def it():
    return rows.everything()


def test_who_read_an_older_version_is_told(api, it):
    etag = api.get(path(f"agents/{it.agent.pk}"))["ETag"]
    first = send(api, "PATCH", f"agents/{it.agent.pk}", {"parallel": 3}, **{"If-Match": etag})

    second = send(api, "PATCH", f"agents/{it.agent.pk}", {"parallel": 4}, **{"If-Match": etag})

    assert (first.status_code, second.status_code) == (200, 412)
    assert second.json()["error"]["code"] == "changed_meanwhile"
    assert Agent.objects.get(pk=it.agent.pk).parallel == 3
    third = send(api, "PATCH", f"agents/{it.agent.pk}", {"parallel": 4}, **{"If-Match": first["ETag"]})
    assert third.status_code == 200


CHANGES: dict[str, dict[str, Any]] = {
    "agents": {"parallel": 5},
    "bridges": {"name": "alice-desk"},
    "rooms": {"is_quiet": True},
    "users": {"role": "admin"},
    "projects": {"title": "Shop"},
    "facts": {"value": "Postgres"},
    "landmarks": {"kind": "spec"},
    "mcp-servers": {"transport": "http", "definition": {"url": "https://tracker.example/mcp"}},
}


@pytest.mark.parametrize("resource", CHANGES)
def test_each_kind_of_row_changes_for_who_has_read_it_and_for_nobody_else(api, it, resource):
    first = api.get(path(resource)).json()["results"][0]
    where = f"{resource}/{first['id']}"
    etag = api.get(path(where))["ETag"]

    stale = send(api, "PATCH", where, CHANGES[resource], **{"If-Match": '"something older"'})
    unchanged = api.get(path(where))
    made = send(api, "PATCH", where, CHANGES[resource], **{"If-Match": etag})

    assert (stale.status_code, unchanged["ETag"]) == (412, etag)
    assert made.status_code == 200, made.content
    assert made["ETag"] == api.get(path(where))["ETag"] != etag
    assert {name: made.json()[name] for name in CHANGES[resource]} == CHANGES[resource]


@pytest.mark.parametrize(("resource", "model"), [("bridges", Bridge), ("mcp-servers", McpServer)])
def test_nothing_is_ended_by_who_has_read_an_older_version(api, it, resource, model):
    pk = model.objects.latest("pk").pk

    stale = api.delete(path(f"{resource}/{pk}"), headers={"If-Match": '"something older"'})

    assert stale.status_code == 412
    assert api.get(path(f"{resource}/{pk}")).json().get("revoked_at") is None


def test_what_a_bridge_says_of_itself_is_shown_and_is_no_change_of_its_row(api, it):
    where = f"bridges/{it.bridge.pk}"
    before = api.get(path(where))
    said = {"load": {"running": 1, "memory_mib": 70}, "policies": {}, "last_seen_at": Now()}
    Bridge.objects.filter(pk=it.bridge.pk).update(**said)

    named = send(api, "PATCH", where, {"name": "alice-desk"}, **{"If-Match": before["ETag"]})

    assert before.json()["policies"]["claude-alice"]["deny"] == {"rules": 2, "tools": ["Bash", "<b>"]}
    assert (named.status_code, named.json()["name"], named.json()["policies"]) == (200, "alice-desk", {})


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_who_have_read_the_same_one_is_told(settings, monkeypatch):
    it = rows.everything()
    token = {"Authorization": f"Bearer {settings.NEXUS_ADMIN_TOKEN}"}
    etag = Client(headers=token).get(path(f"agents/{it.agent.pk}"))["ETag"]
    found: dict[int, int] = {}
    is_first_inside, may_go_on = threading.Event(), threading.Event()
    real = changes.change_agent

    def slow(**given):
        if not is_first_inside.is_set():
            is_first_inside.set()
            assert may_go_on.wait(20)
        return real(**given)

    def change(parallel):
        try:
            answer = send(Client(headers=token), "PATCH", f"agents/{it.agent.pk}", {"parallel": parallel}, **match)
            found[parallel] = answer.status_code
        finally:
            connection.close()

    match = {"If-Match": etag}
    monkeypatch.setattr(changes, "change_agent", slow)
    first, second = (threading.Thread(target=change, args=(parallel,)) for parallel in (3, 4))
    first.start()
    assert is_first_inside.wait(20)
    second.start()
    until_waiting(second)
    may_go_on.set()
    first.join(20)
    second.join(20)

    assert found == {3: 200, 4: 412}
    assert Agent.objects.get(pk=it.agent.pk).parallel == 3


def until_waiting(thread):
    """Until it waits for a lock of the database, or has ended without."""
    while thread.is_alive():
        with connection.cursor() as cursor:
            cursor.execute(WAITING)
            if cursor.fetchone()[0]:
                return
        thread.join(0.02)
