"""How a program that only speaks to a terminal gets one: pexpect opens it, streams.py reads it.

Nothing of the stream passes through pexpect (a fifth of the speed, and it sleeps): it forks the guard onto a new
terminal, and from then on we own the descriptor.
"""

import os
import termios
import tty
from collections.abc import Callable, Sequence
from typing import Any

import pexpect
import ptyprocess

from nexus_bridge.adapters.base import Spawn

ROWS, COLUMNS = 50, 400
"""Wide, so that programs which fold lines at the edge don't."""


class _Child(pexpect.spawn):  # type: ignore[misc,unused-ignore]  # pexpect is not typed
    """pexpect's own child, with one descriptor more kept open: the guard's control socket."""

    def __init__(self, *, keep: int, **options: Any) -> None:  # Any: pexpect's options, not ours
        self._keep = keep
        super().__init__(**options)

    def _spawnpty(self, args: Sequence[str], **options: Any) -> Any:
        return ptyprocess.PtyProcess.spawn(args, pass_fds=(self._keep,), **options)


def open_terminal(*, argv: Sequence[str], spawn: Spawn, control: int) -> tuple[int, int]:
    """Start the guard on a new terminal without echo: its pid and our side of the terminal."""
    child = _Child(
        keep=control,
        command=argv[0],
        args=list(argv[1:]),
        cwd=str(spawn.cwd),
        env=dict(spawn.env),
        echo=False,
        dimensions=(ROWS, COLUMNS),
        preexec_fn=_prepare(kind=spawn.tty, keep=control),
        timeout=None,
    )
    ours = os.dup(child.child_fd)
    # Not child.close(), which sleeps and sends signals: the process is ours from here on.
    child.ptyproc.closed = child.closed = True
    child.ptyproc.fileobj.close()
    return child.pid, ours


def _prepare(*, kind: str, keep: int) -> Callable[[], None]:
    """Raw keeps signals off and takes lines of any length; cooked lines end at 4095 bytes, as the kernel has it."""

    def prepare() -> None:
        os.set_inheritable(keep, True)
        if kind == "raw":
            tty.setraw(0)
        else:
            modes = termios.tcgetattr(0)
            modes[1] &= ~termios.OPOST
            termios.tcsetattr(0, termios.TCSANOW, modes)

    return prepare
