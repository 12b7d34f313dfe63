"""Can the host's people find everything in the site, and can nobody break anything there?"""

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from admin_ui.site import site
from admin_ui.urls import urlpatterns
from gateway import staff
from gateway.models import Agent, AuditEntry, Invocation, PersonaVersion, Project, Room, RoomTool
from tests.admin import rows
from tests.admin.conftest import PASSWORD

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]

TOKEN_LOGIN = {"username": ""}
MAX_QUERIES = 30


@pytest.fixture
def it():
    return rows.everything()


def tables():
    return sorted(f"{model._meta.app_label}/{model._meta.model_name}" for model in site._registry)


def actions_in_audit():
    return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


def test_the_admin_token_opens_the_site(client, settings):
    answer = client.post("/admin/login/?next=/admin/", {"username": "", "password": settings.NEXUS_ADMIN_TOKEN})

    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert client.get("/admin/").status_code == 200
    assert "admin_login" in actions_in_audit()


@pytest.mark.parametrize(
    "given", [{"username": "", "password": "x" * 48}, {"username": "admin-token", "password": ""}]
)
def test_a_wrong_token_opens_nothing(client, given):
    assert client.post("/admin/login/", given).status_code == 200
    assert client.get("/admin/").status_code == 302


def test_guessing_is_stopped_after_twenty_tries(client, settings):
    for _ in range(20):
        assert client.post("/admin/login/", {"username": "", "password": "guess"}).status_code == 200

    answer = client.post("/admin/login/", {"username": "", "password": settings.NEXUS_ADMIN_TOKEN})

    assert answer.status_code == 429
    assert b"wait a minute" in answer.content
    assert client.get("/admin/").status_code == 302


def test_another_admin_token_ends_the_sessions_of_the_old_one(client, settings):
    client.post("/admin/login/", {"username": "", "password": settings.NEXUS_ADMIN_TOKEN})
    assert client.get("/admin/").status_code == 200

    settings.NEXUS_ADMIN_TOKEN = "another token " + "y" * 40

    assert client.get("/admin/").status_code == 302


def test_the_account_of_the_token_has_no_password(client, settings):
    client.post("/admin/login/", {"username": "", "password": settings.NEXUS_ADMIN_TOKEN})
    account = get_user_model().objects.get(username=staff.TOKEN_ACCOUNT)

    assert not account.has_usable_password()
    tried = Client().post("/admin/login/", {"username": staff.TOKEN_ACCOUNT, "password": account.password})
    assert tried.status_code == 200


def test_only_staff_logs_in(client):
    get_user_model().objects.create_user("mallory", password=PASSWORD)

    assert client.post("/admin/login/", {"username": "mallory", "password": PASSWORD}).status_code == 200
    assert client.get("/admin/").status_code == 302


def paths():
    """Every path of the site, with a number for its arguments."""
    for entry in urlpatterns:
        for inner in getattr(entry, "url_patterns", [entry]):
            prefix = str(entry.pattern) if inner is not entry else ""
            route = prefix + str(inner.pattern)
            yield "/admin/" + route.replace("<path:object_id>", "1").replace("<int:pk>", "1").replace("<id>", "1")


def test_without_a_session_every_path_leads_to_the_login(client):
    open_ones = {"/admin/login/", "/admin/jsi18n/"}
    answers = {
        path: (client.get(path).status_code, client.post(path).status_code)
        for path in paths()
        if "<" not in path and "(" not in path and path not in open_ones
    }

    assert len(answers) > 150
    assert {path: codes for path, codes in answers.items() if not set(codes) <= {302, 404, 403}} == {}


def test_forms_need_the_csrf_token(it, settings):
    client = Client(enforce_csrf_checks=True)
    assert client.post("/admin/login/", {"password": settings.NEXUS_ADMIN_TOKEN}).status_code == 403


def row_of(table):
    model = next(one for one in site._registry if f"{one._meta.app_label}/{one._meta.model_name}" == table)
    return model._default_manager.first()


def test_every_table_is_listed_shown_and_searched_with_few_queries_and_runs_nothing(operator, it):
    troubles = []
    for table in tables():
        row = row_of(table)
        shown = [f"{table}/{row.pk}/change/"] if row is not None else []
        for path in (f"{table}/", *shown, f"{table}/?q=back'\"%25"):
            with CaptureQueriesContext(connection) as asked:
                page = operator.get(f"/admin/{path}")
            is_evil = b"<script>alert" in page.content or b"<img src=x" in page.content
            is_evil |= b"9999999999" in page.content  # what a list that is not counted calls its length
            if page.status_code != 200 or len(asked) > MAX_QUERIES or is_evil:
                troubles.append((path, page.status_code, len(asked), is_evil))

    assert troubles == []


def test_who_may_only_look_changes_nothing(onlooker, it):
    troubles = []
    for table in set(tables()) - {"auth/user"}:
        if row_of(table) is None:
            continue
        path = f"/admin/{table}/{row_of(table).pk}"
        found = (
            onlooker.get(f"{path}/change/").status_code,
            onlooker.post(f"{path}/change/", {}).status_code,
            onlooker.post(f"{path}/delete/", {"post": "yes"}).status_code,
            onlooker.post(f"/admin/{table}/add/", {}).status_code,
        )
        if found != (200, 403, 403, 403):
            troubles.append((table, found))

    assert troubles == []
    assert onlooker.get("/admin/auth/user/").status_code == 403


def test_what_the_pipeline_owns_is_read_only_for_operators_too(operator, it):
    for table in ("gateway/invocation", "gateway/auditentry", "gateway/message", "composer/prompt", "gateway/bridge"):
        path = f"/admin/{table}/{row_of(table).pk}"
        assert operator.post(f"{path}/change/", {"state": "done"}).status_code == 403
        assert operator.post(f"{path}/delete/", {"post": "yes"}).status_code == 403


def test_a_persona_is_changed_with_its_history(operator, it):
    form = {
        "persona": "You are terse.",
        "who_may_ask": "room",
        "parallel": "2",
        "token_percent": "100",
        "is_enabled": "on",
        "approvers": [it.bob.pk],
    }

    answer = operator.post(f"/admin/gateway/agent/{it.agent.pk}/change/", form)

    agent = Agent.objects.get(pk=it.agent.pk)
    assert (answer.status_code, agent.persona, agent.parallel) == (302, "You are terse.", 2)
    assert list(agent.approvers.all()) == [it.bob]
    assert PersonaVersion.objects.latest("pk").text == rows.EVIL
    assert {"persona_changed", "agent_changed"} <= set(actions_in_audit())


def test_a_refused_change_says_why_and_changes_nothing(operator, it):
    form = {"persona": "bell \x07", "who_may_ask": "room", "parallel": "1", "token_percent": "100", "is_enabled": "on"}

    answer = operator.post(f"/admin/gateway/agent/{it.agent.pk}/change/", form, follow=True)

    assert b"control character" in answer.content
    assert Agent.objects.get(pk=it.agent.pk).persona == rows.EVIL


def test_rooms_and_projects_are_changed_through_the_same_functions(operator, it):
    operator.post("/admin/gateway/project/add/", {"slug": "billing", "title": "Billing", "managers": [it.bob.pk]})
    billing = Project.objects.get(slug="billing")
    operator.post(f"/admin/gateway/room/{it.room.pk}/change/", {"is_quiet": "on", "project": billing.pk})

    room = Room.objects.get(pk=it.room.pk)
    assert (room.is_quiet, room.project) == (True, billing)
    assert list(billing.managers.all()) == [it.bob]
    assert {"project_created", "room_changed"} <= set(actions_in_audit())


def test_a_fact_is_corrected_and_forgotten(operator, it):
    fact = it.row.message.facts.get()
    operator.post(
        f"/admin/composer/fact/{fact.pk}/change/", {"value": '"Postgres 17"', "expires_at_0": "", "expires_at_1": ""}
    )
    fact.refresh_from_db()
    assert fact.value == "Postgres 17"

    operator.post(f"/admin/composer/fact/{fact.pk}/delete/", {"post": "yes"})

    assert not it.row.message.facts.exists()
    assert {"fact_corrected", "fact_forgotten"} <= set(actions_in_audit())


def test_a_landmark_is_taken_down_and_pinned_again(operator, it):
    landmark = it.row.message.landmark
    for pinned, expected in (("no", False), ("yes", True)):
        operator.post(f"/admin/landmarks/{landmark.pk}/pin/", {"pinned": pinned})
        landmark.refresh_from_db()
        assert (landmark.unpinned_at is None) is expected


def test_the_matrix_gives_and_takes_leave(operator, onlooker, it):
    page = operator.get("/admin/tools/")
    assert page.status_code == 200
    field = f"leave.{it.room.pk}.search"

    onlooker.post("/admin/tools/", {field: "yes"})
    assert RoomTool.objects.get(room=it.room).needs_approval

    operator.post("/admin/tools/", {field: "yes"})
    assert not RoomTool.objects.get(room=it.room).needs_approval
    operator.post("/admin/tools/", {field: "no"})
    assert not RoomTool.objects.exists()
    assert "tool_leave_changed" in actions_in_audit()


def test_the_inspector_shows_sections_sources_and_what_was_left_out(onlooker, it):
    with CaptureQueriesContext(connection) as asked:
        page = onlooker.get(f"/admin/prompts/{it.row.pk}/")

    text = page.content.decode()
    assert len(asked) <= MAX_QUERIES
    assert f"/admin/gateway/message/{it.row.message_id}/change/" in text
    assert "no room" in text
    assert "&lt;b&gt;hi" in text
    assert "<script>alert" not in text
    assert onlooker.get("/admin/prompts/999999/").status_code == 404


def test_the_audit_log_is_exported_and_verified(operator, it):
    exported = b"".join(operator.get("/admin/audit/export/").streaming_content).decode()
    assert "audit_exported" in exported

    answer = operator.post("/admin/audit/verify/", follow=True)
    assert b"The chain holds" in answer.content


def test_the_dashboard_needs_few_queries(operator, it):
    with CaptureQueriesContext(connection) as asked:
        page = operator.get("/admin/")

    assert page.status_code == 200
    assert len(asked) <= MAX_QUERIES
    assert b'data-figure="agents-busy">1<' in page.content
    assert b"oldest waiting: claude-alice (composed)" in page.content
    assert b"First steps" not in page.content


def test_a_new_host_is_told_the_first_steps_and_what_empty_lists_are_for(operator, onlooker):
    assert b"Make a bridge" in operator.get("/admin/").content

    for table in set(tables()) - {"auth/user", "gateway/auditentry"}:
        page = operator.get(f"/admin/{table}/").content
        assert b"Nothing here yet" in page, table
        assert b"Create a new item" not in page
    assert b"Add bridge" in operator.get("/admin/gateway/bridge/").content
    assert b"Add bridge" not in onlooker.get("/admin/gateway/bridge/").content
    assert b"Nothing found" in operator.get("/admin/gateway/bridge/?is=online").content


def test_pages_carry_a_policy_without_inline_script_and_are_not_cached(operator):
    page = operator.get("/admin/")

    policy = page["Content-Security-Policy"]
    script = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe-inline" not in script
    assert "frame-ancestors 'none'" in policy
    assert "no-store" in page["Cache-Control"]
    assert page["X-Frame-Options"] == "DENY"


def test_a_states_neighbours_are_linked(operator, it):
    page = operator.get(f"/admin/gateway/invocation/?agent__id__exact={it.agent.pk}").content.decode()

    assert f"/admin/gateway/agent/{it.agent.pk}/change/" in page
    assert Invocation.objects.count() == 1


@pytest.mark.parametrize(("word", "count"), [("claude-alice", 1), ("backend", 1), ("bob", 1), ("nobody", 0)])
def test_invocations_are_found_by_who_and_where(operator, it, word, count):
    page = operator.get(f"/admin/gateway/invocation/?q={word}").content.decode()

    assert page.count(f"/admin/prompts/{it.row.pk}/") == count
