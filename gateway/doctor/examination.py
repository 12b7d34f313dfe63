"""In which order are the checks made, and what comes of one that can't be?"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from gateway.doctor import agents, chat, database, files, known, live, memory, services, setup, sockets, tries, work
from nexus_project import start
from nexus_project.finding import Check, Finding, Grade, skipped, warning

logger = logging.getLogger(__name__)

# Grouped as people look; what others need stands before them.
CHECKS: Final[tuple[Check[Any], ...]] = (
    *start.CHECKS,
    *setup.CHECKS,
    *files.CHECKS,
    *database.CHECKS,
    *services.CHECKS,
    *memory.CHECKS,
    *chat.CHECKS,
    *work.CHECKS,
    *agents.CHECKS,
    *known.CHECKS,
    *live.CHECKS,
    *sockets.CHECKS,
    *tries.CHECKS,
)


@dataclass(frozen=True, slots=True)
class Result:
    check: Check[Any]
    finding: Finding
    fixed: str = ""


def examine(*, is_deep: bool, may_fix: bool, checks: Sequence[Check[Any]] = CHECKS) -> Iterator[Result]:
    """One result a check, as it comes. Deep ones only on demand."""
    grades: dict[str, Grade] = {}
    for check in checks:
        if check.is_deep and not is_deep:
            continue
        result = _look(check, bad=[name for name in check.needs if grades.get(name) in _USELESS])
        if may_fix and check.fix is not None and result.finding.grade in (Grade.WARNING, Grade.CRITICAL):
            result = _fix(check, result)
        grades[check.id] = result.finding.grade
        yield result


def exit_code(results: Iterable[Result]) -> int:
    grades = {result.finding.grade for result in results}
    return 2 if Grade.CRITICAL in grades else 1 if Grade.WARNING in grades else 0


_USELESS: Final = (Grade.CRITICAL, Grade.SKIPPED)


def _look(check: Check[Any], *, bad: Sequence[str]) -> Result:
    if bad:
        return Result(check, skipped(f"not looked at, since {bad[0]} is not well"))
    try:
        return Result(check, check.judge(check.read()))
    # The outermost place of a check: one that breaks must not hide what the others find.
    except Exception as error:
        logger.debug("check failed", exc_info=True, extra={"check": check.id})
        if connection.errors_occurred:
            connection.close()
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        text = f"could not be looked at: {type(error).__name__}{': ' if reason else ''}{reason}"
        return Result(
            check,
            warning(text, "cure what else is found, then look again; NEXUS_LOG_LEVEL=DEBUG shows where it broke"),
        )


def _fix(check: Check[Any], result: Result) -> Result:
    """Mend, and look again."""
    if check.fix is None:
        return result
    try:
        done = check.fix(check.read())
    except OSError as error:
        return Result(check, result.finding, fixed=f"could not be mended: {error}")
    return Result(check, _look(check, bad=()).finding, fixed=done)
