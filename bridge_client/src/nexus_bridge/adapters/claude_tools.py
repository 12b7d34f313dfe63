"""How Claude Code's tools read to people: what kind they are, one line for the card, the whole of it for a decision."""

import difflib
import json
from typing import Final

from nexus_bridge.adapters.lines import Frame, list_of, text_of

_KINDS: Final = {
    **dict.fromkeys(("Read", "NotebookRead", "ReadMcpResourceTool", "ListMcpResourcesTool"), "read"),
    **dict.fromkeys(("Edit", "MultiEdit", "Write", "NotebookEdit"), "edit"),
    **dict.fromkeys(("Bash", "BashOutput", "KillShell", "KillBash", "Monitor"), "execute"),
    **dict.fromkeys(("Glob", "Grep", "LS", "ToolSearch", "WebSearch", "LSP"), "search"),
    "WebFetch": "fetch",
}
_TELLING: Final = ("file_path", "notebook_path", "path", "pattern", "url", "query", "description", "command", "plan")
"""Of a tool's input, the first of these that is there says most."""

MAX_TITLE: Final = 120


def kind_of_tool(name: str) -> str:
    return "mcp" if name.startswith("mcp__") else _KINDS.get(name, "other")


def title_of(name: str, given: Frame) -> str:
    """One line; the command itself for a shell, not what the model says of it."""
    if name == "Bash":
        return _line(text_of(given, "command"))
    if name.startswith("mcp__"):
        return _line(name.removeprefix("mcp__").replace("__", ": ", 1))
    if name in {"Grep", "Glob"}:
        return _line(text_of(given, "pattern"))
    telling = next((value for key in _TELLING if (value := text_of(given, key))), "")
    return _line(telling or name)


def shown_input(name: str, given: Frame) -> str:
    """What the tool was given: a command as it is, all else as JSON."""
    return text_of(given, "command") if name == "Bash" else _json(given)


def detail_of(name: str, given: Frame) -> str:
    """All that a person must see before saying yes: the whole command, the whole change."""
    match name:
        case "Bash":
            others = {key: value for key, value in given.items() if key not in {"command", "description"}}
            return "\n".join(filter(None, [text_of(given, "command"), _json(others) if others else ""]))
        case "Edit":
            note = "Every place where this text stands.\n" if given.get("replace_all") is True else ""
            return note + _diff(given, path=text_of(given, "file_path"))
        case "MultiEdit":
            path = text_of(given, "file_path")
            return "\n".join(_diff(edit, path=path) for edit in list_of(given, "edits"))
        case "Write":
            content = text_of(given, "content").splitlines(keepends=True)
            return f"+++ {text_of(given, 'file_path')}\n" + "".join(f"+{line}" for line in content)
        case "ExitPlanMode":
            return text_of(given, "plan") or _json(given)
        case _:
            return _json(given)


def paths_of(given: Frame) -> list[str]:
    """The file it is about, where it names one."""
    return [path for key in ("file_path", "notebook_path", "path") if (path := text_of(given, key))]


def _diff(edit: object, *, path: str) -> str:
    old, new = text_of(edit, "old_string").splitlines(), text_of(edit, "new_string").splitlines()
    return "\n".join(difflib.unified_diff(old, new, fromfile=path, tofile=path, lineterm=""))


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_TITLE else f"{line[: MAX_TITLE - 1]}…"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
