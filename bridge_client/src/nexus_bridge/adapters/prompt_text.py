"""Prompt text is data: how a turn parts what its CLI would take for its own syntax."""

import re
from typing import Final

BREAK: Final = "\u200b"
"""A zero-width space: people don't see it, a CLI no longer takes what it parts for its own syntax."""

_MENTION: Final = re.compile(r"(?<![\w.+-])@(?!\u200b)")
_LEADING: Final = re.compile(r"\A(?=\s*[/!#])")
_DOLLAR: Final = re.compile(r"(?<!\w)\$(?=[A-Za-z])")


def break_syntax(text: str) -> str:
    """Prompt text must neither pull in files (`@path`) nor run commands (a leading `/`, `!` or `#`).

    CLIs expand `@` at the start and after white space, and a slash command at the very start; all other places
    where a later version might are broken as well. Addresses (a@b) stay as they are.
    """
    return _LEADING.sub(BREAK, _MENTION.sub(f"@{BREAK}", text), count=1)


def break_dollar(text: str) -> str:
    """For CLIs that read `$name` as a call of the skill of that name."""
    return _DOLLAR.sub(f"${BREAK}", text)
