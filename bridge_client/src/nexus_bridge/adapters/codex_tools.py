"""How Codex's items read to people: a tool's name and kind, one line for the card, the whole of it for a decision."""

import json
from typing import Any, Final

from nexus_bridge.adapters.lines import Frame, list_of, object_of, text_of
from nexus_bridge.adapters.shells import plain_command
from nexus_bridge.events import ToolCall, ToolResult

MAX_TITLE: Final = 160

NAMES: Final = {
    "commandExecution": ("shell", "execute"),
    "command_execution": ("shell", "execute"),
    "fileChange": ("edit", "edit"),
    "file_change": ("edit", "edit"),
    "webSearch": ("web_search", "search"),
    "web_search": ("web_search", "search"),
    "imageView": ("view_image", "read"),
    "dynamicToolCall": ("tool", "other"),
    "mcpToolCall": ("", "mcp"),
    "mcp_tool_call": ("", "mcp"),
    "collabAgentToolCall": ("subagent", "other"),
}
"""Types of items that are tools, as the app-server and as `exec --json` write them: the name rules match, the kind."""


def name_of(item: Frame) -> str:
    name, _ = NAMES[text_of(item, "type")]
    if name == "tool":
        return text_of(item, "tool") or name
    return name or f"mcp__{text_of(item, 'server')}__{text_of(item, 'tool')}"


def kind_of(item: Frame) -> str:
    return NAMES[text_of(item, "type")][1]


def title_of(item: Frame) -> str:
    paths = paths_of(item)
    told = (
        plain_command(text_of(item, "command"))
        or ", ".join(paths)
        or text_of(item, "query")
        or text_of(item, "path")
        or name_of(item).removeprefix("mcp__").replace("__", ": ", 1)
    )
    line = " ".join(told.split())
    return line if len(line) <= MAX_TITLE else f"{line[: MAX_TITLE - 1]}…"


def paths_of(item: Frame) -> list[str]:
    return [path for change in list_of(item, "changes") if (path := text_of(change, "path"))]


def detail_of(item: Frame) -> str:
    """All that a person must see before saying yes."""
    changes = list_of(item, "changes")
    if changes:
        return "\n".join(f"{_change_kind(one)} {text_of(one, 'path')}\n{text_of(one, 'diff')}" for one in changes)
    if command := text_of(item, "command"):
        return plain_command(command)
    return shown(item.get("arguments") or item.get("query") or "")


def call_of(item: Frame) -> ToolCall:
    return ToolCall(
        id=text_of(item, "id"), name=name_of(item), tool=kind_of(item), title=title_of(item), input=detail_of(item)
    )


def result_of(item: Frame) -> ToolResult:
    status = text_of(item, "status")
    is_denied = status == "declined"
    return ToolResult(id=text_of(item, "id"), ok=status in {"completed", ""}, output=_output(item), denied=is_denied)


def shown(value: Any) -> str:  # Any: whatever the model gave its tool
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _change_kind(change: Frame) -> str:
    return text_of(change, "kind") or text_of(change, "kind", "type") or "change"


def _output(item: Frame) -> str:
    said = text_of(item, "aggregatedOutput") or text_of(item, "aggregated_output") or text_of(item, "error", "message")
    content = list_of(object_of(item, "result"), "content")
    return said or "\n".join(text_of(part, "text") for part in content if text_of(part, "text"))
