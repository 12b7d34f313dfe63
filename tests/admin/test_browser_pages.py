"""Do the site's pages stand in a real browser: wide and narrow, light and dark, with hostile rows in every list?

By default some pages of each kind; ADMIN_PAGES=all takes every page and what each button answers, or the pages that it names
with commas between, ADMIN_SIZE one width only, and ADMIN_SHOTS names a folder for pictures.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import global_settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.urls import resolve

from admin_ui.pages import pages
from admin_ui.site import site
from admin_ui.urls import urlpatterns
from composer.models import Fact, Memory
from docker.ports import free_ports
from gateway.models import Project
from tests.admin import rows
from tests.admin.conftest import PASSWORD
from tests.chromium import open_browser
from tests.contract.npm import npm_modules
from tests.server.gateway_process import running_gateway

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.timeout(1_800)]

SIZES = {"wide": {"width": 1440, "height": 900}, "narrow": {"width": 390, "height": 844}}
SIZE = os.environ.get("ADMIN_SIZE")
SCHEMES = ("light", "dark")
SOME = ("", "console/", "prompts/{row}/", "gateway/agent/{agent}/change/", "gateway/bridge/{bridge}/change/")
OF_ONE = {"prompts": "row", "bridges": "bridge", "mcp": "server", "users": "user"}
NO_PAGES = {"bridge_config", "audit_export"}
"""Files that are downloaded."""


@dataclass(frozen=True)
class Press:
    """A button on a page, after filling its fields; `name` is what of the URLconf answers."""

    name: str
    page: str
    button: str
    fields: dict[str, str] = field(default_factory=dict)


PRESSED = (
    Press("bridge_join", "gateway/bridge/{bridge}/change/", "Join link"),
    Press("bridge_rotate", "bridges/{bridge}/rotate/", "Make a new token"),
    Press("bridge_new", "bridges/new/", "Make the bridge", {"user": "alice", "cli": "claude"}),
    Press("mcp_test", "mcp/{server}/", "Test"),
    Press("mcp_approve", "mcp/{server}/", "Approve exactly this"),
    Press("mcp_off", "mcp/{server}/", "Switch off"),
    Press("mcp_new", "mcp/new/", "Register", {"name": "Not A Name"}),
    Press("mcp_define", "mcp/{server}/define/", "Save", {"command": "relative"}),
    Press("mcp_secrets", "mcp/secrets/", "Keep it", {"name": "not a name", "value": "x"}),
    Press("tool_matrix", "tools/", "Save"),
    Press("landmark_pin", "composer/landmark/{landmark}/change/", "Take down|Pin again"),
    Press("user_forget", "users/{user}/forget/", "Forget bob"),
    Press("gateway_project_delete", "gateway/project/{project}/delete/", "Yes, I.m sure"),
    Press("audit_verify", "gateway/auditentry/", "Verify the chain"),
    Press("confirm", "confirm/", "Go on", {"secret": "wrong"}),
)
POSTED = ("bridge.toml", "/join/", "/test/", "/approve/", "/off/", "/pin/", "audit/export/", "audit/verify/")
ASKED = os.environ.get("ADMIN_PAGES", "")
AXE = (
    "async () => (await axe.run()).violations.filter((each) => ['serious', 'critical'].includes(each.impact))"
    ".map((each) => `${each.id}: ${each.nodes.length} × ${each.nodes[0].html.slice(0, 160)} ${each.nodes[0].any.map((one) => one.message).join('; ').slice(0, 160)}`)"
)


@dataclass
class Watched:
    """What the pages of a browser complain about."""

    context: Any
    checker: str
    name: str
    troubles: list[str]
    heard: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.context.on("console", lambda message: self.hear(message.text, message.type == "error"))
        self.context.on("weberror", lambda error: self.hear(f"error: {error.error}"))
        self.context.on("dialog", self.refuse)
        self.context.on("requestfailed", lambda one: self.hear(f"failed: {one.url} {one.failure}"))
        self.context.on("response", lambda one: self.hear(f"{one.status}: {one.url}", one.status >= 400))

    def hear(self, text, is_bad=True):
        if is_bad:
            self.heard.append(text)

    def refuse(self, dialog):
        self.hear(f"dialog: {dialog.message}")
        dialog.dismiss()

    def look(self, page, path):
        """Barriers, what sticks out, and what was heard since the last look."""
        page.wait_for_function("() => !document.documentElement.hasAttribute('x-cloak')")
        page.evaluate(self.checker)
        found = page.evaluate(AXE)
        overhang = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        found += [f"sticks out by {overhang} px"] if overhang > 0 else []
        found += self.heard
        self.heard.clear()
        self.troubles += [f"{self.name} /{path}: {one}" for one in found]
        folder = os.environ.get("ADMIN_SHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            name = re.sub("[^a-z0-9]+", "-", f"{self.name} {path}".lower()).strip("-")
            page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture
def browser(served):  # after it: while Playwright runs, this thread may not use the database
    with open_browser() as started:
        yield started


@pytest.fixture
def served(transactional_db, tmp_path, settings):
    """A gateway of its own on the tests' rows, and the ids that paths name."""
    it = rows.everything()
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS  # as the gateway has them
    get_user_model().objects.create_superuser("olga", password=PASSWORD)
    settings.NEXUS_STATE_DIR = tmp_path
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    port = free_ports(1)[0]
    public = {"NEXUS_STATE_DIR": str(tmp_path), "NEXUS_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    with running_gateway(tmp_path, port=port, **public) as gateway:
        ids = ids_of(it)
        yield gateway, ids, wanted(ids)


def ids_of(it):
    return {
        "row": it.row.pk,
        "bridge": it.bridge.pk,
        "agent": it.agent.pk,
        "server": it.server.pk,
        "user": it.bob.pk,
        "project": it.project.pk,
        "landmark": it.row.message.landmark.pk,
    }


def every_page(ids):
    """All that can be opened by GET."""
    for model in site._registry:
        name = f"{model._meta.app_label}/{model._meta.model_name}"
        yield f"{name}/"
        first = model._default_manager.first()
        if first is not None:
            yield f"{name}/{first.pk}/change/"
    for model in (Fact, Memory, Project):
        name = f"{model._meta.app_label}/{model._meta.model_name}"
        yield from (f"{name}/{row.pk}/delete/" for row in model.objects.all()[:1])
    yield from ("gateway/project/add/", "auth/user/add/")
    for pattern in urlpatterns:
        route = str(pattern.pattern)
        if "(" in route or route in (
            "login/",
            "logout/",
            "jsi18n/",
            "search/",
            "autocomplete/",
        ):
            continue
        if hasattr(pattern, "url_patterns") or "<path" in route or route.endswith(POSTED):
            continue
        kind = route.partition("/")[0]
        if "<int:pk>" not in route:
            yield route
        elif kind in OF_ONE:
            yield route.replace("<int:pk>", str(ids[OF_ONE[kind]]))


def wanted(ids):
    pages = [page.format(**ids) for page in (ASKED.split(",") if ASKED not in ("", "all") else SOME)]
    return sorted({*pages, *every_page(ids)}) if ASKED == "all" else pages


def log_in(context, gateway):
    page = context.new_page()
    page.goto(f"{gateway.url}/admin/login/?next=/admin/confirm/")
    page.get_by_label("User name").fill("olga")
    page.get_by_label("Password or admin token").fill(PASSWORD)
    page.get_by_role("button", name=re.compile("Log in")).click()
    page.wait_for_url(re.compile("^[^?]*/admin/confirm/$"))
    return page


@pytest.mark.django_db
def test_every_page_of_ours_is_opened_or_its_button_pressed():
    ids = ids_of(rows.everything())
    opened = {resolve(f"/admin/{path}").url_name for path in every_page(ids)}
    pressed = {press.name for press in PRESSED}

    assert {page.name for page in pages} - opened - pressed == NO_PAGES
    # What only answers a button.
    assert {"bridge_join", "landmark_pin", "mcp_test", "mcp_approve", "mcp_off", "audit_verify"} <= pressed


def test_pages_stand_wide_and_narrow_light_and_dark(served, browser):
    gateway, ids, paths = served
    checker = (npm_modules("axe", {"axe-core": "4.14.1"}) / "axe-core" / "axe.min.js").read_text()
    troubles: list[str] = []
    for size, viewport in SIZES.items() if SIZE is None else [(SIZE, SIZES[SIZE])]:
        for scheme in SCHEMES:
            context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
            watched = Watched(context=context, checker=checker, name=f"{size} {scheme}", troubles=troubles)
            watched.look(at_the_login(context, gateway), "login/")
            page = log_in(context, gateway)
            for path in paths:
                page.goto(f"{gateway.url}/admin/{path}", wait_until="load")
                if path == "console/":
                    page.get_by_text("live", exact=True).wait_for()
                watched.look(page, path)
            for press in PRESSED if ASKED == "all" else ():
                where = do(page, gateway, press, ids)
                watched.look(page, f"{where} {press.button}")
            context.close()

    assert not troubles, "\n".join(troubles)


def do(page, gateway, press, ids):
    """Fill in, press, and wait for what comes; the page it stood on."""
    where = press.page.format(**ids)
    page.goto(f"{gateway.url}/admin/{where}", wait_until="load")
    for name, value in press.fields.items():
        there = page.locator(f"[name={name}]")
        if there.evaluate("one => one.tagName") == "SELECT":
            there.select_option(value)
        else:
            there.fill(value)
    button = page.get_by_role("button", name=re.compile(f"^({press.button})$")).first
    with page.expect_navigation(wait_until="load"):
        button.click()
    return where


def at_the_login(context, gateway):
    """A wrong password, on a fresh page."""
    page = context.new_page()
    page.goto(f"{gateway.url}/admin/login/")
    page.get_by_label("Password or admin token").fill("wrong")
    page.get_by_role("button", name=re.compile("Log in")).click()
    page.get_by_text("is not right").first.wait_for()
    return page
