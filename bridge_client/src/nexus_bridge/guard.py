"""The guard: parent of one CLI, and the reason why nothing of its process tree outlives it.

Started by file name with `python -I -S`: standard library only, small, quick. It is the subreaper of the CLI's tree, so
that also what called setsid or forked twice stays below it. It ends the tree (TERM, then KILL) when the bridge says so,
when the CLI is gone, and when the bridge is: then the control socket, its only argument of weight, reads end-of-file.

Control socket, lines. Bridge: `kill`, `settle PIDS-TO-SPARE`, `signal N`. Guard: `started PID`, `failed WHY`, `exited CODE`,
`settled`, `limit WHICH`.
"""

import os
import select
import signal
import sys
import time

TERM_GRACE_S = 3.0
GIVE_UP_S = 9.0
POLL_S = 1.0
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ON_LINUX = sys.platform.startswith("linux")


def descendants(pid: int) -> list[int]:
    """All living processes below this one, parents first; nothing elsewhere than on Linux."""
    found = _children(pid)
    for child in found:
        found += _children(child)
    return found


class Tree:
    """The processes below this one. Elsewhere than on Linux: the CLI's process group only."""

    def __init__(self) -> None:
        self.main = 0
        self.exit_code: int | None = None

    def start(self, *, argv: list[str], has_terminal: bool) -> None:
        """Fork and exec; raises OSError with the reason the exec gave."""
        reader, writer = os.pipe()
        self.main = os.fork()
        if self.main == 0:
            os.close(reader)
            _become(argv=argv, has_terminal=has_terminal, failures=writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as failures:
            failure = failures.read()
        if failure:
            os.waitpid(self.main, 0)
            raise OSError(int(failure), os.strerror(int(failure)))

    def reap(self) -> bool:
        """Collect the dead; false once no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.main:
                self.exit_code = os.waitstatus_to_exitcode(status)

    def pids(self) -> list[int]:
        """All living descendants."""
        return descendants(os.getpid())

    def leftovers(self, *, known: set[int]) -> list[int]:
        """What a finished turn left behind: orphans, and what left the CLI's process group since the turn began.

        MCP servers are plain children of the CLI and stay in its group.
        """
        own = set(_children(os.getpid())) - {self.main}
        below = {pid for orphan in own for pid in descendants(orphan)}
        strays = {pid for pid in self.pids() if pid not in known and _group(pid) != self.main}
        return [pid for pid in (own | below | strays) - {self.main} - known if not _is_zombie(pid)]

    def signal_all(self, number: int) -> None:
        _send(-self.main, number)
        for pid in self.pids():
            _send(pid, number)


def _become(*, argv: list[str], has_terminal: bool, failures: int) -> None:
    """In the child: own session, death with the guard, default signals, then the CLI."""
    try:
        os.setsid()
        if has_terminal:
            import fcntl
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.execvp(argv[0], argv)  # noqa: S606 - the owner's own command, as a list, no shell
    except OSError as problem:
        os.write(failures, str(problem.errno).encode())
    finally:
        os._exit(127)


def _prctl(option: int, value: int) -> None:
    if ON_LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - no pathlib either
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as listing:  # noqa: PTH123
                found += map(int, listing.read().split())
    except OSError:
        pass  # gone while we looked, or not Linux
    return found


def _is_zombie(pid: int) -> bool:
    """Dead already; its parent, the CLI, has only not looked yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as status:  # noqa: PTH123
            return status.read().rpartition(b")")[2].split()[0] == b"Z"
    except (OSError, IndexError):
        return True


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def memory_kib(pid: int) -> int:
    """What it holds in memory; nothing for one that is gone, and elsewhere than on Linux."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as sizes:  # noqa: PTH123
            return int(sizes.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)
    except (OSError, IndexError):
        return 0


def _send(pid: int, number: int) -> None:
    try:  # noqa: SIM105 - contextlib costs 5 ms of start-up time
        os.kill(pid, number)
    except OSError:
        pass  # already gone: what we wanted


class Guard:
    """The loop: one control socket, one tree, timers as deadlines."""

    def __init__(self, *, control: int, max_processes: int, max_memory_mib: int, files: str) -> None:
        self._control = control
        self._max_processes = max_processes
        self._max_memory_mib = max_memory_mib
        self._files = files
        self._tree = Tree()
        self._received = b""
        self._known: set[int] = set()
        os.set_inheritable(control, False)
        self._settle_until = 0.0
        self._ending_since = 0.0
        self._said_exit = False

    def run(self, *, argv: list[str], has_terminal: bool) -> int:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        wake = _wake_on_signals()
        if has_terminal:
            _leave_terminal()
        try:
            self._tree.start(argv=argv, has_terminal=has_terminal)
        except OSError as problem:
            self._say(f"failed {problem.strerror}")
            self._remove_files()
            return 127
        _let_go_of_streams()
        self._say(f"started {self._tree.main}")
        while self._tree.reap():
            self._step(wake)
        self._say_exit()
        self._remove_files()
        return 0

    def _step(self, wake: int) -> None:
        if self._tree.exit_code is not None:
            self._say_exit()
            self._end()
        ready, _, _ = select.select([wake] if self._control < 0 else [wake, self._control], [], [], self._pause_s())
        if wake in ready:
            self._handle_signals(os.read(wake, 64))
        if self._control in ready:
            self._handle_control()
        self._go_on_ending()
        self._go_on_settling()
        self._check_limits()

    def _pause_s(self) -> float:
        return 0.05 if self._ending_since or self._settle_until else POLL_S

    def _handle_signals(self, numbers: bytes) -> None:
        if any(number in numbers for number in (signal.SIGTERM, signal.SIGINT)):
            self._end()

    def _handle_control(self) -> None:
        try:
            data = os.read(self._control, 4096)
        except OSError:
            data = b""
        if not data:
            os.close(self._control)
            self._control = -1
            self._end()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._obey(line.decode("ascii", "replace").split())

    def _obey(self, words: list[str]) -> None:
        if words == ["kill"]:
            self._end()
        elif words[:1] == ["settle"]:
            self._known = set(map(int, words[1:]))
            self._settle_until = time.monotonic() + TERM_GRACE_S
            self._signal_leftovers(signal.SIGTERM)
        elif words[:1] == ["signal"]:
            _send(-self._tree.main, int(words[1]))

    def _end(self) -> None:
        if not self._ending_since:
            self._ending_since = time.monotonic()
            self._tree.signal_all(signal.SIGTERM)
            self._tree.signal_all(signal.SIGCONT)

    def _go_on_ending(self) -> None:
        if not self._ending_since:
            return
        passed = time.monotonic() - self._ending_since
        if passed >= TERM_GRACE_S:
            self._tree.signal_all(signal.SIGKILL)
        if passed >= GIVE_UP_S:
            # What KILL can't end within that time hangs in the kernel; its parent must not wait for it for ever.
            self._remove_files()
            os._exit(1)

    def _go_on_settling(self) -> None:
        if not self._settle_until:
            return
        # Twice: who loses its parent during one look may stand below neither the old one nor us.
        left = self._tree.leftovers(known=self._known) or self._tree.leftovers(known=self._known)
        if left and time.monotonic() >= self._settle_until:
            self._signal_leftovers(signal.SIGKILL)
        if not left:
            self._settle_until = 0.0
            self._say("settled")

    def _signal_leftovers(self, number: int) -> None:
        for pid in self._tree.leftovers(known=self._known):
            _send(pid, number)

    def _check_limits(self) -> None:
        if self._ending_since or not (self._max_processes or self._max_memory_mib):
            return
        pids = self._tree.pids()
        if self._max_processes and len(pids) > self._max_processes:
            self._stop_for("processes")
        elif self._max_memory_mib and sum(map(memory_kib, pids)) > self._max_memory_mib * 1024:
            self._stop_for("memory")

    def _stop_for(self, which: str) -> None:
        """No grace: a fork bomb uses each second of it."""
        self._say(f"limit {which}")
        self._end()
        self._ending_since -= TERM_GRACE_S

    def _say_exit(self) -> None:
        if self._tree.exit_code is not None and not self._said_exit:
            self._said_exit = True
            self._say(f"exited {self._tree.exit_code}")

    def _say(self, line: str) -> None:
        if self._control >= 0:
            try:  # noqa: SIM105
                os.write(self._control, f"{line}\n".encode())
            except OSError:
                pass  # the bridge is gone; end-of-file says so in a moment

    def _remove_files(self) -> None:
        if self._files:
            try:
                for name in os.listdir(self._files):  # noqa: PTH208
                    os.unlink(os.path.join(self._files, name))  # noqa: PTH108, PTH118
                os.rmdir(self._files)  # noqa: PTH106
            except OSError:
                pass  # somebody else removed them


def _wake_on_signals() -> int:
    """A pipe that becomes readable when a child ends or somebody wants us to stop."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return reader


def _leave_terminal() -> None:
    """Give up the controlling terminal, so that the CLI's own session can have it."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCNOTTY, 0)


def _let_go_of_streams() -> None:
    """The streams are the CLI's alone: held here too, they would never read end-of-file in the bridge."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)


def main(arguments: list[str]) -> int:
    control, terminal, processes, memory, files, *argv = arguments
    guard = Guard(control=int(control), max_processes=int(processes), max_memory_mib=int(memory), files=files)
    return guard.run(argv=argv, has_terminal=terminal == "terminal")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
