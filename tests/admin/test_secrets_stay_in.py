"""What goes in at the admin's doors and must never come out: is it in no log, no row, no page, and is a stolen copy worth nothing?"""

import re
import sys

import httpx
import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from admin_ui.site import site
from gateway import bridge_auth, secrets
from gateway.api import urls
from gateway.models import BotAccount
from tests.admin import rows
from tests.admin.conftest import PASSWORD
from tests.server.gateway_process import running_gateway

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

CANARY = "canary"


@pytest.fixture
def it(settings, tmp_path):
    it = rows.everything()
    BotAccount.objects.filter(username="nexus").update(access_token=secrets.seal(f"{CANARY}-of-a-bot-account"))
    settings.NEXUS_MCP_SECRETS = str(tmp_path / "secrets.env")
    return it


@pytest.fixture
def gateway(it, settings, tmp_path):
    given = {"NEXUS_STATE_DIR": str(tmp_path), "NEXUS_MCP_SECRETS": settings.NEXUS_MCP_SECRETS}
    with running_gateway(tmp_path, **given, NEXUS_MCP_COMMANDS=sys.executable) as found:
        yield found


def sow(gateway, it, *, admin_token):
    """Through every door of the admin, good and bad; the secrets that were given out on the way."""
    told = []
    with httpx.Client(base_url=f"{gateway.url}/api/v1", timeout=20) as web:
        web.post("/login", json={"token": f"{CANARY}-wrong-token"})
        web.post("/login", json={"username": "olga", "password": f"{CANARY}-wrong-password"})
        web.post("/login", json={"username": f"{CANARY}-typed-into-the-name", "password": f"{CANARY}-2"})
        broken = f'{{"token": "{CANARY}-in-broken-json"'
        web.post("/login", content=broken, headers={"Content-Type": "application/json"})
        web.get("/me", headers={"Authorization": f"Bearer {CANARY}-bearer"})
        web.get("/me", headers={"Authorization": f"Basic {CANARY}-basic"})
        web.get("/me", params={"token": f"{CANARY}-in-the-query"})
        web.get("/me", headers={"Cookie": f"sessionid={CANARY}-session"})
        web.headers["Authorization"] = f"Bearer {admin_token}"
        web.put("/mcp-secrets/TRACKER", json={"value": f"{CANARY}-of-a-tracker"})
        web.put("/mcp-secrets/TRACKER", json={"value": f"{CANARY}\nin two lines"})
        definition = {"command": sys.executable, "args": ["-c", ""], "env": {"KEY": {"secret": "TRACKER"}}}
        made = web.post("/mcp-servers", json={"name": "deaf", "transport": "stdio", "definition": definition}).json()
        web.post(f"/mcp-servers/{made['id']}/test")
        clear = {**definition, "env": {"API_KEY": f"{CANARY}-in-clear"}}
        web.post("/mcp-servers", json={"name": "clear", "transport": "stdio", "definition": clear})
        told.append(web.post(f"/bridges/{it.bridge.pk}/rotate", json={}).json()["token"])
        told.append(web.post(f"/bridges/{it.bridge.pk}/join-link", json={}).json()["url"].partition("#")[2])
        del web.headers["Authorization"]
        joined = web.post(f"{gateway.url}/bridge/join", json={"code": told[-1]}).json()
        told.append(joined["token"])
        web.get(f"{gateway.url}/bridge/check?token={told[-1]}")
        web.post(f"{gateway.url}/rc/webhook", json={"token": f"{CANARY}-of-the-webhook"})
        web.post(f"{gateway.url}/mcp/", headers={"Authorization": f"Bearer {CANARY}-tools"}, json={})
    return told


def dump():
    """Every row of every table as text, as a backup has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        lines = []
        for table in tables:
            cursor.execute(f"SELECT t::text FROM {table} t")  # noqa: S608 - a name of the catalogue
            lines += [f"{table}: {text}" for (text,) in cursor.fetchall()]
    return lines


def answers(client):
    yield from (client.get(f"/api/v1/{prefix}").content.decode() for prefix, _, _ in urls.router.registry)
    for model in site._registry:
        table = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        yield client.get(table).content.decode()
        first = model._default_manager.first()
        if first is not None:
            yield client.get(f"{table}{first.pk}/change/").content.decode()


def test_no_secret_comes_out_and_a_stolen_copy_opens_nothing(gateway, it, operator, settings):
    told = sow(gateway, it, admin_token=settings.NEXUS_ADMIN_TOKEN)
    wanted = [CANARY, PASSWORD, settings.NEXUS_ADMIN_TOKEN, settings.NEXUS_FIELD_KEY, settings.SECRET_KEY, *told]

    copy = dump()
    log = gateway.log.read_text()
    texts = {"log": [log], "database": copy, "pages": list(answers(operator))}

    # A name that was typed is told nowhere either: passwords get typed into it.
    found = [(place, secret[:12]) for place, lines in texts.items() for secret in wanted for line in lines
             if secret in line]  # fmt: skip
    assert found == []
    assert "admin login refused" in log or "login refused" in log
    stolen = {word for line in copy for word in re.findall(r"[0-9a-f]{64}|nx[a-z]_[\w-]{43}_[\w-]{8}", line)}
    assert len(stolen) > 3
    assert [word for word in stolen if bridge_auth.find_bridge(token=word) is not None] == []
    assert {Client().post("/api/v1/login", {"token": word}, "application/json").status_code for word in
            list(stolen)[:10]} == {401}  # fmt: skip


def test_no_socket_opens_without_credentials(gateway):
    from nexus_project import asgi  # which looks for the static files of a test's own settings

    sockets = [str(route.pattern) for route in asgi._sockets.routes]
    refused = {}
    for path in filter(None, sockets):
        with pytest.raises(InvalidStatus) as caught:
            connect(f"ws://127.0.0.1:{gateway.port}/{path}", open_timeout=10).close()
        refused[path] = caught.value.response.status_code

    assert refused == {"ws/bridge/": 401, "ws/console/": 403}


def test_the_cookies_of_a_session_are_kept_from_scripts_other_sites_and_plain_lines(settings):
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    get_user_model().objects.create_user("olga", password=PASSWORD, is_staff=True)
    client = Client()
    client.get("/admin/login/")

    client.post("/admin/login/", {"username": "olga", "password": PASSWORD})

    session, csrf = client.cookies["sessionid"], client.cookies["csrftoken"]
    assert (session["httponly"], session["secure"], session["samesite"]) == (True, True, "Lax")
    assert (csrf["secure"], csrf["samesite"]) == (True, "Lax")


def test_cookies_go_over_plain_lines_on_loopback_only():
    from nexus_project import settings as made

    assert made.SESSION_COOKIE_SECURE is made.CSRF_COOKIE_SECURE is made.NEXUS_PUBLIC_URL.startswith("https://")


def test_whoever_logged_in_long_ago_makes_no_credential_without_saying_again_who_he_is(operator, it):
    session = operator.session
    session["nexus_logged_in_at"] = 0
    session.save()
    digest = it.bridge.token_digest

    places = [f"bridges/{it.bridge.pk}/rotate/", f"bridges/{it.bridge.pk}/revoke/", f"bridges/{it.bridge.pk}/join/",
              "bridges/new/", "mcp/secrets/", f"mcp/{it.server.pk}/approve/"]  # fmt: skip
    led_to = {operator.post(f"/admin/{place}", {"overlap": "0"})["Location"].partition("?")[0] for place in places}

    it.bridge.refresh_from_db()
    assert led_to == {"/admin/confirm/"}
    assert (it.bridge.token_digest, it.bridge.revoked_at) == (digest, None)
