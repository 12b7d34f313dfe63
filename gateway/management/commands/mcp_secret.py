"""The secrets that definitions of MCP servers refer to: their names, another value, their end. A value is never printed."""

import getpass
import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from gateway import mcp

ACTOR = "command"


class Command(BaseCommand):
    help = "Lists the names of MCP secrets, sets one from the terminal or from standard input, or removes one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("act", choices=["list", "set", "remove"], help="what to do")
        parser.add_argument("name", nargs="?", default="", help="the secret's name")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        if options["act"] != "list" and not name:
            raise CommandError("name the secret")
        try:
            match options["act"]:
                case "set":
                    mcp.keep_secret(name=name, value=_value(name), actor=ACTOR)
                case "remove":
                    mcp.drop_secret(name=name, actor=ACTOR)
            names = mcp.secret_names()
        except mcp.McpError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps({"names": names}) if options["json"] else "\n".join(names))


def _value(name: str) -> str:
    """Not from the command line, which every process of the host can read."""
    return getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.read().strip()
