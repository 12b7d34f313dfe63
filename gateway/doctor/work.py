"""Is work being done, is housekeeping done, and could it be brought back after a loss?"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from gateway import audit, health, retention
from gateway.doctor.database import rows
from gateway.invocations.table import WALL_GRACE_S
from gateway.models import AuditEntry
from gateway.parts import SWEEP_LOCK
from nexus_project.finding import Check, Finding, critical, good, warning

NEEDS: Final = ("database.migrations",)
OLDEST_BACKUP_H: Final = 26.0
OLDEST_DRILL_D: Final = 30.0
LATE_NOTICE_S: Final = 600
OVERDUE_ROWS: Final = 4_000
"""Housekeeping deletes half of this of each table a minute, so more means that it does not run."""

_OVERDUE: Final = """
    SELECT count(*), COALESCE(min(id), 0) FROM invocations WHERE
        (state = 'running' AND running_at < now() - make_interval(secs => %s))
        OR (state IN ('queued', 'waiting', 'composing', 'composed', 'offered') AND wait_until < now() - interval '5 minutes')
"""
_NOTICES: Final = """
    SELECT count(*) FROM notices n WHERE n.posted_revision < n.revision AND n.created_at < now() - make_interval(secs => %s)
"""
_UNSEALED: Final = """
    SELECT count(*) FROM audit_log WHERE at < now() - interval '1 hour' AND id > COALESCE((SELECT max(last_id) FROM audit_seals), 0)
"""


def judge_stuck(problems: Sequence[str]) -> Finding:
    if problems:
        return critical(
            "; ".join(problems),
            "look at the logs of composer, runtime and gateway; docs/operations.md has what else it can be",
        )
    return good("nothing waits for a worker")


def judge_overdue(found: tuple[int, int]) -> Finding:
    count, first = found
    if count:
        return critical(
            f"{count} invocations should have ended long ago, the first is {first}",
            "look whether sweep runs; !stop and the admin's live console end one by hand",
        )
    return good("every invocation is within its time")


def judge_notices(count: int) -> Finding:
    if count:
        return warning(
            f"{count} notices have waited {LATE_NOTICE_S // 60} minutes for their room",
            "look at the chat process's log",
        )
    return good("rooms are told what they should be")


def judge_aside(count: int) -> Finding:
    if count:
        return warning(
            f"{count} messages could not be stored and were set aside",
            "the admin shows each with its reason under Set aside",
        )
    return good("every message was stored")


def judge_sweep(count: int) -> Finding:
    if not count:
        return critical("no sweep leads: limits, leases and housekeeping stand still", "start it: manage.py sweep")
    return good("a sweep leads")


def judge_retention(due: Mapping[str, int]) -> Finding:
    late = {table: count for table, count in due.items() if count > OVERDUE_ROWS}
    if late:
        told = ", ".join(f"{count} of {table}" for table, count in late.items())
        return warning(f"rows past their lifetime pile up: {told}", "run: manage.py retention")
    return good("rows past their lifetime are deleted")


def judge_unsealed(count: int) -> Finding:
    if count:
        return warning(
            f"{count} audit entries wait for their seal since an hour or longer",
            "look at sweep's log, and for a transaction left open",
        )
    return good("the audit log is sealed")


def judge_chain(broken: audit.Broken | None) -> Finding:
    if broken is not None:
        return critical(
            f"the audit log was changed: seal {broken.seal_id} does not fit entries {broken.first_id} to {broken.last_id}",
            "compare with the last backup; whoever had the database's superuser could do this",
        )
    return good("the audit log's chain holds")


def _last(action: str) -> datetime | None:
    entry = AuditEntry.objects.filter(action=action).order_by("-pk").only("at").first()
    return entry.at if entry is not None else None


def _age_h(at: datetime | None) -> float | None:
    return None if at is None else (timezone.now() - at).total_seconds() / 3600


def judge_backup(age_h: float | None) -> Finding:
    cure = "run daily: manage.py backup DIR --keep 14 --encrypt, and copy DIR to another machine (docs/backup.md)"
    if age_h is None:
        return critical("there is no backup", cure)
    if age_h > OLDEST_BACKUP_H:
        return critical(f"the last backup is {age_h:.0f} hours old", cure)
    return good(f"the last backup is {age_h:.0f} hours old")


def judge_drill(age_h: float | None) -> Finding:
    cure = "run: manage.py restore FILE --check, and once a quarter a whole restore elsewhere (docs/backup.md)"
    if age_h is None:
        return warning("no backup was ever tried", cure)
    if age_h > OLDEST_DRILL_D * 24:
        return warning(f"a backup was last tried {age_h / 24:.0f} days ago", cure)
    return good("a backup was tried within the month")


def _count(statement: Any, *given: Any) -> int:
    return int(rows(statement, *given)[0][0])


def _wall_s() -> float:
    return settings.NEXUS_RUN_WALL_S + WALL_GRACE_S + 60


CHECKS: Final = (
    Check("work.stuck", health.problems, judge_stuck, NEEDS),
    Check("work.overdue", lambda: rows(_OVERDUE, _wall_s())[0], judge_overdue, NEEDS),
    Check("work.notices", lambda: _count(_NOTICES, LATE_NOTICE_S), judge_notices, NEEDS),
    Check("work.aside", lambda: _count("SELECT count(*) FROM set_aside"), judge_aside, NEEDS),
    Check(
        "work.sweep",
        lambda: _count("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s", SWEEP_LOCK),
        judge_sweep,
        NEEDS,
    ),
    Check("work.retention", retention.due, judge_retention, NEEDS),
    Check("audit.sealed", lambda: _count(_UNSEALED), judge_unsealed, NEEDS),
    Check("audit.chain", audit.verify, judge_chain, NEEDS, is_deep=True),
    Check("backup.recent", lambda: _age_h(_last("backup_made")), judge_backup, NEEDS),
    Check(
        "backup.tried",
        lambda: _age_h(max(filter(None, (_last("backup_checked"), _last("backup_restored"))), default=None)),
        judge_drill,
        NEEDS,
    ),
)
