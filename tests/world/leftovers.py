"""Which processes of a test's Nexus are still there, whoever started them? Found by a mark in their environment."""

import os
import secrets
import time
from pathlib import Path

_POLL_S = 0.1


class Mark:
    """A directory that does not exist, at the end of PATH: every program, bridge and CLI hands PATH on."""

    def __init__(self) -> None:
        self.text = f"/nonexistent/nexus-mark-{secrets.token_hex(8)}"
        self._before = os.environ.get("PATH", os.defpath)

    def set(self) -> None:
        os.environ["PATH"] = f"{self._before}:{self.text}"

    def remove(self) -> None:
        os.environ["PATH"] = self._before

    def processes(self) -> list[str]:
        """`PID command` of each process that carries the mark now."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and self.text.encode() in _read(entry / "environ"):
                command = _read(entry / "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
                found.append(f"{entry.name} {command}")
        return found

    def wait_gone(self, *, timeout_s: float) -> list[str]:
        """What is still there after that time."""
        deadline = time.monotonic() + timeout_s
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return left


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
