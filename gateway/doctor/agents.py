"""Who may make agents do what: bridges, rights, tools, the host's own CLIs."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.db.models import F

from gateway.doctor.database import rows
from gateway.models import Agent, McpServer, RoomKind, RoomTool
from nexus_bridge import __version__ as bridge_version
from nexus_project.finding import Check, Finding, critical, good, warning

NEEDS: Final = ("database.migrations",)
OLDEST_TOKEN_D: Final = 90
UNUSED_D: Final = 14
_SECRET_WORDS: Final = ("token", "secret", "password", "key", "authorization")

_OLD: Final = "SELECT name FROM bridges WHERE revoked_at IS NULL AND owner_id IS NOT NULL AND token_made_at < now() - make_interval(days => %s) ORDER BY 1"
_UNUSED: Final = """
    SELECT name FROM bridges WHERE revoked_at IS NULL AND owner_id IS NOT NULL
        AND COALESCE(last_seen_at, created_at) < now() - make_interval(days => %s) ORDER BY 1
"""
_VERSIONS: Final = "SELECT name, client_version FROM bridges WHERE revoked_at IS NULL AND lease_until > now() AND client_version <> '' ORDER BY 1"


@dataclass(frozen=True, slots=True)
class Upstream:
    name: str
    is_approved: bool
    url: str
    clear_secrets: tuple[str, ...]


def judge_tokens(names: Sequence[str]) -> Finding:
    if names:
        return warning(
            f"bridge tokens older than {OLDEST_TOKEN_D} days: {', '.join(names)}",
            "make new ones at /admin/ under Bridges; the old one works on for an hour",
        )
    return good("bridge tokens are young")


def judge_unused(names: Sequence[str]) -> Finding:
    if names:
        return warning(
            f"bridges that nobody has used for {UNUSED_D} days: {', '.join(names)}",
            "ask their owners; manage.py revoke_bridge NAME ends one for good",
        )
    return good("every bridge is in use")


def judge_versions(found: Sequence[tuple[str, str]]) -> Finding:
    other = [f"{name} ({version})" for name, version in found if version != bridge_version]
    if other:
        return warning(
            f"bridges of another version than this hub's {bridge_version}: {', '.join(other)}",
            f"their owners install the matching one from {settings.NEXUS_PUBLIC_URL}/client/",
        )
    return good("bridges are of this hub's version")


def judge_askers(slugs: Sequence[str]) -> Finding:
    if slugs:
        return critical(
            f"the whole room may ask {', '.join(slugs)}, where tools run without a person's yes",
            "let tools need approval there (/admin/, Room × tool), or name who may ask",
        )
    return good("where everybody may ask, tools wait for a person's yes")


def read_askers() -> list[str]:
    free = RoomTool.objects.filter(needs_approval=False, server__is_enabled=True).values("room_id")
    agents = Agent.objects.filter(is_enabled=True, who_may_ask="room", memberships__room__in=free)
    return list(agents.order_by("slug").distinct().values_list("slug", flat=True))


def judge_leaks(rooms: Sequence[str]) -> Finding:
    """What is private, what strangers wrote, and a way out: an agent that has all three can be talked into leaking."""
    if rooms:
        return critical(
            f"in private rooms ({', '.join(rooms)}) agents call tools of outside servers without a person's yes",
            "let those tools need approval there (/admin/, Room × tool): what a tool brings may tell an agent to send what it knows",
        )
    return good("where talk is private, no tool of an outside server runs without a person's yes")


def read_leaks() -> list[str]:
    free = RoomTool.objects.filter(
        needs_approval=False, server__is_enabled=True, room__kind__in=(RoomKind.PRIVATE, RoomKind.DM)
    ).exclude(server__transport="nexus")
    found = free.filter(room__members__agent__is_enabled=True).order_by("room__rid").distinct()
    return [name or rid for name, rid in found.values_list("room__name", "room__rid")]


def read_upstreams() -> list[Upstream]:
    servers = McpServer.objects.filter(is_enabled=True).exclude(transport="nexus").order_by("name")
    return [
        Upstream(
            name=one.name,
            is_approved=bool(one.approved_hash) and one.approved_hash == one.definition_hash,
            url=str(one.definition.get("url") or ""),
            clear_secrets=tuple(_clear(one.definition)),
        )
        for one in servers
    ]


def _clear(definition: dict[str, Any]) -> list[str]:
    """Names of values that sound secret and are written out."""
    values = {**(definition.get("env") or {}), **(definition.get("headers") or {})}
    return [
        name
        for name, value in values.items()
        if isinstance(value, str) and value and any(word in name.lower() for word in _SECRET_WORDS)
    ]


def judge_upstreams(found: Sequence[Upstream]) -> Finding:
    for one in found:
        if not one.is_approved:
            return critical(
                f"the tool server {one.name} serves another definition than was approved",
                "look at it at /admin/ and approve it anew, or switch it off",
            )
        if one.clear_secrets:
            return critical(
                f"the tool server {one.name} has {', '.join(one.clear_secrets)} written out in the database",
                'write {"secret": "NAME"} there and the value into mcp-secrets.env (docs/tools.md)',
            )
        if one.url.startswith("http://"):
            return warning(f"the tool server {one.name} is reached over {one.url}", "use https, or a private address")
    return good(f"{len(found)} tool servers are as they were approved")


def judge_bridgeless(slugs: Sequence[str]) -> Finding:
    if slugs:
        return warning(
            f"enabled agents without a bridge: {', '.join(slugs)}",
            "disable them at /admin/, or make their bridge: manage.py create_bridge",
        )
    return good("every enabled agent has a bridge")


def read_bridgeless() -> list[str]:
    found = Agent.objects.filter(is_enabled=True).exclude(bridge__revoked_at=None, bridge__isnull=False)
    return list(found.order_by("slug").values_list("slug", flat=True))


def judge_owners(slugs: Sequence[str]) -> Finding:
    if slugs:
        return critical(
            f"on the bridge of another owner: {', '.join(slugs)}", "move each to a bridge of its own owner at /admin/"
        )
    return good("every agent is on its owner's bridge")


def read_strangers() -> list[str]:
    found = Agent.objects.filter(is_enabled=True, bridge__owner__isnull=False).exclude(bridge__owner=F("owner"))
    return list(found.order_by("slug").values_list("slug", flat=True))


def read_host_clis() -> tuple[bool, bool, bool]:
    """Whether real CLIs run as the services' own user, whether a user for them is named, and whether there is one."""
    import pwd

    try:
        is_there = bool(settings.NEXUS_HOST_USER) and bool(pwd.getpwnam(settings.NEXUS_HOST_USER))
    except KeyError:
        is_there = False
    return settings.NEXUS_HOST_CLIS, bool(settings.NEXUS_HOST_USER), is_there


def judge_host_clis(found: tuple[bool, bool, bool]) -> Finding:
    is_own_user, is_named, is_there = found
    if is_named and not is_there:
        return critical(
            f"there is no user {settings.NEXUS_HOST_USER} here (NEXUS_HOST_USER)",
            f"run: useradd --system --create-home {settings.NEXUS_HOST_USER}",
        )
    if is_own_user and not is_named:
        return warning(
            "NEXUS_HOST_CLIS lets agents run as the services' own user, who can read their secrets",
            "set NEXUS_HOST_USER to a user of their own instead",
        )
    return good("agents of the host can't read the services' secrets")


def judge_sandbox(is_there: bool) -> Finding:
    if not is_there:
        return warning(
            "bubblewrap is not installed, so CLIs on this host run without their sandbox",
            "run: apt-get install bubblewrap",
        )
    return good("CLIs on this host can use their sandbox")


def read_sandbox() -> bool:
    wants_one = settings.NEXUS_HOST_CLIS or settings.NEXUS_HOST_USER
    return not wants_one or shutil.which("bwrap") is not None


def _names(statement: Any, *given: Any) -> list[str]:
    return [str(row[0]) for row in rows(statement, *given)]


CHECKS: Final = (
    Check("bridges.tokens", lambda: _names(_OLD, OLDEST_TOKEN_D), judge_tokens, NEEDS),
    Check("bridges.unused", lambda: _names(_UNUSED, UNUSED_D), judge_unused, NEEDS),
    Check(
        "bridges.versions",
        lambda: [(str(name), str(version)) for name, version in rows(_VERSIONS)],
        judge_versions,
        NEEDS,
    ),
    Check("agents.bridges", read_bridgeless, judge_bridgeless, NEEDS),
    Check("agents.owners", read_strangers, judge_owners, NEEDS),
    Check("agents.askers", read_askers, judge_askers, NEEDS),
    Check("tools.leaks", read_leaks, judge_leaks, NEEDS),
    Check("tools.upstreams", read_upstreams, judge_upstreams, NEEDS),
    Check("host.clis", read_host_clis, judge_host_clis),
    Check("host.sandbox", read_sandbox, judge_sandbox),
)
