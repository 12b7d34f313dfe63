"""Which tools may agents of this room call?"""

from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q

from gateway.models import McpServer, RoomTool

MAX_TOOLS = 60


@dataclass(frozen=True, slots=True)
class Tool:
    server: str
    name: str
    description: str
    needs_approval: bool


def allowed(*, room_id: int) -> list[Tool]:
    """The room's tools on servers that serve now, and Nexus's own. What has no row in the room is not allowed."""
    rows = (
        RoomTool.objects.filter(_serving("server__"), room_id=room_id)
        .exclude(server__transport="nexus")
        .order_by("server__name", "tool")
        .values_list("server__name", "tool", "needs_approval", "server__tools")
    )
    theirs = [
        Tool(server, tool, _description(tools, tool), needs_approval)
        for server, tool, needs_approval, tools in rows[:MAX_TOOLS]
    ]
    return _own() + theirs


def _own() -> list[Tool]:
    servers = McpServer.objects.filter(transport="nexus", is_enabled=True).values_list("name", "tools")
    return [
        Tool(server, str(tool.get("name", "")), str(tool.get("description", "")), needs_approval=False)
        for server, tools in servers
        for tool in _entries(tools)
        if tool.get("name")
    ]


def _serving(prefix: str) -> Q:
    """Enabled, and still what was approved."""
    return Q(**{f"{prefix}is_enabled": True, f"{prefix}definition_hash": F(f"{prefix}approved_hash")})


def _description(tools: Any, name: str) -> str:
    return next((str(tool.get("description", "")) for tool in _entries(tools) if tool.get("name") == name), "")


def _entries(tools: Any) -> list[dict[str, Any]]:
    """What a server said about its tools is data from outside: anything that is not an object is skipped."""
    return [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
