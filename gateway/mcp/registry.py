"""Upstream servers: register, define anew, look what they have, approve exactly that, switch off. For site, API and command alike.

A server serves only while what it is (`definition_hash`) is what was approved. Whoever finds it changed switches it off.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from gateway import audit
from gateway.mcp import upstream
from gateway.mcp.definitions import (
    BadDefinitionError,
    NoSuchServerError,
    ServerConflictError,
    check_definition,
    hash_of,
    tool_hash,
    tool_problems,
)
from gateway.models import McpServer


def register(*, name: str, transport: str, definition: Mapping[str, Any], actor: str) -> McpServer:
    """A new server; off until it is approved. Raises McpError."""
    check_definition(name=name, transport=transport, definition=definition, commands=settings.NEXUS_MCP_COMMANDS)
    try:
        with transaction.atomic():
            server = McpServer.objects.create(name=name, transport=transport, definition=dict(definition))
            audit.record(actor=actor, action="mcp_server_registered", target=name, transport=transport)
    except IntegrityError:
        raise ServerConflictError(f"there is an MCP server {name!r} already") from None
    return server


def redefine(*, server_id: int, transport: str, definition: Mapping[str, Any], actor: str) -> McpServer:
    """Another definition for a server that is there; it is off until that is approved. Raises McpError."""
    with transaction.atomic():
        server = _locked(server_id)
        check_definition(
            name=server.name, transport=transport, definition=definition, commands=settings.NEXUS_MCP_COMMANDS
        )
        if (server.transport, server.definition) == (transport, dict(definition)):
            return server
        McpServer.objects.filter(pk=server_id).update(
            transport=transport, definition=dict(definition), definition_hash="", is_enabled=False, tools=[]
        )
        audit.record(actor=actor, action="mcp_server_redefined", target=server.name, transport=transport)
    return _server(server_id)


def probe(*, server_id: int, actor: str) -> McpServer:
    """Ask the server for its tools and keep what it says, with its hash; off, if that is not what was approved."""
    server = _server(server_id)
    tools = asyncio.run(upstream.list_tools(endpoint_of(server)))
    if problems := tool_problems(tools):
        raise BadDefinitionError(problems)
    note_tools(server=server, tools=tools, actor=actor)
    return _server(server_id)


def approve(*, server_id: int, definition_hash: str, actor: str) -> McpServer:
    """Say yes to exactly what was looked at: the hash that was shown. Raises McpError when it is another by now."""
    with transaction.atomic():
        server = _locked(server_id)
        if not server.definition_hash:
            raise ServerConflictError(f"{server.name} has not been looked at since it was registered; test it first")
        if server.definition_hash != definition_hash:
            raise ServerConflictError(f"{server.name} has changed since you looked at it; look again")
        McpServer.objects.filter(pk=server_id).update(
            approved_hash=definition_hash,
            approved_by=actor[:200],
            approved_tools={str(tool.get("name")): tool_hash(tool) for tool in server.tools},
            is_enabled=True,
        )
        audit.record(actor=actor, action="mcp_server_approved", target=server.name, hash=definition_hash)
    return _server(server_id)


def switch_off(*, server_id: int, actor: str) -> None:
    with transaction.atomic():
        server = _server(server_id)
        McpServer.objects.filter(pk=server_id).update(is_enabled=False)
        audit.record(actor=actor, action="mcp_server_off", target=server.name)


def remove(*, server_id: int, actor: str) -> None:
    """With every room's leave for its tools."""
    with transaction.atomic():
        server = _server(server_id)
        McpServer.objects.filter(pk=server_id).delete()
        audit.record(actor=actor, action="mcp_server_removed", target=server.name)


def note_tools(*, server: McpServer, tools: Sequence[Mapping[str, Any]], actor: str) -> bool:
    """Keep what the server says of its tools now; whether it is what was approved. If not, it is off from here on."""
    found = hash_of(transport=server.transport, definition=server.definition, tools=tools)
    is_as_approved = bool(server.approved_hash) and found == server.approved_hash
    if found == server.definition_hash:
        return is_as_approved
    # What could not be served is not kept either: it may not even fit into the database. Somebody has to look again.
    kept = (
        {"definition_hash": "", "tools": []}
        if tool_problems(tools)
        else {"definition_hash": found, "tools": list(tools)}
    )
    with transaction.atomic():
        McpServer.objects.filter(pk=server.pk).update(**kept, **({} if is_as_approved else {"is_enabled": False}))
        action = "mcp_server_changed" if server.approved_hash else "mcp_server_looked_at"
        audit.record(actor=actor, action=action, target=server.name, is_as_approved=is_as_approved)
    return is_as_approved


def endpoint_of(server: McpServer) -> upstream.Endpoint:
    return upstream.Endpoint(name=server.name, transport=server.transport, definition=server.definition)


def _server(server_id: int) -> McpServer:
    return _found(McpServer.objects.filter(pk=server_id))


def _locked(server_id: int) -> McpServer:
    return _found(McpServer.objects.select_for_update().filter(pk=server_id))


def _found(rows: "QuerySet[McpServer]") -> McpServer:
    server = rows.exclude(transport="nexus").first()
    if server is None:
        raise NoSuchServerError
    return server
