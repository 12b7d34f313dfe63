"""Makes an agent behind a new bridge and prints, once, what its owner runs on the laptop."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway import bridges
from gateway.bridges import Made
from gateway.models import WhoMayAsk


class Command(BaseCommand):
    help = "Makes bot account, agent and bridge token in one go. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user", help="the owner's name in the chat")
        parser.add_argument("cli", help="claude, codex, gemini, cursor, hermes, opencode, acp, pty or echo")
        parser.add_argument(
            "--role", default="", help="what this agent is for, like backend; becomes part of its name"
        )
        parser.add_argument("--room", action="append", default=[], help="a room to invite it into; may be repeated")
        parser.add_argument(
            "--who-may-ask", choices=WhoMayAsk.values, default=WhoMayAsk.OWNER.value, help="whose mentions it answers"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        parser.add_argument("--print-token", action="store_true", help="print the token even where no person reads it")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = bridges.create(
                user=options["user"],
                cli=options["cli"],
                role=options["role"],
                rooms=options["room"],
                who_may_ask=options["who_may_ask"],
                actor="command",
            )
        except bridges.BridgeError as error:
            raise CommandError(str(error)) from error
        path = None
        if made.token and not options["print_token"] and not sys.stdout.isatty():
            path = _write_privately(made)
        if options["json"]:
            self.stdout.write(_as_json(made, path=path))
        else:
            self.stdout.write(_as_text(made, path=path))


def _as_json(made: Made, *, path: Path | None) -> str:
    found: dict[str, Any] = {"slug": made.slug, "bridge": made.bridge_id, "cli": made.cli, "created": made.is_new}
    if path is not None:
        found["config_file"] = str(path)
    elif made.token:
        found["token"] = made.token
    return json.dumps(found)


def _as_text(made: Made, *, path: Path | None) -> str:
    if not made.is_new:
        return (
            f"@{made.slug} exists already. Its bridge token was told when it was made; the admin can make a new one."
        )
    if path is not None:
        return (
            f"@{made.slug} is made. Nobody reads this output, so the bridge token is not in it: "
            f"it stands in {path}, which is the whole bridge.toml. --print-token prints it."
        )
    text = bridges.instructions(hub=settings.NEXUS_PUBLIC_URL, **_agent(made))
    return f"@{made.slug} is made. Its bridge token stands below and is not shown again.\n\n{text}"


def _write_privately(made: Made) -> Path:
    path = Path(settings.NEXUS_STATE_DIR) / "bridges" / f"{made.slug}.toml"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(bridges.config_text(hub=settings.NEXUS_PUBLIC_URL, **_agent(made)), encoding="utf-8")
    return path


def _agent(made: Made) -> dict[str, Any]:
    return {"token": made.token, "slug": made.slug, "cli": made.cli, "parallel": made.parallel}
