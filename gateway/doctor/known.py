"""Which versions of what stands beside Nexus are known to have holes? A list of each release, as of its day; no network is asked."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from typing import Final

import redis

from gateway.doctor.database import rows
from gateway.doctor.services import client
from gateway.models import Bridge
from nexus_project.finding import Check, Finding, good, warning

AS_OF: Final = "2026-11-22"
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True, slots=True)
class Hole:
    """`line` is the release line it is mended in by `mended`; an empty one is every line."""

    part: str
    mended: str
    why: str
    line: str = ""


_POSTGRES: Final = "eleven holes of May 2026, CVE-2026-6473 among them"
_VALKEY: Final = "CVE-2026-63639 and older ones"
_REDIS: Final = "CVE-2025-49844: scripts can run code in the server"
HOLES: Final = (
    *(
        Hole("Postgres", mended, _POSTGRES, line=mended.split(".")[0])
        for mended in ("15.18", "16.14", "17.10", "18.4")
    ),
    Hole("pgvector", "0.8.2", "CVE-2026-3172: an index that is built in parallel writes past its memory"),
    *(
        Hole("Valkey", mended, _VALKEY, line=mended.rpartition(".")[0])
        for mended in ("7.2.14", "8.0.10", "8.1.9", "9.0.5", "9.1.1")
    ),
    *(
        Hole("Redis", mended, _REDIS, line=mended.rpartition(".")[0])
        for mended in ("6.2.20", "7.2.11", "7.4.6", "8.0.4", "8.2.2")
    ),
    Hole("Django", "5.2.8", "CVE-2025-64459", line="5.2"),
    Hole("claude", "2.1.118", "a link can start it with hooks of a stranger"),
    Hole("codex", "0.23.0", "CVE-2025-61260: a repository's files start programs"),
    Hole("gemini", "0.39.1", "a repository's settings are trusted where nobody is asked"),
    Hole("opencode", "1.0.216", "CVE-2026-22812: every program of the machine can give it orders"),
)


def holes_of(part: str, version: str) -> list[str]:
    """A sentence for each known hole of this version; none when the version says nothing."""
    number = _NUMBER.search(version)
    if number is None:
        return []
    have = number[0]
    return [
        f"{part} {have} is older than {one.mended} ({one.why})"
        for one in HOLES
        if one.part == part
        and f"{have}.".startswith(f"{one.line}." if one.line else "")
        and _is_less(have, one.mended)
    ]


def _is_less(one: str, other: str) -> bool:
    return [int(part) for part in one.split(".")] < [int(part) for part in other.split(".")]


def read_parts() -> dict[str, str]:
    """Version by name of what stands beside Nexus on the host."""
    found = {
        "Postgres": str(rows("SELECT current_setting('server_version')")[0][0]),
        "pgvector": str((rows("SELECT extversion FROM pg_extension WHERE extname = 'vector'") or [("",)])[0][0]),
        "Django": installed("django"),
    }
    try:
        with client() as one:
            info = one.info("server")
    except redis.RedisError:
        return found
    if "valkey_version" in info:
        return found | {"Valkey": str(info["valkey_version"])}
    return found | {"Redis": str(info.get("redis_version", ""))}


def judge_parts(found: Mapping[str, str]) -> Finding:
    told = [text for part, version in found.items() for text in holes_of(part, version)]
    if told:
        return warning("; ".join(told), "install a newer one; with containers: git pull, then make update")
    return good(f"of {AS_OF}, no hole is known of {', '.join(f'{name} {version}' for name, version in found.items())}")


def read_clis() -> list[tuple[str, str, str]]:
    """Slug, CLI kind and what the CLI says of its version, of each agent that a bridge offers."""
    offers = Bridge.objects.filter(revoked_at=None).order_by("name").values_list("offers", flat=True)
    return [
        (str(one.get("slug", "")), str(one.get("cli_kind", "")), str(one.get("cli_version", "")))
        for offered in offers
        for one in offered
        if isinstance(one, dict)
    ]


def judge_clis(found: Iterable[tuple[str, str, str]]) -> Finding:
    told = [f"{slug}: {text}" for slug, kind, version in found for text in holes_of(kind, version)]
    if told:
        return warning("; ".join(told), "ask the owner to update that CLI on his machine")
    return good(f"of {AS_OF}, no hole is known of the CLIs that bridges offer")


CHECKS: Final = (
    Check("host.versions", read_parts, judge_parts, ("database.reachable",)),
    Check("agents.clis", read_clis, judge_clis, ("database.migrations",)),
)
