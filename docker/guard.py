"""What ends the processes of a supervisor that died without ending them itself?

Run as a script, with the read end of a pipe on stdin whose other end only the supervisor holds: `+PID` and
`-PID` say which process groups are its own. When the pipe ends, those that are left are terminated, then killed.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

GRACE_S = 5.0
_POLL_S = 0.05
# Elsewhere nobody tells when a process was started; then ids are trusted.
HAS_PROC = Path("/proc/self").exists()


def birth(pid: int) -> str | None:
    """When the kernel started this process, so that a reused id is not mistaken for it; None once it is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name stands in brackets and may hold anything; the fields are counted from behind it.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def read_orders() -> dict[int, str | None]:
    """Follows the pipe to its end; what is left then."""
    groups: dict[int, str | None] = {}
    for line in sys.stdin:
        pid = int(line[1:])
        if line.startswith("+"):
            groups[pid] = birth(pid)
        else:
            groups.pop(pid, None)
    return groups


def still_ours(pid: int, born: str | None) -> bool:
    """A leader that is gone leaves its group's id reserved as long as the group has members."""
    now = birth(pid)
    return group_lives(pid) and (now is None or now == born)


def end_all(groups: dict[int, str | None]) -> None:
    """Asks the leaders; what is left of a group without its leader, or after the grace time, is killed."""
    for pid, born in groups.items():
        if still_ours(pid, born):
            send(os.kill, pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while groups and time.monotonic() < deadline:
        for pid in [pid for pid in groups if not group_lives(pid) or (HAS_PROC and birth(pid) is None)]:
            send(os.killpg, pid, signal.SIGKILL)
            del groups[pid]
        time.sleep(_POLL_S)
    for pid, born in groups.items():
        if still_ours(pid, born):
            send(os.killpg, pid, signal.SIGKILL)


def send(kill: Callable[[int, int], None], pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        kill(pid, number)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_all(read_orders())


if __name__ == "__main__":
    main()
