"""Which tools may agents of this room call?"""

import json
from dataclasses import dataclass
from typing import Any

from gateway.sql import Ask, Rows

MAX_TOOLS = 60


@dataclass(frozen=True, slots=True)
class Tool:
    server: str
    name: str
    description: str
    needs_approval: bool


def allowed(*, room_id: int) -> Ask[list[Tool]]:
    """Nexus's own tools, and the room's on servers that serve now. What has no row in the room is not allowed."""
    return Ask(
        # Nexus's own server needs no row: what it does is bound to the room of the run anyway.
        "SELECT s.name, NULL, false, s.tools, 0 AS rank FROM mcp_servers s WHERE s.transport = 'nexus' AND s.is_enabled"
        " UNION ALL SELECT s.name, t.tool, t.needs_approval, s.tools, 1 FROM room_tool_acl t"
        " JOIN mcp_servers s ON s.id = t.server_id WHERE t.room_id = %s AND s.transport <> 'nexus' AND s.is_enabled"
        # Enabled, and still what was approved.
        " AND s.definition_hash = s.approved_hash ORDER BY rank, 1, 2 LIMIT %s",
        [room_id, MAX_TOOLS],
        _tools,
    )


def _tools(rows: Rows) -> list[Tool]:
    found: list[Tool] = []
    for server, tool, needs_approval, raw, _ in rows:
        described = {str(entry.get("name", "")): str(entry.get("description", "")) for entry in _entries(raw)}
        names = [tool] if tool is not None else [name for name in described if name]
        found += [Tool(server, name, described.get(name, ""), needs_approval) for name in names]
    return found


def _entries(raw: str) -> list[dict[str, Any]]:
    """What a server said about its tools is data from outside: anything that is not an object is skipped."""
    tools = json.loads(raw)
    return [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
