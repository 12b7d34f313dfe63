"""What does every long-running process do first? It refuses to start when that would be dangerous, and says who it is."""

import logging
import sys

from django.conf import settings

from nexus_project import safety
from nexus_project.env import EXIT_CONFIG
from nexus_project.version import VERSION

logger = logging.getLogger(__name__)


def begin(*, program: str) -> None:
    """Call once, when settings are read. Leaves the process with 78 and a sentence per danger if others can reach it."""
    if safety.is_reachable(settings) and (found := safety.dangers(settings)):
        for one in found:
            sys.stderr.write(f"nexus: {program} does not start ({one.check}): {one.text}; {one.cure}\n")
        sys.stderr.flush()
        raise SystemExit(EXIT_CONFIG)
    logger.info("process starts", extra={"program": program, "version": VERSION})
