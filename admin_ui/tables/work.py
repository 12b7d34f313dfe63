"""Invocations with what they saw and said, tools, approvals."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html

from admin_ui.tables.base import Table, actor, link, link_column
from composer.models import Prompt
from gateway import changes, mcp, staff
from gateway.models import (
    Agent,
    Approval,
    Grant,
    HostLease,
    Invocation,
    McpServer,
    Room,
    RoomTool,
    ToolToken,
    User,
)
from runtime.models import ReplyPart

MAX_NAMESAKES = 50


class Invocations(Table):
    list_display = (
        "id",
        "state",
        "agent_link",
        "room_link",
        "asker",
        "reason",
        "opened_at",
        "took",
        "cost_usd",
        "see",
    )
    list_select_related = ("agent", "room", "root_asker")
    list_filter = ("state", "purpose")
    search_fields = ("=id", "=agent__slug", "=room__name", "=root_asker__username", "=reason")
    search_help_text = "Number, agent, room, asker or reason, written out"
    neighbours = (
        ("reply parts", "runtime_replypart", "invocation"),
        ("questions to people", "gateway_approval", "invocation"),
        ("notices", "gateway_notice", "invocation"),
    )
    agent_link, room_link = link_column("agent"), link_column("room")
    asker = link_column("root_asker", description="asker")

    @admin.display(description="took")
    def took(self, row: Invocation) -> str:
        return "" if row.ended_at is None else f"{(row.ended_at - row.opened_at).total_seconds():.1f} s"

    @admin.display(description="prompt")
    def see(self, row: Invocation) -> str:
        return format_html('<a class="nx-link" href="{}">inspect</a>', reverse("admin:prompt", args=[row.pk]))

    change_form_before_template = "nexus/invocation_links.html"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return (found_by_names(queryset, search_term.strip()), False) if search_term.strip() else (queryset, False)


def found_by_names(rows: QuerySet[Any], word: str) -> QuerySet[Any]:
    """By number; else by ids of who and where is called so, for joins would read every row of four tables."""
    if word.isascii() and word.isdigit() and len(word) <= 18:
        return rows.filter(pk=int(word))
    agents = list(Agent.objects.filter(slug=word).values_list("pk", flat=True))
    rooms = list(Room.objects.filter(name=word).values_list("pk", flat=True)[:MAX_NAMESAKES])
    users = list(User.objects.filter(username=word).values_list("pk", flat=True)[:MAX_NAMESAKES])
    return rows.filter(Q(agent__in=agents) | Q(room__in=rooms) | Q(root_asker__in=users) | Q(reason=word))


class Prompts(Table):
    list_display = ("invocation_id", "invocation_link", "token_count", "budget", "created_at", "see")
    list_select_related = ("invocation",)
    search_fields = ("=invocation__id",)
    invocation_link = link_column("invocation")

    @admin.display(description="prompt")
    def see(self, prompt: Prompt) -> str:
        return format_html(
            '<a class="nx-link" href="{}">inspect</a>', reverse("admin:prompt", args=[prompt.invocation_id])
        )


class ReplyParts(Table):
    list_display = ("id", "invocation_link", "part", "chat_id", "revision", "is_final", "posted_at")
    list_select_related = ("invocation",)
    list_filter = ("is_final", "is_gone")
    search_fields = ("=chat_id", "=invocation__id")
    invocation_link = link_column("invocation")


class HostLeases(Table):
    list_display = ("role", "owner", "lease_until")


class ToolTokens(Table):
    list_display = ("created_at", "bridge_link", "agent_link", "session_key", "expires_at")
    list_select_related = ("bridge", "agent")
    search_fields = ("bridge__name", "agent__slug", "=session_key")
    bridge_link, agent_link = link_column("bridge"), link_column("agent")


class McpServers(Table):
    list_display = ("name", "transport", "state", "is_enabled", "approved_by", "created_at", "look")
    list_filter = ("transport", "is_enabled")
    search_fields = ("name",)
    neighbours = (("leave in rooms", "gateway_roomtool", "server"),)
    change_form_before_template = "nexus/mcp_links.html"
    none_yet = "An MCP server gives agents tools. Register one, test it, approve what you saw, and give rooms leave."

    @admin.display(description="state")
    def state(self, server: McpServer) -> str:
        return mcp.state_of(server).replace("_", " ")

    @admin.display(description="tools")
    def look(self, server: McpServer) -> str:
        if server.transport == "nexus":
            return "our own"
        return format_html('<a class="nx-link" href="{}">look</a>', reverse("admin:mcp_server", args=[server.pk]))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return staff.may_change(request.user)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return HttpResponseRedirect(reverse("admin:mcp_new"))


class RoomTools(Table):
    list_display = ("id", "room_link", "server_link", "tool", "needs_approval", "created_at")
    list_select_related = ("room", "server")
    list_filter = ("needs_approval",)
    search_fields = ("room__name", "server__name", "tool")
    room_link, server_link = link_column("room"), link_column("server")


class Approvals(Table):
    list_display = ("created_at", "invocation_link", "tool", "decision", "decided_by", "decided_at")
    list_select_related = ("invocation", "decided_by")
    list_filter = ("decision",)
    search_fields = ("=invocation__id", "tool")
    invocation_link = link_column("invocation")


class Grants(Table):
    list_display = ("created_at", "agent_link", "room_link", "tool", "until", "by")
    list_select_related = ("agent", "room", "granted_by")
    search_fields = ("agent__slug", "room__name", "tool")
    agent_link, room_link = link_column("agent"), link_column("room")

    @admin.display(description="granted by")
    def by(self, grant: Grant) -> str:
        return link(grant.granted_by)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return staff.may_change(request.user)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        changes.take_back_grant(grant_id=obj.pk, actor=actor(request))


def register(site: admin.AdminSite) -> None:
    site.register(Invocation, Invocations)
    site.register(Prompt, Prompts)
    site.register(ReplyPart, ReplyParts)
    site.register(HostLease, HostLeases)
    site.register(ToolToken, ToolTokens)
    site.register(McpServer, McpServers)
    site.register(RoomTool, RoomTools)
    site.register(Approval, Approvals)
    site.register(Grant, Grants)
