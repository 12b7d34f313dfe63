"""Which tools does the CLI of this session see, under which names, and may this call happen now?"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from gateway import bridge_auth
from gateway.mcp import own
from gateway.models import Invocation, McpServer, Purpose, RoomTool, State, ToolToken
from nexus_bridge import tokens

MAX_NAME: Final = 50
"""CLIs put up to 13 signs before a name, and models take 64."""


@dataclass(frozen=True, slots=True)
class Session:
    """Whose tools token it is: one CLI session of one agent."""

    agent_id: int
    bridge_id: int
    session_key: str


@dataclass(frozen=True, slots=True)
class Tool:
    """`server` is None for the hub's own tools."""

    shown_name: str
    name: str
    description: str
    schema: Mapping[str, Any]
    needs_approval: bool
    server: McpServer | None


def session_of(*, tools_token: str) -> Session | None:
    """Looked up by digest; None for every token that is not good any more."""
    if not tokens.is_well_formed(tools_token, kind=tokens.TOOLS):
        return None
    found = ToolToken.objects.filter(
        digest=bridge_auth.digest_of(tools_token),
        expires_at__gt=Now(),
        bridge__revoked_at=None,
        agent__bridge=F("bridge"),
        agent__is_enabled=True,
    ).first()
    if found is None:
        return None
    return Session(agent_id=found.agent_id, bridge_id=found.bridge_id, session_key=found.session_key)


def running(session: Session) -> Invocation | None:
    """The one running turn of this session; a call counts for its room and its asker."""
    rows = _rows(session).filter(state=State.RUNNING, cancel_requested_at=None)
    return rows.first()


def is_about_to_run(session: Session) -> bool:
    """Its bridge has taken it, and the word of that is on its way."""
    return _rows(session).filter(state=State.OFFERED).exists()


def listed(session: Session) -> list[Tool]:
    """Of the room of the session's last turn: a CLI asks before its first turn has begun, and between turns."""
    row = _rows(session).order_by("-pk").first()
    return [] if row is None else tools_of(room_id=row.room_id)


def tools_of(*, room_id: int) -> list[Tool]:
    """The hub's own tools, and those of other servers that this room has leave for. Nothing else."""
    found = [
        Tool(one.name, one.name, one.description, one.schema, needs_approval=False, server=None) for one in own.TOOLS
    ]
    rows = RoomTool.objects.filter(Q(server__definition_hash=F("server__approved_hash")), room_id=room_id)
    rows = rows.filter(server__is_enabled=True).exclude(server__transport="nexus").select_related("server")
    for row in rows.order_by("server__name", "tool"):
        described = next(
            (one for one in row.server.tools if isinstance(one, dict) and one.get("name") == row.tool), None
        )
        if described is not None:
            found.append(_upstream_tool(row, described))
    return found


def named(*, room_id: int, name: str) -> Tool | None:
    return next((tool for tool in tools_of(room_id=room_id) if tool.shown_name == name), None)


def _upstream_tool(row: RoomTool, described: Mapping[str, Any]) -> Tool:
    schema = described.get("schema")
    return Tool(
        shown_name=_shown(row.server.name, row.tool),
        name=row.tool,
        description=str(described.get("description", "")),
        schema=schema if isinstance(schema, dict) else {"type": "object"},
        needs_approval=row.needs_approval,
        server=row.server,
    )


def _shown(server: str, tool: str) -> str:
    """Two servers may have a tool of one name; a name that is too long keeps its head and a mark of the whole."""
    whole = re.sub(r"[^A-Za-z0-9_-]", "_", f"{server}__{tool}")
    if len(whole) <= MAX_NAME:
        return whole
    return f"{whole[: MAX_NAME - 9]}_{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def _rows(session: Session) -> "QuerySet[Invocation]":
    related = ("agent__owner", "room", "root_asker", "message")
    rows = Invocation.objects.select_related(*related).filter(agent_id=session.agent_id, purpose=Purpose.ANSWER)
    return rows.filter(session_key=session.session_key, agent__bridge_id=session.bridge_id)
