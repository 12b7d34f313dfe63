"""MCP servers from their registration to their end, and leave for their tools: what the site and the API do too."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from gateway import changes, mcp
from gateway.models import McpServer, Room

ACTOR = "command"


class Command(BaseCommand):
    help = "Lists, shows, registers, tests, approves, switches off or removes MCP servers, and gives rooms leave."

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, help="what to do")
        acts.add_parser("list", help="all of them, with their state")
        for act, text in _ACTS.items():
            one = acts.add_parser(act, help=text)
            one.add_argument("server", help="its name")
            if act in ("register", "redefine"):
                one.add_argument("transport", choices=["stdio", "http"])
                one.add_argument("definition", help="a file with the JSON that docs/tools.md describes; - is stdin")
            if act == "approve":
                one.add_argument("hash", help="the definition_hash that `test` has shown")
            if act == "leave":
                one.add_argument("tool", help="its name")
                one.add_argument("room", help="the room's name or id in the chat")
                one.add_argument("leave", choices=changes.LEAVES, help="whether it may be used there, and how")
        for one in acts.choices.values():
            one.add_argument("--json", action="store_true", help="print one JSON object a line instead of text")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["act"] == "list":
            for server in McpServer.objects.exclude(transport="nexus").order_by("name"):
                self._tell(options, server)
            return
        try:
            self._act(options)
        except (mcp.McpError, changes.ChangeError) as error:
            raise CommandError(str(error)) from error

    def _act(self, options: dict[str, Any]) -> None:
        name, act = options["server"], options["act"]
        if act == "register":
            self._tell(options, mcp.register(name=name, **_definition(options), actor=ACTOR))
            return
        server = _server(name)
        match act:
            case "redefine":
                server = mcp.redefine(server_id=server.pk, **_definition(options), actor=ACTOR)
            case "test":
                server = mcp.probe(server_id=server.pk, actor=ACTOR)
            case "approve":
                server = mcp.approve(server_id=server.pk, definition_hash=options["hash"], actor=ACTOR)
            case "off":
                mcp.switch_off(server_id=server.pk, actor=ACTOR)
                server.refresh_from_db()
            case "leave":
                room = _room(options["room"])
                given = {"tool": options["tool"], "leave": options["leave"]}
                changes.set_leave(room_id=room.pk, server_id=server.pk, **given, actor=ACTOR)
            case "remove":
                mcp.remove(server_id=server.pk, actor=ACTOR)
                self.stdout.write(json.dumps({"removed": name}) if options["json"] else f"{name} is removed.")
                return
        self._tell(options, server)

    def _tell(self, options: dict[str, Any], server: McpServer) -> None:
        told = _told(server)
        if options["json"]:
            self.stdout.write(json.dumps(told))
            return
        self.stdout.write(f"{told['name']}: {told['state']}, {told['transport']}")
        if options["act"] == "list":
            return
        self.stdout.write(f"  definition {json.dumps(told['definition'], ensure_ascii=False)}")
        for tool in told["tools"]:
            self.stdout.write(f"  {tool['standing']:8} {tool['hash'][:12]} {tool['name']}: {_line(tool)}")
        if told["state"] in ("looked_at", "changed", "off"):
            self.stdout.write(f"To approve exactly this: mcp_server approve {told['name']} {told['definition_hash']}")


_ACTS = {
    "show": "its definition, and its tools with their hashes",
    "register": "a new one; it is off until it was tested and approved",
    "redefine": "another definition for it",
    "test": "ask it for its tools",
    "approve": "say yes to exactly what was tested, and let it serve",
    "off": "it serves nobody until it is approved again",
    "leave": "say whether agents of a room may call a tool: no, ask, yes",
    "remove": "with every room's leave for its tools",
}


def _told(server: McpServer) -> dict[str, Any]:
    tools = [
        {"name": tool.name, "description": tool.description, "hash": tool.hash, "standing": tool.standing}
        for tool in mcp.tools_of(server)
    ]
    return {
        "id": server.pk,
        "name": server.name,
        "state": mcp.state_of(server),
        "transport": server.transport,
        "definition": server.definition,
        "definition_hash": server.definition_hash,
        "approved_by": server.approved_by,
        "tools": tools,
    }


def _line(tool: dict[str, Any]) -> str:
    return " ".join(tool["description"].split())


def _definition(options: dict[str, Any]) -> dict[str, Any]:
    name = options["definition"]
    try:
        found = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{name} can't be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise CommandError(f"{name} must hold one JSON object")
    return {"transport": options["transport"], "definition": found}


def _server(name: str) -> McpServer:
    server = McpServer.objects.filter(name=name).exclude(transport="nexus").first()
    if server is None:
        raise CommandError(f"there is no MCP server {name!r}; mcp_server list names them")
    return server


def _room(name: str) -> Room:
    found = Room.objects.filter(rid=name).first() or Room.objects.filter(name=name, is_archived=False).first()
    if found is None:
        raise CommandError(f"there is no room {name!r}")
    return found
