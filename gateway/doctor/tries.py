"""Does a message find its way in and out again, and does a secret stay out of the logs? Tried through every part, for `--deep`."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx
from django.conf import settings

from gateway.bootstrap import server
from gateway.bootstrap.bots import SERVICE
from gateway.bridges.accounts import admin_login
from gateway.models import BotAccount, Message
from gateway.rocketchat import calls
from gateway.rocketchat.calls import RestError
from nexus_project import leak_checks
from nexus_project.finding import Check, Finding, critical, good, skipped, warning

SEEN_S: Final = 20.0
"""A live event takes less than a second, a webhook's look a few; catch-up alone may take a minute."""

POLL_S: Final = 0.2
LOGGED_S: Final = 0.5
TEXT: Final = "Nexus's doctor looks whether this is heard; it is gone in a moment."


@dataclass(frozen=True, slots=True)
class Trip:
    """Whether a message of the admin to `@nexus` became a row, and its deletion a tombstone."""

    is_seen: bool = False
    is_gone: bool = False
    took_s: float = 0.0
    error: str = ""


def read_trip() -> Trip | None:
    """None without an account to write from or to. What is written is deleted, whatever happens."""
    has_service = BotAccount.objects.filter(agent=None, username=SERVICE).exists()
    if not has_service or not settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD:
        return None
    rc_id = f"doctor{secrets.token_hex(6)}"[:17]
    began = time.monotonic()
    try:
        with admin_login() as admin:
            rid = str(admin.open_direct(username=SERVICE)["_id"])
            admin.call(calls.send(rid=rid, rc_id=rc_id, text=TEXT))
            try:
                is_seen = _soon(lambda: Message.objects.filter(rc_id=rc_id).exists())
                took_s = time.monotonic() - began
            finally:
                admin.call(calls.delete(rid=rid, rc_id=rc_id))
            is_gone = is_seen and _soon(lambda: Message.objects.filter(rc_id=rc_id, deleted_at__isnull=False).exists())
    except RestError as error:
        return Trip(error=server.login_cure(error))
    return Trip(is_seen=is_seen, is_gone=is_gone, took_s=took_s)


def _soon(look: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SEEN_S
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def judge_trip(trip: Trip | None) -> Finding:
    if trip is None:
        return skipped("bootstrap has not made @nexus yet, or the admin's password is not set")
    if trip.error:
        return critical(f"the admin can't write to @nexus: {trip.error}", "run: manage.py bootstrap")
    if not trip.is_seen:
        return critical(
            f"what is said in the chat is not heard within {SEEN_S:.0f} s",
            "look at the chat process's log, and whether the chat reaches NEXUS_WEBHOOK_URL",
        )
    if not trip.is_gone:
        return warning(
            f"what is deleted in the chat is not forgotten within {SEEN_S:.0f} s",
            "look at the chat process's log; catch-up finds it within a minute",
        )
    return good(f"what is said in the chat is heard after {trip.took_s:.1f} s, and forgotten when it is deleted")


def read_canary() -> list[str] | None:
    """Logs that kept what was just told to a door as a wrong token."""
    canary = f"nxb_{secrets.token_urlsafe(30)}"
    with httpx.Client(base_url=settings.NEXUS_PUBLIC_URL, timeout=5.0, trust_env=False) as anybody:
        anybody.get("/bridge/check", headers={"Authorization": f"Bearer {canary}"})
        anybody.post("/rc/webhook", json={"token": canary})
    time.sleep(LOGGED_S)
    return leak_checks.logs_with([canary.encode()])


CHECKS: Final = (
    Check("logs.canary", read_canary, leak_checks.judge_logs, ("gateway.answers",), is_deep=True),
    Check("chat.round_trip", read_trip, judge_trip, ("chat.reachable", "database.migrations"), is_deep=True),
)
