"""How an ACP agent's tools read to people: their kind, a line for the card, the whole of them for a decision."""

import difflib
import json
from typing import Any, Final

from nexus_bridge.adapters.lines import Frame, list_of, object_of, text_of
from nexus_bridge.adapters.shells import plain_arguments, plain_command

_KINDS: Final = {
    **{kind: kind for kind in ("read", "edit", "search", "execute", "fetch")},
    **dict.fromkeys(("delete", "move"), "edit"),
}
MAX_TITLE: Final = 160


def kind_of_call(call: Frame) -> str:
    if is_mcp(call):
        return "mcp"
    return _KINDS.get(text_of(call, "kind"), "other")


def is_mcp(call: Frame) -> bool:
    name = name_of(call)
    return name.startswith(("mcp__", "mcp_")) or object_of(call, "_meta").get("is_mcp_tool_call") is True


def name_of(call: Frame) -> str:
    """What rules match: the tool's own name where the agent tells it, else its kind."""
    return own_name_of(call) or text_of(call, "kind") or "tool"


def own_name_of(call: Frame) -> str:
    server, tool = text_of(call, "rawInput", "server"), text_of(call, "rawInput", "tool")
    if server and tool:
        return f"mcp__{server}__{tool}"
    named = text_of(call, "_meta", "claudeCode", "toolName") or tool
    if named:
        return named
    identity, title = text_of(call, "toolCallId"), text_of(call, "title")
    if "__" in identity and not identity.startswith("mcp__"):  # gemini: NAME__NAME_number
        return identity.partition("__")[0]
    return title if title.startswith(("mcp__", "mcp.")) else ""


def title_of(call: Frame) -> str:
    line = " ".join((command_of(call) or text_of(call, "title") or name_of(call)).split())
    return line if len(line) <= MAX_TITLE else f"{line[: MAX_TITLE - 1]}…"


def command_of(call: Frame) -> str:
    if text_of(call, "kind") != "execute":
        return ""
    parts = list_of(call, "rawInput", "command")
    if parts and all(isinstance(part, str) for part in parts):
        return plain_arguments(parts)
    return plain_command(text_of(call, "rawInput", "command"))


def shown_input(call: Frame) -> str:
    if command := command_of(call):
        return command
    given = call.get("rawInput")
    return _json(given) if given else ""


def paths_of(call: Frame) -> list[str]:
    """The files it is about, as far as the agent says."""
    found = [text_of(place, "path") for place in list_of(call, "locations")]
    found += [text_of(block, "path") for block in list_of(call, "content") if text_of(block, "type") == "diff"]
    return sorted({path for path in found if path})


def detail_of(call: Frame) -> str:
    """All that a person must see before saying yes: the whole command, the whole change, else the whole input."""
    diffs = [_diff(block) for block in list_of(call, "content") if text_of(block, "type") == "diff"]
    if diffs:
        return "\n".join(diffs)
    if command := command_of(call):
        return command
    if text_of(call, "kind") == "execute" and not call.get("rawInput"):
        return text_of(call, "title")  # gemini: the command is the title, beside it stands only where it runs
    return shown_input(call) or output_of(call) or text_of(call, "title")


def output_of(call: Frame) -> str:
    """What this update says the tool said; a change is not repeated, its request has shown it."""
    parts = [
        text_of(block, "content", "text") for block in list_of(call, "content") if text_of(block, "type") == "content"
    ]
    return "\n".join(filter(None, parts)) or _raw_output(call)


def _raw_output(call: Frame) -> str:
    raw = call.get("rawOutput")
    if isinstance(raw, str):
        return raw
    said = text_of(raw, "output") or text_of(raw, "error", "message")
    return said or "\n".join(text_of(part, "text") for part in list_of(raw, "content") if text_of(part, "text"))


def _diff(block: Frame) -> str:
    path = text_of(block, "path")
    old, new = text_of(block, "oldText").splitlines(), text_of(block, "newText").splitlines()
    if not old:
        return "\n".join([f"+++ {path}", *(f"+{line}" for line in new)])
    return "\n".join(difflib.unified_diff(old, new, fromfile=path, tofile=path, lineterm=""))


def _json(value: Any) -> str:  # Any: whatever the agent gave its tool
    return json.dumps(value, ensure_ascii=False, indent=1)
