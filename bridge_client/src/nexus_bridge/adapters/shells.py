"""What is really run, without the shell that a CLI wraps round a command."""

import shlex
from collections.abc import Sequence
from typing import Final

_SHELLS: Final = ("bash", "sh", "zsh")


def plain_command(command: str) -> str:
    try:
        parts = shlex.split(command)
    except ValueError:
        return command
    return parts[2] if _is_wrapped(parts) else command


def plain_arguments(arguments: Sequence[str]) -> str:
    return arguments[2] if _is_wrapped(arguments) else shlex.join(arguments)


def _is_wrapped(parts: Sequence[str]) -> bool:
    return len(parts) == 3 and parts[0].rpartition("/")[2] in _SHELLS and parts[1] in {"-lc", "-c"}
