"""Which program is run for a CLI kind, and which of these are there?"""

import shutil
from collections.abc import Mapping, Sequence
from typing import Final

DEFAULT_COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "claude": ("claude",),
    "codex": ("codex",),
    "gemini": ("gemini",),
    "cursor": ("cursor-agent",),  # `cursor` is the editor
    "hermes": ("hermes",),
    "opencode": ("opencode",),
    "echo": (),
}
"""What is run when an agent names no `command`; `acp` and `pty` have to."""


def found_programs(env: Mapping[str, str]) -> list[tuple[str, str]]:
    """The CLIs on PATH: kind and program."""
    found = []
    for kind, command in sorted(DEFAULT_COMMANDS.items()):
        if command and (program := shutil.which(command[0], path=env.get("PATH"))) is not None:
            found.append((kind, program))
    return found
