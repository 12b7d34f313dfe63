"""An MCP server's life in the site: registered, tested, its tools looked at with their hashes, approved, off, removed."""

import json
from typing import Final

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_POST

from admin_ui.pages.definitions import DefinitionForm, NewServerForm, filled
from admin_ui.pages.drawing import back_to, draw, fresh, operators
from admin_ui.tables.base import actor
from gateway import mcp
from gateway.models import McpServer, RoomTool

STATES: Final = {
    "new": "not tested yet; it serves nobody",
    "looked_at": "tested, and not approved yet; it serves nobody",
    "changed": "not what was approved; it is off until somebody has looked at it and approved it again",
    "approved": "approved, and serves the rooms that have leave",
    "off": "switched off; it serves nobody",
}


@operators
def new(request: HttpRequest) -> HttpResponseBase:
    form = NewServerForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = mcp.register(
                name=given["name"], transport=given["transport"], definition=form.definition(), actor=actor(request)
            )
        except mcp.McpError as error:
            form.add_error(None, str(error))
        else:
            return back_to(
                request, "mcp_server", made.pk, done=f"{made.name} is registered. Test it to see its tools."
            )
    return draw(request, "nexus/form.html", title="New MCP server", form=form, submit="Register", media=form.media)


@operators
def define(request: HttpRequest, pk: int) -> HttpResponseBase:
    server = _server(pk)
    form = DefinitionForm(request.POST or None, initial=filled(server.transport, server.definition))
    if request.method == "POST" and form.is_valid():
        try:
            mcp.redefine(
                server_id=pk,
                transport=form.cleaned_data["transport"],
                definition=form.definition(),
                actor=actor(request),
            )
        except mcp.McpError as error:
            form.add_error(None, str(error))
        else:
            return back_to(request, "mcp_server", pk, done="It is defined; test it again.")
    text = "With another definition it is off until it was tested and approved again."
    title = f"Definition of {server.name}"
    return draw(request, "nexus/form.html", title=title, form=form, submit="Save", text=text, media=form.media)


def show(request: HttpRequest, pk: int) -> HttpResponseBase:
    server = _server(pk)
    state = mcp.state_of(server)
    try:
        missing, trouble = mcp.missing_secrets(server), ""
    except mcp.McpError as error:
        missing, trouble = [], str(error)
    return draw(
        request,
        "nexus/mcp_server.html",
        title=server.name,
        server=server,
        state=state,
        words=STATES[state],
        definition=json.dumps(server.definition, indent=2, ensure_ascii=False),
        tools=[(tool, json.dumps(tool.schema, indent=1, ensure_ascii=False)) for tool in mcp.tools_of(server)],
        missing=missing,
        trouble=trouble,
        rooms=RoomTool.objects.filter(server=server).values("room").distinct().count(),
    )


@operators
@require_POST
def test(request: HttpRequest, pk: int) -> HttpResponseBase:
    try:
        server = mcp.probe(server_id=_server(pk).pk, actor=actor(request))
    except mcp.McpError as error:
        return back_to(request, "mcp_server", pk, error=f"It can't be served: {error}")
    return back_to(request, "mcp_server", pk, done=f"It answers, and has {len(server.tools)} tools.")


@fresh
@require_POST
def approve(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The form says what was looked at."""
    try:
        mcp.approve(server_id=pk, definition_hash=request.POST.get("hash", "")[:64], actor=actor(request))
    except mcp.McpError as error:
        return back_to(request, "mcp_server", pk, error=str(error))
    return back_to(request, "mcp_server", pk, done="It is approved, and serves the rooms that have leave.")


@operators
@require_POST
def switch_off(request: HttpRequest, pk: int) -> HttpResponseBase:
    mcp.switch_off(server_id=_server(pk).pk, actor=actor(request))
    return back_to(request, "mcp_server", pk, done="It is off.")


@operators
def remove(request: HttpRequest, pk: int) -> HttpResponseBase:
    server = _server(pk)
    if request.method == "POST":
        mcp.remove(server_id=pk, actor=actor(request))
        return back_to(request, "gateway_mcpserver_changelist", done=f"{server.name} is removed.")
    leaves = RoomTool.objects.filter(server=server).count()
    return draw(request, "nexus/mcp_remove.html", title=f"Remove {server.name}", server=server, leaves=leaves)


def _server(pk: int) -> McpServer:
    server = McpServer.objects.filter(pk=pk).exclude(transport="nexus").first()
    if server is None:
        raise Http404
    return server
