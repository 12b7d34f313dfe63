"""Leave for a tool in a room: no (the default), ask (a person says yes each time), yes."""

from typing import Final

from django.db import transaction

from gateway import audit
from gateway.changes.errors import BadValueError, GoneError
from gateway.models import McpServer, Room, RoomTool

LEAVES: Final = ("no", "ask", "yes")


def set_leave(*, room_id: int, server_id: int, tool: str, leave: str, actor: str) -> bool:
    """Whether it changed anything. Raises ChangeError."""
    if leave not in LEAVES:
        raise BadValueError(f"leave is one of {', '.join(LEAVES)}", field="leave")
    with transaction.atomic():
        server = McpServer.objects.filter(pk=server_id).exclude(transport="nexus").first()
        if server is None or not Room.objects.filter(pk=room_id).exists():
            raise GoneError(f"there is no room {room_id}, or no MCP server {server_id} that needs leave")
        rows = RoomTool.objects.filter(room_id=room_id, server=server, tool=tool)
        found = rows.first()
        now = "no" if found is None else "ask" if found.needs_approval else "yes"
        if now == leave:
            return False
        if leave == "no":
            rows.delete()
        elif tool in names_of(server):
            RoomTool.objects.update_or_create(
                room_id=room_id, server=server, tool=tool, defaults={"needs_approval": leave == "ask"}
            )
        else:
            raise BadValueError(f"{server.name} has no tool {tool!r}", field="tool")
        audit.record(
            actor=actor, action="tool_leave_changed", target=f"{server.name} {tool}", room=room_id, leave=leave
        )
        return True


def names_of(server: McpServer) -> list[str]:
    """The tools it says it has."""
    tools = server.tools if isinstance(server.tools, list) else []
    names = [tool.get("name") for tool in tools if isinstance(tool, dict)]
    return sorted({name for name in names if isinstance(name, str) and 0 < len(name) <= 128})
