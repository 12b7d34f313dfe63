"""The container's door: `python -m docker.start NAME` becomes that program, listening for the other containers."""

import os
import sys
from collections.abc import Sequence
from typing import Final

from docker import roster
from docker.programs import WATCHED

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - inside a container; compose.yml says what the host publishes
PORTS: Final = {
    "devchat": 3000,
    "gateway": 4000,
    "composer": 4001,
    "runtime": 4002,
    "chat": 4003,
    "sweep": 4004,
    "mem0-api": 4100,
}
"""Where each listens; the workers and loops only to tell how they are."""

_EX_USAGE: Final = 64


def command(name: str, *more: str) -> tuple[str, ...]:
    """Python's arguments; raises KeyError for a name that is none."""
    if name == "prepare":
        return ("-m", "docker.prepare")
    arguments = roster.arguments(name, env=os.environ, host=EVERYWHERE, port=PORTS.get(name, 0))
    return (*arguments, *more)


def main(argv: Sequence[str]) -> None:
    try:
        arguments = command(*argv)
    except (KeyError, TypeError):
        known = ", ".join(("prepare", "devchat", *roster.SERVICES))
        sys.stderr.write(f"Say which program to run, one of: {known}\n")
        raise SystemExit(_EX_USAGE) from None
    if argv[0] in WATCHED:
        # .env may say where runtime_host tells how it is; in containers each has its own address, so this is fixed.
        os.environ.update(NEXUS_WATCH_HOST=EVERYWHERE, NEXUS_WATCH_PORT=str(PORTS[argv[0]]))
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - this process is to become the program


if __name__ == "__main__":
    main(sys.argv[1:])
