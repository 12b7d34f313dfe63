"""How a program that only speaks to a terminal gets one: pexpect opens it, streams.py reads it.

Nothing of the stream passes through pexpect (a fifth of the speed, and it sleeps): it forks the guard onto a new
terminal, and from then on we own the descriptor.
"""

import os
import termios
import tty
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pexpect
import ptyprocess

ROWS, COLUMNS = 50, 400
"""Wide, so that programs which fold lines at the edge don't."""


def _open(*, argv: Sequence[str], keep: int, **options: Any) -> Any:  # Any: pexpect's options, and its own object
    """pexpect's child, with one descriptor more kept open: the guard's control socket."""

    class Child(pexpect.spawn):  # type: ignore[type-arg]
        def _spawnpty(self, args: Sequence[str], **own: Any) -> Any:
            return ptyprocess.PtyProcess.spawn(args, pass_fds=(keep,), **own)

    return Child(argv[0], list(argv[1:]), **options)


def open_terminal(
    *, argv: Sequence[str], cwd: Path, env: Mapping[str, str], kind: str, control: int
) -> tuple[int, int]:
    """Start the guard on a new terminal without echo: its pid and our side of the terminal."""
    child = _open(
        argv=argv,
        keep=control,
        cwd=str(cwd),
        env=dict(env),
        echo=False,
        dimensions=(ROWS, COLUMNS),
        preexec_fn=_prepare(kind=kind, keep=control),
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
