"""The audit log: who did what, appended in the act's own transaction, sealed afterwards by a hash chain."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from gateway.models import AuditEntry, AuditSeal

SEAL_LIMIT = 1_000
SEAL_LOCK = 0x6E787573
"""Advisory lock: one process seals at a time."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The chain does not hold: the first seal whose hash differs."""

    seal_id: int
    first_id: int
    last_id: int


def record(*, actor: str, action: str, target: str = "", **detail: Any) -> None:
    """Append one entry. `detail` holds no secret and no prompt."""
    AuditEntry.objects.create(actor=actor[:200], action=action, target=target[:300], detail=detail)


def seal() -> int:
    """Seal entries not yet sealed, in id order; returns how many. Entries of open transactions are sealed later.

    An id may be taken by a transaction that commits later than a higher one, so only ids older than every open
    transaction's start are sealed.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SEAL_LOCK])
        if not cursor.fetchone()[0]:
            return 0
        last = AuditSeal.objects.order_by("-last_id").first()
        cursor.execute(
            "SELECT max(id) FROM audit_log WHERE at < (SELECT min(xact_start) FROM pg_stat_activity"
            " WHERE datname = current_database() AND xact_start IS NOT NULL)"
        )
        up_to = cursor.fetchone()[0]
        if up_to is None:
            return 0
        rows = AuditEntry.objects.filter(pk__gt=last.last_id if last else 0, pk__lte=up_to).order_by("pk")
        entries = list(rows[:SEAL_LIMIT])
        if not entries:
            return 0
        digest = chain_hash(previous=last.sha256 if last else "", entries=entries)
        AuditSeal.objects.create(first_id=entries[0].pk, last_id=entries[-1].pk, entries=len(entries), sha256=digest)
        return len(entries)


def verify() -> Broken | None:
    """Walk the chain from its start; None when every seal holds."""
    previous = ""
    for row in AuditSeal.objects.order_by("first_id").iterator():
        entries = list(AuditEntry.objects.filter(pk__gte=row.first_id, pk__lte=row.last_id).order_by("pk"))
        if len(entries) != row.entries or chain_hash(previous=previous, entries=entries) != row.sha256:
            return Broken(seal_id=row.pk, first_id=row.first_id, last_id=row.last_id)
        previous = row.sha256
    return None


def chain_hash(*, previous: str, entries: list[AuditEntry]) -> str:
    """SHA-256 over the previous hash and each entry as canonical JSON, one per line."""
    digest = hashlib.sha256(previous.encode())
    for entry in entries:
        line = [entry.pk, entry.actor, entry.action, entry.target, entry.detail, entry.at.isoformat()]
        digest.update(b"\n" + json.dumps(line, sort_keys=True, separators=(",", ":")).encode())
    return digest.hexdigest()
