"""Lists the bridges: whose they are, their agents, whether they are online."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Prefetch
from django.db.models.functions import Now

from gateway.models import Agent, Bridge


class Command(BaseCommand):
    help = "Lists bridges with their owners, agents and state."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="revoked ones too")
        parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = Bridge.objects.select_related("owner").prefetch_related(
            Prefetch("agents", queryset=Agent.objects.order_by("slug"))
        )
        if not options["all"]:
            rows = rows.filter(revoked_at=None)
        online = set(Bridge.objects.filter(lease_until__gt=Now(), revoked_at=None).values_list("pk", flat=True))
        told = [_told(bridge, is_online=bridge.pk in online) for bridge in rows.order_by("name")]
        for one in told:
            self.stdout.write(json.dumps(one) if options["json"] else _line(one))
        if not told and not options["json"]:
            self.stdout.write("There is no bridge yet; create_bridge makes one.")


def _told(bridge: Bridge, *, is_online: bool) -> dict[str, Any]:
    return {
        "id": bridge.pk,
        "name": bridge.name,
        "owner": bridge.owner.username if bridge.owner is not None else "",
        "agents": [agent.slug for agent in bridge.agents.all()],
        "state": "revoked" if bridge.revoked_at is not None else "online" if is_online else "asleep",
        "load": bridge.load if is_online else {},
        "load_words": bridge.load_words if is_online else "",
        "client_version": bridge.client_version,
        "last_seen_at": bridge.last_seen_at.isoformat() if bridge.last_seen_at is not None else None,
    }


def _line(one: dict[str, Any]) -> str:
    seen = f", last seen {one['last_seen_at']}" if one["last_seen_at"] else ", never seen"
    load = f"; {one['load_words']}" if one["load_words"] else ""
    owner = f" of {one['owner']}" if one["owner"] else " of the host"
    return (
        f"{one['id']:>5}  {one['state']:8} {one['name']}{owner}: {', '.join(one['agents']) or 'no agent'}{seen}{load}"
    )
