"""Does a message find its way in and out again, and does a secret stay out of the logs? Tried through every part, for `--deep`."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from django.conf import settings

from gateway.bootstrap import server
from gateway.bootstrap.bots import SERVICE
from gateway.bridges.accounts import admin_login
from gateway.doctor.finding import Check, Finding, critical, good, skipped, warning
from gateway.doctor.setup import read_neighbours
from gateway.models import BotAccount, Message
from gateway.rocketchat import calls
from gateway.rocketchat.calls import RestError

SEEN_S: Final = 20.0
"""A live event takes less than a second, a webhook's look a few; catch-up alone may take a minute."""

POLL_S: Final = 0.2
LOGGED_S: Final = 0.5
TAIL: Final = 4 * 1024 * 1024
TEXT: Final = "Nexus's doctor looks whether this is heard; it is gone in a moment."
SHORTEST: Final = 12


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


def log_files() -> list[Path]:
    """What the launcher and its like write; containers' and systemd's logs are not ours to read."""
    return sorted((Path(settings.NEXUS_STATE_DIR) / "log").glob("*.log"))


def tails(paths: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    for path in paths:
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL))
                yield path, file.read(TAIL)
        except OSError:
            continue


def read_logs() -> list[str] | None:
    """Names of logs that hold one of our secrets; None where there is none to read."""
    known = [value.encode() for value in read_neighbours().values() if len(value) >= SHORTEST]
    return _holding(known)


def read_canary() -> list[str] | None:
    """Logs that kept what was just told to a door as a wrong token."""
    canary = f"nxb_{secrets.token_urlsafe(30)}"
    with httpx.Client(base_url=settings.NEXUS_PUBLIC_URL, timeout=5.0, trust_env=False) as anybody:
        anybody.get("/bridge/check", headers={"Authorization": f"Bearer {canary}"})
        anybody.post("/rc/webhook", json={"token": canary})
    time.sleep(LOGGED_S)
    return _holding([canary.encode()])


def _holding(words: Sequence[bytes]) -> list[str] | None:
    paths = log_files()
    if not paths:
        return None
    return [path.name for path, text in tails(paths) if any(word in text for word in words)]


def judge_logs(found: Sequence[str] | None) -> Finding:
    if found is None:
        return skipped("logs are not kept in NEXUS_STATE_DIR here")
    if found:
        return critical(
            f"{', '.join(found)} hold a secret",
            "change that secret, remove those lines, and tell us: no log may hold one",
        )
    return good("logs hold no secret")


CHECKS: Final = (
    Check("logs.secrets", read_logs, judge_logs),
    Check("logs.canary", read_canary, judge_logs, ("gateway.answers",), is_deep=True),
    Check("chat.round_trip", read_trip, judge_trip, ("chat.reachable", "database.migrations"), is_deep=True),
)
