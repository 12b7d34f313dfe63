"""Does mem0-api answer whoever has its key, and with nothing but what belongs to the asked scope?"""

import json
import secrets
from typing import Final

import httpx
from django.conf import settings

from composer.memory import client
from composer.models import Memory
from gateway.parts import LIMIT_S
from nexus_project.finding import Check, Finding, critical, good, skipped, warning

ASKED: Final = 5


def read_memory() -> tuple[int, int]:
    """What mem0-api answers to anybody, and to whoever has no key."""
    try:
        return (
            httpx.get(f"{settings.NEXUS_MEM0_URL}/healthz", timeout=LIMIT_S, trust_env=False).status_code,
            httpx.post(f"{settings.NEXUS_MEM0_URL}/search", json={}, timeout=LIMIT_S, trust_env=False).status_code,
        )
    except httpx.HTTPError:
        return 0, 0


def judge_memory(found: tuple[int, int]) -> Finding:
    health, keyless = found
    if not health:
        return warning(
            "mem0-api does not answer; prompts go without recalled memory", "start it, and look at NEXUS_MEM0_URL"
        )
    if keyless != 401:
        return critical(
            f"mem0-api answers {keyless} to somebody without a key",
            "whatever listens at NEXUS_MEM0_URL is not ours; stop it",
        )
    if health != 200:
        return warning(f"mem0-api says {health}: it is not ready", "look at its log")
    return good("mem0-api answers, and wants its key")


def read_strays() -> int | None:
    """How many memories a search in a room that is not there brings; None where there is nothing to be found, or no answer."""
    known = Memory.objects.order_by("pk").values_list("payload__data", flat=True).first()
    if not known:
        return None
    body = {"query": str(known)[:500], "scope": f"room:doctor{secrets.token_hex(8)}", "limit": ASKED}
    try:
        return len(json.loads(client.call("POST", "/search", body, timeout_s=LIMIT_S))["results"])
    except client.MemoryUnreachableError:
        return None
    finally:
        client.close()


def judge_strays(count: int | None) -> Finding:
    if count is None:
        return skipped("nothing is remembered yet, or mem0-api does not answer")
    if count:
        return critical(
            f"a search in a room that is not there brings {count} memories of others",
            "whatever listens at NEXUS_MEM0_URL is not ours; stop it. Prompts leave them out: scopes are checked again",
        )
    return good("a search brings nothing of another room")


CHECKS: Final = (
    Check("memory.key", read_memory, judge_memory),
    Check("memory.scopes", read_strays, judge_strays, ("memory.key", "database.migrations"), is_deep=True),
)
