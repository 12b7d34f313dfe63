"""Which bot accounts does this chat process hold? Leases by database time, shared out evenly among live processes."""

import hashlib
import math
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.db import connection, transaction
from django.db.models.functions import Now

from gateway.models import BotAccount, HostLease

LEASE_S: Final = 20
RENEW_S: Final = 5.0
"""A process that is stopped for longer than the lease has lost it; its posters find out in their transactions."""


@dataclass(frozen=True, slots=True)
class Held:
    """An account that is ours until the lease ends; `sealed_token` is as the column holds it."""

    pk: int
    agent_id: int | None
    rocketchat_id: str
    username: str
    sealed_token: bytes


def new_owner() -> str:
    """A name for this process that others of the same machine can look up: where, which process, since when."""
    pid = os.getpid()
    return f"{_place()}.{pid}.{_started(pid) or secrets.token_hex(4)}"


def hold(*, owner: str) -> list[Held]:
    """Renew what is ours, take what is free up to our share, give back what is above it. All that is ours now."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        _bury_dead(owner=owner)
        cursor.execute(
            "INSERT INTO host_leases (role, owner, lease_until) VALUES (%s, %s, now() + %s * interval '1 s')"
            " ON CONFLICT (role) DO UPDATE SET lease_until = EXCLUDED.lease_until",
            [f"chat:{owner}"[:40], owner, LEASE_S],
        )
        cursor.execute(
            "UPDATE bot_accounts SET lease_until = now() + %s * interval '1 s'"
            " WHERE lease_owner = %s AND NOT is_broken AND lease_until IS NOT NULL",
            [LEASE_S, owner],
        )
        share = _share(owner=owner)
        cursor.execute(
            "UPDATE bot_accounts SET lease_owner = %s, lease_until = now() + %s * interval '1 s' WHERE id = ANY(ARRAY("
            " SELECT id FROM bot_accounts WHERE NOT is_broken AND length(access_token) > 0 AND lease_owner <> %s"
            " AND (lease_until IS NULL OR lease_until < now()) ORDER BY id LIMIT"
            " GREATEST(0, %s - (SELECT count(*) FROM bot_accounts WHERE lease_owner = %s AND NOT is_broken))"
            " FOR UPDATE SKIP LOCKED))",
            [owner, LEASE_S, owner, share, owner],
        )
        held = _held(owner=owner)
        surplus = [one.pk for one in held[share:]]
        if surplus:
            BotAccount.objects.filter(pk__in=surplus, lease_owner=owner).update(lease_owner="", lease_until=None)
        return held[:share]


def _bury_dead(*, owner: str) -> None:
    """A process of this machine that was killed holds nothing: its accounts are free at once, not after the lease."""
    here = owner.partition(".")[0]
    others = set(
        BotAccount.objects.exclude(lease_owner="").exclude(lease_owner=owner).values_list("lease_owner", flat=True)
    ) | set(HostLease.objects.filter(role__startswith="chat:").exclude(owner=owner).values_list("owner", flat=True))
    dead = [other for other in others if _is_dead(other, here=here)]
    if dead:
        BotAccount.objects.filter(lease_owner__in=dead).update(lease_owner="", lease_until=None)
        HostLease.objects.filter(role__startswith="chat:", owner__in=dead).delete()


def _is_dead(owner: str, *, here: str) -> bool:
    """Only of a process of this machine (and container) is it known."""
    place, _, rest = owner.partition(".")
    pid, _, started = rest.partition(".")
    return bool(here) and place == here and pid.isdecimal() and _started(int(pid)) != started


def _place() -> str:
    """The same for processes that see each other's process numbers: machine since its start, container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return secrets.token_hex(6)
    return hashlib.sha256(f"{boot}{namespace}".encode()).hexdigest()[:12]


def _started(pid: int) -> str:
    """When the process of this number began, in ticks since boot; empty when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    is_zombie = fields[0] in ("Z", "X")
    return "" if is_zombie else fields[19]


def _share(*, owner: str) -> int:
    """As many accounts as there are, divided by the chat processes that are alive, this one included."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM host_leases WHERE role LIKE 'chat:%%' AND lease_until < now() - interval '1 hour'")
        cursor.execute(
            "SELECT (SELECT count(*) FROM bot_accounts WHERE NOT is_broken AND length(access_token) > 0),"
            " (SELECT count(*) FROM host_leases WHERE role LIKE 'chat:%%' AND lease_until > now() AND owner <> %s)",
            [owner],
        )
        account_count, other_count = cursor.fetchone()
    return math.ceil(int(account_count) / (int(other_count) + 1))


def _held(*, owner: str) -> list[Held]:
    rows = BotAccount.objects.filter(lease_owner=owner, lease_until__gt=Now(), is_broken=False).order_by("pk")
    return [
        Held(pk, agent_id, user_id, username, bytes(token))
        for pk, agent_id, user_id, username, token in rows.values_list(
            "pk", "agent_id", "rocketchat_id", "username", "access_token"
        )
        if bytes(token)
    ]


def let_go(*, owner: str) -> None:
    """This process ends: others may take its accounts at once."""
    with transaction.atomic(), connection.cursor() as cursor:
        BotAccount.objects.filter(lease_owner=owner).update(lease_owner="", lease_until=None)
        cursor.execute("DELETE FROM host_leases WHERE role = %s", [f"chat:{owner}"[:40]])


def mark_broken(*, pk: int, owner: str, reason: str) -> None:
    """Nobody tries this account again before it has got a new access token."""
    BotAccount.objects.filter(pk=pk, lease_owner=owner).update(is_broken=True, broken_reason=reason[:300])
