"""How does a server that refuses to run as root run for root, for trying and for tests?

A user namespace, in which the server sees itself as an ordinary user. That is no isolation: outside, it keeps root's
rights. In production databases run in their own containers.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

NOBODY = 65534
_NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")
_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
_PROBE_TIMEOUT_S = 10


class RootNotPossibleError(RuntimeError):
    """Postgres can't be run for root here; the text says what to do instead."""


def unprivileged_prefix(*, program: Path, own: Sequence[Path]) -> tuple[str, ...]:
    """What to put before a command so that the program does not see root; nothing for an ordinary user.

    In the fallback without user namespaces, `own` is what is given to `nobody`.
    """
    if os.geteuid() != 0:
        return ()
    if _works((*_NAMESPACE, str(program), "--version")):
        return _NAMESPACE
    if _works((*_NOBODY, str(program), "--version")) and _works((*_NOBODY, "ls", str(own[0].parent))):
        for path in own:
            _give_to_nobody(path)
        return _NOBODY
    raise RootNotPossibleError(
        "PostgreSQL does not run as root, and this machine allows neither a user namespace (unshare) nor the user "
        f"`nobody` to reach {own[0]}. Run the same command as a normal user; or move the checkout to where every "
        "user may look, such as /srv; or allow user namespaces (in a container: the capability SYS_ADMIN)."
    )


@cache
def _works(command: tuple[str, ...]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    done = subprocess.run(command, capture_output=True, check=False, timeout=_PROBE_TIMEOUT_S)
    return done.returncode == 0


def _give_to_nobody(path: Path) -> None:
    for owned in (path, *path.rglob("*")):
        os.chown(owned, NOBODY, NOBODY)
