"""Upstream servers: register, look what they have, approve exactly that, switch off. For site, API and command alike.

A server serves only while what it is (`definition_hash`) is what was approved. Whoever finds it changed switches it off.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction

from gateway import audit
from gateway.mcp import upstream
from gateway.mcp.definitions import BadDefinitionError, McpError, check_definition, hash_of, tool_problems
from gateway.models import McpServer


def register(*, name: str, transport: str, definition: Mapping[str, Any], actor: str) -> McpServer:
    """A new server, or another definition for one that is there; either is off until it is approved. Raises McpError."""
    check_definition(name=name, transport=transport, definition=definition, commands=settings.NEXUS_MCP_COMMANDS)
    with transaction.atomic():
        server, is_new = McpServer.objects.exclude(transport="nexus").update_or_create(
            name=name,
            defaults={
                "transport": transport,
                "definition": dict(definition),
                "definition_hash": "",
                "is_enabled": False,
                "tools": [],
            },
        )
        audit.record(actor=actor, action="mcp_server_registered", target=name, transport=transport, is_new=is_new)
    return server


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
        server = McpServer.objects.select_for_update().filter(pk=server_id).exclude(transport="nexus").first()
        if server is None:
            raise McpError("there is no such server")
        if not server.definition_hash:
            raise McpError(f"{server.name} has not been looked at since it was registered; test it first")
        if server.definition_hash != definition_hash:
            raise McpError(f"{server.name} has changed since you looked at it; look again")
        McpServer.objects.filter(pk=server_id).update(
            approved_hash=definition_hash, approved_by=actor[:200], is_enabled=True
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
    with transaction.atomic():
        McpServer.objects.filter(pk=server.pk).update(
            definition_hash=found, tools=list(tools), **({} if is_as_approved else {"is_enabled": False})
        )
        action = "mcp_server_changed" if server.approved_hash else "mcp_server_looked_at"
        audit.record(actor=actor, action=action, target=server.name, is_as_approved=is_as_approved)
    return is_as_approved


def endpoint_of(server: McpServer) -> upstream.Endpoint:
    return upstream.Endpoint(name=server.name, transport=server.transport, definition=server.definition)


def _server(server_id: int) -> McpServer:
    server = McpServer.objects.filter(pk=server_id).exclude(transport="nexus").first()
    if server is None:
        raise McpError("there is no such server")
    return server
