"""What is to be told of a server and its tools: each tool with its hash, and what became of it since the last yes."""

from dataclasses import dataclass
from typing import Any

from gateway.mcp.definitions import secrets_of, tool_hash
from gateway.mcp.secrets_file import names
from gateway.models import McpServer


@dataclass(frozen=True, slots=True)
class SeenTool:
    """`standing`: approved, changed, new; gone for one that was approved and is not there any more."""

    name: str
    description: str
    schema: Any  # Any: what the server says, which may be nonsense
    hash: str
    standing: str


def state_of(server: McpServer) -> str:
    """One word: new (not looked at), looked_at, changed, approved, off."""
    if not server.definition_hash:
        return "new"
    if not server.approved_hash:
        return "looked_at"
    if server.definition_hash != server.approved_hash:
        return "changed"
    return "approved" if server.is_enabled else "off"


def tools_of(server: McpServer) -> list[SeenTool]:
    told = [tool for tool in server.tools if isinstance(tool, dict)] if isinstance(server.tools, list) else []
    seen = [_seen(tool, server.approved_tools) for tool in told]
    there = {tool.name for tool in seen}
    # Before the first look at another definition nothing is known to be gone.
    gone = sorted(set(server.approved_tools) - there) if server.definition_hash else []
    return [*seen, *(SeenTool(name, "", None, server.approved_tools[name], "gone") for name in gone)]


def missing_secrets(server: McpServer) -> list[str]:
    """Names that the definition refers to and that nobody has given yet. Raises McpError."""
    wanted = secrets_of(server.definition)
    return sorted(set(wanted) - set(names())) if wanted else []


def _seen(tool: dict[str, Any], approved: dict[str, str]) -> SeenTool:
    name, found = str(tool.get("name", "")), tool_hash(tool)
    standing = "new" if name not in approved else "approved" if approved[name] == found else "changed"
    return SeenTool(name, str(tool.get("description") or ""), tool.get("schema"), found, standing)
