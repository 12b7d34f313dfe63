"""The admin site: its door, its pages beside the tables, and who may do what."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from unfold.sites import UnfoldAdminSite

from admin_ui import dashboard
from admin_ui.forms import LoginForm
from gateway import staff


class NexusSite(UnfoldAdminSite):
    """Staff may look at everything; superusers, and the admin token, may change what can be changed."""

    login_form = LoginForm
    index_template = "nexus/dashboard.html"
    index_title = "Dashboard"
    enable_nav_sidebar = True

    def get_urls(self) -> list[Any]:
        from admin_ui.pages import pages

        own = [path(page.path, self.admin_view(page.view), name=page.name) for page in pages]
        found: list[Any] = own + super().get_urls()
        return found

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().login(request, extra_context)
        if request.method == "POST":
            if request.user.is_authenticated and response.status_code == 302:
                staff.mark_fresh(request.session)
            form = getattr(response, "context_data", {}).get("form")
            if getattr(form, "is_limited", False):
                response.status_code = 429
        return response

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().index(request, dashboard.context(request) | (extra_context or {}))
        return response


site = NexusSite()
