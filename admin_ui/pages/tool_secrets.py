"""The secrets of MCP servers: which are there, who refers to them, and a field to give one. No page shows a value."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from admin_ui.pages.drawing import back_to, draw, fresh
from admin_ui.tables.base import actor
from gateway import mcp
from gateway.models import McpServer


class SecretForm(forms.Form):
    name = forms.CharField(
        max_length=100, widget=UnfoldAdminTextInputWidget, help_text="As definitions refer to it, like TRACKER_KEY."
    )
    value = forms.CharField(
        max_length=8_000,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        help_text="Shown to nobody again; another one takes its place.",
    )


def show(request: HttpRequest) -> HttpResponseBase:
    if request.method == "POST":
        return _drop(request) if "remove" in request.POST else _keep(request)
    return _draw(request, SecretForm(initial={"name": request.GET.get("name", "")[:100]}))


@fresh
def _keep(request: HttpRequest) -> HttpResponseBase:
    form = SecretForm(request.POST)
    if form.is_valid():
        try:
            mcp.keep_secret(**form.cleaned_data, actor=actor(request))
        except mcp.McpError as error:
            form.add_error(None, str(error))
        else:
            return back_to(request, "mcp_secrets", done=f"{form.cleaned_data['name']} is kept.")
    return _draw(request, form)


@fresh
def _drop(request: HttpRequest) -> HttpResponseBase:
    try:
        mcp.drop_secret(name=request.POST["remove"], actor=actor(request))
    except mcp.McpError as error:
        return back_to(request, "mcp_secrets", error=str(error))
    return back_to(request, "mcp_secrets", done="The secret is gone.")


def _draw(request: HttpRequest, form: SecretForm) -> HttpResponseBase:
    return draw(request, "nexus/mcp_secrets.html", title="MCP secrets", form=form, media=form.media, **_told())


def _told() -> dict[str, Any]:
    try:
        names, trouble = mcp.secret_names(), ""
    except mcp.McpError as error:
        names, trouble = [], str(error)
    users: dict[str, list[McpServer]] = {}
    for server in McpServer.objects.exclude(transport="nexus").order_by("name"):
        for name in mcp.secrets_of(server.definition):
            users.setdefault(name, []).append(server)
    rows = [(name, name in names, users.get(name, [])) for name in sorted({*names, *users})]
    return {"rows": rows, "trouble": trouble}
