"""Does a message find its way in and out again, and does a secret stay out of the logs? Tried through every part, for `--deep`."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import httpx
from django.conf import settings

from gateway.bootstrap import server
from gateway.bootstrap.bots import SERVICE
from gateway.bridges.accounts import admin_login
from gateway.models import BotAccount, Message, Room
from gateway.rocketchat import calls
from gateway.rocketchat.calls import RestError
from nexus_project import leak_checks
from nexus_project.finding import Check, Finding, critical, good, skipped, warning

SEEN_S: Final = 20.0
"""A live event takes less than a second, a webhook's look a few; catch-up alone may take a minute."""

POLL_S: Final = 0.2
LOGGED_S: Final = 0.5
TEXT: Final = "Nexus's doctor looks whether this is heard; it is gone in a moment."


Looked = tuple[datetime | None, datetime | None]
"""When the webhook last called for a room, and when that was last caught up."""


@dataclass(frozen=True, slots=True)
class Trip:
    """Whether a message of the admin to `@nexus` became a row, and its deletion a tombstone.

    `is_called` and `is_caught_up`: whether the webhook told of it, and catch-up then looked; None where the webhook is off.
    """

    is_seen: bool = False
    is_gone: bool = False
    is_called: bool | None = None
    is_caught_up: bool | None = None
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
            before = _looked_at(rid)
            admin.call(calls.send(rid=rid, rc_id=rc_id, text=TEXT))
            try:
                is_seen = _soon(lambda: Message.objects.filter(rc_id=rc_id).exists())
                took_s = time.monotonic() - began
                called, caught_up = (
                    _soon_looked_at(rid, before=before) if settings.NEXUS_WEBHOOK_TOKEN else (None, None)
                )
            finally:
                admin.call(calls.delete(rid=rid, rc_id=rc_id))
            is_gone = is_seen and _soon(lambda: Message.objects.filter(rc_id=rc_id, deleted_at__isnull=False).exists())
    except RestError as error:
        return Trip(error=server.login_cure(error))
    return Trip(is_seen=is_seen, is_gone=is_gone, is_called=called, is_caught_up=caught_up, took_s=took_s)


def _looked_at(rid: str) -> Looked:
    found = Room.objects.filter(rid=rid).values_list("nudged_at", "cursor__caught_up_at").first()
    return found or (None, None)


def _soon_looked_at(rid: str, *, before: Looked) -> tuple[bool, bool]:
    """By the webhook, and by catch-up, which it sets off."""
    is_called = _soon(lambda: _looked_at(rid)[0] != before[0])
    return is_called, is_called and _soon(lambda: _looked_at(rid)[1] != before[1])


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
    if trip.is_called is False:
        return critical(
            f"what is said is heard, but the chat's webhook did not tell of it within {SEEN_S:.0f} s",
            "run: manage.py bootstrap; then look whether the chat reaches NEXUS_WEBHOOK_URL",
        )
    if trip.is_caught_up is False:
        return critical(
            f"what is said is heard, but nobody caught the room up within {SEEN_S:.0f} s",
            "look at the chat process's log",
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
