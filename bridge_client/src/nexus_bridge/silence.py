"""Why is a CLI silent: does something of its tree wait for input that nobody types? Linux shows it; elsewhere the answer is no."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

_READ: Final[Mapping[str, int]] = {"x86_64": 0, "aarch64": 63, "riscv64": 63}
"""The number of the system call `read`, by machine."""

_TERMINALS: Final = ("/dev/pts/", "/dev/tty")


def is_visible() -> bool:
    """Whether this machine shows what a process waits for."""
    return os.uname().machine in _READ and Path("/proc/self/syscall").exists()


def reads_its_input(pids: Iterable[int], *, main: int) -> bool:
    """True when the first thread of one of these blocks in a read of `main`'s stdin or of a terminal.

    CLIs that wait for frames do so in an event loop or on a thread of their own, so they do not count.
    """
    if not is_visible():
        return False
    call, stdin = _READ[os.uname().machine], _open_file(main, 0)
    return any(_reads(pid, call=call, stdin=stdin) for pid in pids)


def _reads(pid: int, *, call: int, stdin: str) -> bool:
    try:
        number, descriptor, *_ = Path(f"/proc/{pid}/syscall").read_text().split()
    except (OSError, ValueError):  # gone, running, or none of our business
        return False
    if number != str(call):
        return False
    source = _open_file(pid, int(descriptor, 16))
    return bool(source) and (source == stdin or source.startswith(_TERMINALS))


def _open_file(pid: int, descriptor: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/fd/{descriptor}").readlink())
    except OSError:
        return ""
