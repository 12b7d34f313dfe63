"""What do people see of `manage.py` when something is wrong? A sentence and an exit code, never a traceback.

2: the command was called wrongly; 1: it could not do what it was asked. `--traceback` shows where.
"""

import os
import platform
import sys
from collections.abc import Sequence

WRONG_USE = 2
FAILED = 1
INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")
    if list(argv[1:]) in (["version"], ["--version"]):
        sys.stdout.write(f"{version()}\n")
        return 0
    if any(not _is_text(one) for one in argv):
        return _complain("an argument is not text in UTF-8; write it anew", WRONG_USE)
    return _execute(argv)


def version() -> str:
    from nexus_bridge.protocol import VERSIONS
    from nexus_project.version import VERSION

    protocols = ", ".join(map(str, VERSIONS))
    return f"Nexus {VERSION} (bridge protocol {protocols}, Python {platform.python_version()})"


def _execute(argv: Sequence[str]) -> int:
    # Imported here: asking for the version needs no Django.
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError, InterfaceError

    try:
        execute_from_command_line(list(argv))
    except (DatabaseError, InterfaceError) as error:
        if "--traceback" in argv:
            raise
        return _complain(_database_sentence(error), FAILED)
    except ImproperlyConfigured as error:
        return _complain(str(error), FAILED)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _database_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    reason = lines[0][:300] if lines else type(error).__name__
    if "does not exist" in reason and ("relation" in reason or "column" in reason):
        return f"the database is not of this version ({reason}); run: manage.py migrate"
    return f"Postgres could not do it ({reason}); look at NEXUS_DATABASE_URL, or run: manage.py doctor"


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _complain(sentence: str, code: int) -> int:
    sys.stderr.write(f"nexus: {sentence}\n")
    return code
