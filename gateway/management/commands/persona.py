"""Shows or sets an agent's persona; what it said before is kept."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from gateway import changes
from gateway.models import Agent, PersonaVersion


class Command(BaseCommand):
    help = "Shows an agent's persona, sets it from a file or from standard input, or shows its history."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("agent", help="the agent's slug")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--file", help="set it to this file's text; - reads standard input")
        what.add_argument("--history", action="store_true", help="show what it said before, newest first")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    def handle(self, *args: Any, **options: Any) -> None:
        agent = Agent.objects.filter(slug=options["agent"]).first()
        if agent is None:
            raise CommandError(f"there is no agent {options['agent']!r}; list_bridges names them")
        if options["history"]:
            self._tell(options, **_history(agent))
        elif options["file"] is None:
            self._tell(options, agent=agent.slug, persona=agent.persona)
        else:
            text = _read(options["file"])
            try:
                changed = changes.set_persona(agent_id=agent.pk, text=text, actor="command")
            except changes.ChangeError as error:
                raise CommandError(str(error)) from error
            agent.refresh_from_db()
            self._tell(options, agent=agent.slug, persona=agent.persona, changed=changed)

    def _tell(self, options: dict[str, Any], **told: Any) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(told))
        elif "versions" in told:
            for one in told["versions"]:
                self.stdout.write(f"until {one['until']}, changed by {one['changed_by']}:\n{one['text']}\n")
        elif told.get("changed") is False:
            self.stdout.write(f"{told['agent']} says that already.")
        else:
            self.stdout.write(told["persona"] or f"{told['agent']} has no persona.")


def _history(agent: Agent) -> dict[str, Any]:
    rows = PersonaVersion.objects.filter(agent=agent).order_by("-pk")[:100]
    versions = [{"until": row.created_at.isoformat(), "changed_by": row.changed_by, "text": row.text} for row in rows]
    return {"agent": agent.slug, "versions": versions}


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name} can't be read: {error}") from error
