"""Who is addressed by a message? Pure rules: prose without code and quotes, and whom it names."""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Protocol

ENCRYPTED: Final = "e2e"
"""The system type of a message that only its room's people can read."""

# Rocket.Chat's fences: three backticks at the start of a line, closed on a line of their own; unclosed ones are prose.
_FENCE_OPENS: Final = re.compile(r"[ \t]*```[^`]*")
_FENCE_CLOSES: Final = re.compile(r"[ \t]*```[ \t]*")
_TICKS: Final = re.compile(r"`+")
_LINK: Final = re.compile(r"https?://\S+")
# The signs a username may hold; those at its end may belong to the sentence: "ask @bob." means bob.
_NAME: Final = re.compile(r"(?<![0-9A-Za-z_@./\-])@([0-9A-Za-z](?:[0-9A-Za-z]|[-_.]+(?=[0-9A-Za-z]))*)")


class Spoken(Protocol):
    """What the rules need to know of a message; `mentions` are the user ids that the chat itself found."""

    @property
    def user_id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def mentions(self) -> tuple[str, ...]: ...
    @property
    def system_type(self) -> str: ...
    @property
    def is_by_program(self) -> bool: ...
    @property
    def is_ephemeral(self) -> bool: ...
    @property
    def is_encrypted(self) -> bool: ...
    @property
    def is_imported(self) -> bool: ...


def may_ask(message: Spoken, *, programs: Collection[str]) -> bool:
    """Whether a message can address an agent at all: said by a person, now. An encrypted one can: to hear why not."""
    return not (
        message.system_type not in ("", ENCRYPTED)
        or message.is_by_program
        or message.is_ephemeral
        or message.is_imported
        or message.user_id in programs
    )


def mentioned(message: Spoken, *, usernames: Mapping[str, str]) -> tuple[str, ...]:
    """User ids out of `usernames` (id → username) that the chat found and that stand in prose, in the chat's order."""
    named = [user_id for user_id in message.mentions if user_id in usernames]
    if not named:
        return ()
    if message.is_encrypted:
        return tuple(named)
    said = {name.lower() for name in names_in(message.text)}
    return tuple(user_id for user_id in named if usernames[user_id].lower() in said)


def addressed(
    message: Spoken,
    *,
    agents: Mapping[str, int],
    usernames: Mapping[str, str],
    direct: int | None = None,
    thread_owner: int | None = None,
) -> tuple[int, ...]:
    """Agents that a message of a person asks.

    Mentions win. Without any, the only agent of a direct room is meant; and in a thread that belongs to an agent, that
    one, unless the message turns to somebody else.
    """
    named = mentioned(message, usernames=usernames)
    if named:
        return tuple(dict.fromkeys(agents[user_id] for user_id in named if user_id in agents))
    if direct is not None:
        return (direct,)
    if thread_owner is not None and not message.mentions:
        return (thread_owner,)
    return ()


def handovers(*, text: str, agents: Iterable[tuple[str, int]]) -> list[int]:
    """Agents (username, id) that an agent's own text mentions in prose, each once, in the order of the text."""
    ids = {username.lower(): agent_id for username, agent_id in agents}
    found = (ids[name.lower()] for name in names_in(text) if name.lower() in ids)
    return list(dict.fromkeys(found))


def names_in(text: str) -> list[str]:
    """Every @name of the prose, without the @."""
    return _NAME.findall(prose(text)) if "@" in text else []


def prose(text: str) -> str:
    """The text without code, quoted lines and links. Linear in its length: people write anything."""
    lines = text.split("\n")
    if "`" in text:
        lines = [_without_code(line) if "`" in line else line for line in _without_fences(lines)]
    said = "\n".join(line for line in lines if not line.lstrip(" \t").startswith(">"))
    return _LINK.sub(" ", said) if "://" in said else said


def _without_fences(lines: list[str]) -> list[str]:
    closing = [number for number, line in enumerate(lines) if _FENCE_CLOSES.fullmatch(line)]
    kept: list[str] = []
    number = 0
    while number < len(lines):
        if "```" in lines[number] and _FENCE_OPENS.fullmatch(lines[number]):
            end = bisect_right(closing, number)
            if end < len(closing):
                number = closing[end] + 1
                continue
        kept.append(lines[number])
        number += 1
    return kept


def _without_code(line: str) -> str:
    """A span of code ends at the next run of as many backticks."""
    runs = [found.span() for found in _TICKS.finditer(line)]
    partner: list[int | None] = [None] * len(runs)
    latest: dict[int, int] = {}
    for number in range(len(runs) - 1, -1, -1):
        start, end = runs[number]
        partner[number] = latest.get(end - start)
        latest[end - start] = number
    kept: list[str] = []
    at = number = 0
    while number < len(runs):
        other = partner[number]
        if other is None:
            number += 1
            continue
        kept.append(line[at : runs[number][0]])
        at = runs[other][1]
        number = other + 1
    return " ".join([*kept, line[at:]])
