"""Does the API keep its doors, its one form of errors, and its promises about changes?"""

import json
import re

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver

from gateway import bridge_auth
from gateway.api import lists, urls
from gateway.models import Agent, AuditEntry, Bridge, PersonaVersion
from nexus_bridge import tokens
from tests.admin import rows
from tests.admin.asking import path, send
from tests.admin.conftest import PASSWORD

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]

OPEN = {"/api/v1/login"}
HOSTILE_ORIGIN = {"Origin": "https://evil.example"}


@pytest.fixture
def it():
    return rows.everything()


def paths():
    """Every path below /api/v1/, from the URLconf, with something in place of its arguments."""
    for pattern in get_resolver("gateway.api.urls").url_patterns:
        for inner in getattr(pattern, "url_patterns", [pattern]):
            route = str(inner.pattern).removeprefix("^").removesuffix(r"\Z").removesuffix("$")
            route = re.sub(r"\(\?P<pk>[^)]*\)|<int:pk>|\(\?P<after>[^)]*\)", "1", route)
            if route:
                yield path(route)


def test_without_credentials_every_path_refuses(client):
    answers = {
        where: [client.generic(method, where, content_type="application/json").status_code for method in
                ("GET", "POST", "PATCH", "DELETE")]
        for where in set(paths()) - OPEN
    }  # fmt: skip

    assert len(answers) > 35
    docs = answers.pop("/api/v1/docs")
    assert docs == [302, 405, 405, 405]
    wrong = {where: found for where, found in answers.items() if not set(found) <= {401, 404}}
    assert wrong == {}


def test_a_session_needs_the_csrf_token_and_a_bearer_does_not(it, settings):
    get_user_model().objects.create_user("olga", password=PASSWORD, is_staff=True, is_superuser=True)
    browser = Client(enforce_csrf_checks=True)
    me = send(browser, "POST", "login", {"username": "olga", "password": PASSWORD}).json()
    change = {"is_quiet": True}

    refused = send(browser, "PATCH", f"rooms/{it.room.pk}", change)
    taken = send(browser, "PATCH", f"rooms/{it.room.pk}", change, **{"X-CSRFToken": me["csrf_token"]})
    foreign = send(
        browser, "PATCH", f"rooms/{it.room.pk}", change, **HOSTILE_ORIGIN, **{"X-CSRFToken": me["csrf_token"]}
    )
    script = Client(enforce_csrf_checks=True)
    by_token = send(
        script, "PATCH", f"rooms/{it.room.pk}", change, Authorization=f"Bearer {settings.NEXUS_ADMIN_TOKEN}"
    )

    found = [answer.status_code for answer in (refused, taken, foreign, by_token)]
    assert found == [403, 200, 403, 200]
    assert refused.json()["error"]["code"] == "forbidden"


def test_a_wrong_token_is_refused_and_after_twenty_the_address_waits(client, settings):
    for _ in range(20):
        assert send(client, "GET", "me", Authorization="Bearer guess").status_code == 401

    over = send(client, "GET", "me", Authorization=f"Bearer {settings.NEXUS_ADMIN_TOKEN}")

    assert (over.status_code, over.json()["error"]["code"]) == (429, "rate_limited")
    assert send(client, "POST", "login", {"token": settings.NEXUS_ADMIN_TOKEN}).status_code == 429


def test_a_forwarded_address_changes_nothing(client):
    for number in range(20):
        send(client, "GET", "me", Authorization="Bearer guess", **{"X-Forwarded-For": f"10.0.0.{number}"})

    last = send(client, "GET", "me", Authorization="Bearer guess", **{"X-Forwarded-For": "10.0.9.9"})
    assert last.status_code == 429


def test_onlookers_read_and_change_nothing(onlooker, it):
    assert onlooker.get(path("agents")).status_code == 200
    assert send(onlooker, "PATCH", f"agents/{it.agent.pk}", {"is_enabled": False}).status_code == 403
    assert send(onlooker, "POST", f"bridges/{it.bridge.pk}/rotate", {}).status_code == 403
    assert Agent.objects.get(pk=it.agent.pk).is_enabled


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("invocations?page_size=0", "bad_value"),
        ("invocations?page_size=-1", "bad_value"),
        ("invocations?page_size=1000000000", "bad_value"),
        ("invocations?colour=red", "unknown_filter"),
        ("invocations?state=asleep", "bad_value"),
        ("invocations?after=x", "bad_value"),
        ("rooms?q=%00", "bad_value"),
        ("memories?after=1", "bad_value"),
    ],
)
def test_bad_queries_are_told(api, where, code):
    answer = api.get(path(where))

    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)


@pytest.mark.parametrize("where", ["agents/abc", "agents/-1", "agents/99999999999999999999", "memories/7", "nothing"])
def test_what_is_not_there_is_answered_in_the_same_form(api, where):
    answer = api.get(path(where))

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "bad_request"),
        (b'{"persona": "a", "persona": "b"}', 400, "bad_request"),
        (b'{"prompt_budget": NaN}', 400, "bad_request"),
        (b"[" * 100_000, 400, "bad_request"),
        (b'"' + b"x" * 300_000 + b'"', 413, "too_large"),
        (b'{"owner": 1}', 422, "unknown_field"),
        (b'{"persona": "\\u0000"}', 422, "bad_value"),
        (b'{"persona": "\\ud800"}', 422, "bad_value"),
        (b'{"persona": "\\u0007"}', 422, "bad_value"),
        (b'{"parallel": true}', 422, "bad_value"),
        (b'{"is_enabled": "yes"}', 422, "bad_value"),
        (b'{"approvers": [999999]}', 422, "bad_value"),
        (b"[]", 422, "bad_value"),
    ],
)
def test_bad_bodies_change_nothing(api, it, body, status, code):
    answer = api.generic("PATCH", path(f"agents/{it.agent.pk}"), body, content_type="application/json")

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert not AuditEntry.objects.filter(action="agent_changed").exists()


def test_only_json_is_read(api, it):
    answer = api.patch(path(f"agents/{it.agent.pk}"), b"persona=x", content_type="application/x-www-form-urlencoded")

    assert answer.status_code == 415


def test_a_persona_that_is_too_long_is_refused_and_markup_is_stored_as_it_is(api, it):
    assert send(api, "PATCH", f"agents/{it.agent.pk}", {"persona": "x" * 8_001}).status_code == 422
    markup = "{{ 7*7 }} <b>'; DROP TABLE agents; --"

    assert send(api, "PATCH", f"agents/{it.agent.pk}", {"persona": markup}).json()["persona"] == markup
    assert PersonaVersion.objects.latest("pk").text == rows.EVIL
    assert send(api, "GET", f"agents/{it.agent.pk}/personas").json()[0]["text"] == rows.EVIL


def test_a_slug_that_is_taken_is_a_conflict(api, it):
    assert send(api, "POST", "projects", {"slug": "billing", "title": "Billing"}).status_code == 201

    again = send(api, "POST", "projects", {"slug": "billing"})

    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
    bad = send(api, "POST", "projects", {"slug": "../etc"})
    assert bad.status_code == 422


def test_lists_go_on_where_the_page_before_ended(api, it, monkeypatch):
    for number in range(5):
        send(api, "POST", "projects", {"slug": f"project-{number}"})

    first = api.get(path("projects?page_size=4")).json()
    second = api.get(first["next"]).json()

    slugs = [row["slug"] for row in first["results"] + second["results"]]
    assert slugs == ["project-4", "project-3", "project-2", "project-1", "project-0", "shop"]
    assert second["next"] is None
    assert lists.MAX_PAGE == 200


def test_a_bridge_is_rotated_twice_and_the_last_token_holds(api, it):
    first = send(api, "POST", f"bridges/{it.bridge.pk}/rotate", {"overlap_s": 0}).json()["token"]
    second = send(api, "POST", f"bridges/{it.bridge.pk}/rotate", {"overlap_s": 0}).json()

    assert bridge_auth.find_bridge(token=first) is None
    found = bridge_auth.find_bridge(token=second["token"])
    assert found is not None
    assert found.bridge_id == it.bridge.pk
    assert second["token"] in second["config"]
    assert second["token"] not in json.dumps(list(AuditEntry.objects.values_list("detail", flat=True)))


def test_a_bridge_with_live_runs_is_revoked_by_force_only(api, it):
    kept = api.delete(path(f"bridges/{it.bridge.pk}"))
    assert (kept.status_code, kept.json()["error"]["code"]) == (409, "conflict")

    assert api.delete(path(f"bridges/{it.bridge.pk}?force=true")).status_code == 204

    assert Bridge.objects.get(pk=it.bridge.pk).revoked_at is not None
    assert api.delete(path(f"bridges/{it.bridge.pk}?force=true")).status_code == 404


def test_a_join_link_is_told_once(api, it):
    made = send(api, "POST", f"bridges/{it.bridge.pk}/join-link", {})

    code = made.json()["url"].partition("#")[2]
    assert made.status_code == 201
    assert tokens.is_well_formed(code, kind=tokens.JOIN)
    assert it.bridge.join_codes.filter(digest=bridge_auth.digest_of(code), used_at=None).exists()


def test_no_answer_holds_a_digest_or_a_sealed_token(api, it):
    secret = it.bridge.token_digest
    for prefix, _, _ in urls.router.registry:
        with CaptureQueriesContext(connection) as asked:
            answer = api.get(path(prefix))
        assert answer.status_code == 200
        assert len(asked) <= 30
        text = answer.content.decode()
        assert secret not in text
        assert "sealed" not in text


def test_a_run_is_stopped_and_asked_again(api, it):
    stopped = send(api, "POST", f"invocations/{it.row.pk}/stop")
    assert (stopped.status_code, stopped.json()["state"]) == (202, "cancelled")

    again = send(api, "POST", f"invocations/{it.row.pk}/retry")

    assert (again.status_code, again.json()["retry_of"]) == (201, it.row.pk)
    assert send(api, "POST", f"invocations/{it.row.pk}/retry").status_code == 409
    assert send(api, "POST", f"invocations/{it.row.pk}/stop").status_code == 409
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"invocation_stopped", "invocation_retried"} <= actions


def test_prompt_and_chunks_are_told(api, it):
    assert api.get(path(f"invocations/{it.row.pk}/prompt")).json()["left_out"][0]["count"] == 3

    found = api.get(path(f"invocations/{it.row.pk}/chunks/0")).json()

    assert [chunk["seq"] for chunk in found["chunks"]] == [1]
    assert found["state"] == "composed"


def test_a_fact_is_corrected_and_forgotten(api, it):
    pk = it.row.message.facts.get().pk

    assert send(api, "PATCH", f"facts/{pk}", {"value": {"name": "Postgres"}}).json()["value"] == {"name": "Postgres"}
    assert send(api, "PATCH", f"facts/{pk}", {"value": {"name": "\x00"}}).status_code == 422
    assert api.delete(path(f"facts/{pk}")).status_code == 204
    assert api.get(path(f"facts/{pk}")).status_code == 404


def test_leave_for_a_tool_is_set(api, it):
    body = {"room": it.room.pk, "tool": "search", "leave": "yes"}
    assert send(api, "POST", f"mcp-servers/{it.server.pk}/leave", body).json() == {"changed": True}

    unknown = send(api, "POST", f"mcp-servers/{it.server.pk}/leave", {**body, "tool": "rm"})

    assert unknown.status_code == 422
    assert api.get(path(f"tool-leaves?room={it.room.pk}")).json()["results"][0]["needs_approval"] is False


def test_health_stats_audit_and_docs_answer(api, operator, it):
    assert api.get(path("health")).json()["is_ok"]
    assert api.get(path("stats")).json()["agents"]["busy"] == 1
    assert api.get(path(f"agents/{it.agent.pk}/stats")).json()["invocations"] == 1
    assert api.get(path("audit/verify")).json() == {"holds": True, "broken": None}
    docs = operator.get(path("docs"))
    assert docs.status_code == 200
    assert "unsafe-inline" not in docs["Content-Security-Policy"].partition("style-src")[0]


def test_the_session_of_a_login_ends_with_its_logout(client, settings):
    assert send(client, "POST", "login", {"token": settings.NEXUS_ADMIN_TOKEN}).json()["may_change"]
    assert client.get(path("me")).status_code == 200

    assert send(client, "POST", "logout").status_code == 204
    assert client.get(path("me")).status_code == 401
