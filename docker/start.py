"""The container's door: `python -m docker.start NAME` becomes that program, listening for the other containers."""

import os
import sys
from collections.abc import Sequence
from typing import Final

from docker import roster

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - inside a container; compose.yml says what the host publishes
PORTS: Final = {"gateway": 4000, "mem0-api": 4100, "devchat": 3000}
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
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - this process is to become the program


if __name__ == "__main__":
    main(sys.argv[1:])
