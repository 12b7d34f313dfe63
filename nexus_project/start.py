"""What does every long-running process do first? It refuses to start when that would be dangerous, and says who it is.

It looks at nothing but this machine's settings and files: a start must not depend on neighbours that are still down.
"""

import logging
import sys
from typing import Any, Final

from django.conf import settings

from nexus_project import file_checks, leak_checks, safety, setting_checks
from nexus_project.env import EXIT_CONFIG
from nexus_project.finding import Check, Finding, Grade
from nexus_project.version import VERSION

logger = logging.getLogger(__name__)

CHECKS: Final[tuple[Check[Any], ...]] = (*setting_checks.CHECKS, *file_checks.CHECKS, *leak_checks.CHECKS)
"""The doctor begins with the same ones."""

NO_DANGER: Final = frozenset({"files.room"})
"""Critical for the work, not for safety: who is kept down by a full disk can't even say so in the chat."""


def begin(*, program: str) -> None:
    """Call once, when settings are read. Leaves the process with 78 and a sentence per danger if others can reach it."""
    if safety.is_reachable(settings) and (found := dangers()):
        for check, one in found:
            sys.stderr.write(f"nexus: {program} does not start ({check}): {one.text}; {one.cure}\n")
        sys.stderr.flush()
        raise SystemExit(EXIT_CONFIG)
    logger.info("process starts", extra={"program": program, "version": VERSION})


def dangers() -> list[tuple[str, Finding]]:
    """What must be cured before anybody but this machine may reach it, under the id by which the doctor tells it."""
    looked_at = [
        (check.id, finding) for check in CHECKS if check.id not in NO_DANGER and (finding := _look(check)) is not None
    ]
    return [(name, finding) for name, finding in looked_at if finding.grade is Grade.CRITICAL]


def _look(check: Check[Any]) -> Finding | None:
    try:
        return check.judge(check.read())
    except OSError as error:
        # A folder that can't be looked at is the doctor's to tell; it is no danger that was found.
        logger.warning("could not be looked at", extra={"check": check.id, "error": str(error)})
        return None
