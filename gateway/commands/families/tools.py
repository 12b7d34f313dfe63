"""`!tools`: which tools may agents use in this room?"""

from typing import Final

from composer.tools import MAX_TOOLS, Tool, allowed
from gateway.commands.registry import Order, command
from runtime.reply import one_line

_NAME_CHARS: Final = 80


@command("tools", help="lists the tools that agents may use here, beside those of their own CLI")
def tools(order: Order) -> str:
    found = allowed(room_id=order.place.room_id).answer()
    if not found:
        return "Agents have no tools here beside those of their own CLI. An admin gives a room more."
    by_server: dict[str, list[str]] = {}
    for tool in found:
        by_server.setdefault(_quoted(tool.server), []).append(_told(tool))
    lines = [f"{server}: {', '.join(names)}" for server, names in by_server.items()]
    more = ["… and more."] if len(found) >= MAX_TOOLS else []
    return "\n".join(["Agents may use here, beside their own CLI's tools:", *lines, *more])


def _told(tool: Tool) -> str:
    return f"{_quoted(tool.name)} (asks first)" if tool.needs_approval else _quoted(tool.name)


def _quoted(name: str) -> str:
    """A server's own words; they don't break out of the code they stand in."""
    return f"`{one_line(name.replace('`', ''), limit=_NAME_CHARS)}`"
