"""What the owner of this machine allows: who may ask which agent, and what a tool may do without being asked about.

Pure rules. They hold whatever the hub says: the hub can only be stricter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from nexus_bridge.orders import Refusal
from nexus_bridge.protocol import Prompt

Verdict = Literal["deny", "local", "ask", "allow"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Patterns with * for tools: `Bash`, `Bash(git *)`, `mcp__*`. The strictest list that matches wins.

    `local` asks at the bridge's own terminal, `ask` in the room. What no list names is `default`.
    """

    deny: Sequence[str] = ()
    local: Sequence[str] = ()
    ask: Sequence[str] = ()
    allow: Sequence[str] = ()
    default: Verdict = "ask"


@dataclass(frozen=True, slots=True)
class Audience:
    """Who may ask an agent, by user name or id, and where, by room name or id; empty is whoever the hub lets through."""

    callers: Sequence[str] = ()
    rooms: Sequence[str] = ()


def refusal(*, audience: Audience, offer: Prompt) -> Refusal | None:
    """Why this prompt is not taken, in words for the room."""
    if audience.callers and not _names(audience.callers, offer.asker.username, offer.asker.id):
        who = offer.asker.username or "this person"
        return Refusal(reason="not_allowed", message=f"The owner of {offer.agent} takes no prompts from {who}.")
    if audience.rooms and not _names(audience.rooms, offer.room.name, offer.room.id):
        return Refusal(reason="not_allowed", message=f"The owner of {offer.agent} takes no prompts from this room.")
    return None


def verdict(*, rules: Rules, tool: str, detail: str) -> Verdict:
    """What is to happen when a CLI asks to use `tool` for `detail` (a command, a path, a diff)."""
    lists: tuple[tuple[Verdict, Sequence[str]], ...] = (
        ("deny", rules.deny),
        ("local", rules.local),
        ("ask", rules.ask),
        ("allow", rules.allow),
    )
    for name, patterns in lists:
        if any(_matches(pattern, tool=tool, detail=detail, is_grant=name == "allow") for pattern in patterns):
            return name
    return rules.default


def is_still_allowed(*, rules: Rules, tool: str, detail: str) -> bool:
    """Asked again when a person at the hub said yes: a tool that is denied or asked locally is not theirs to allow."""
    return verdict(rules=rules, tool=tool, detail=detail) in ("ask", "allow")


def _names(wanted: Sequence[str], *actual: str) -> bool:
    return any(one.lstrip("@#") in actual for one in wanted if one.lstrip("@#"))


def _matches(pattern: str, *, tool: str, detail: str, is_grant: bool) -> bool:
    name, paren, inner = pattern.partition("(")
    if not fnmatchcase(tool, name):
        return False
    if not paren:
        return True
    inner = inner.removesuffix(")")
    if is_grant:
        # `git *` must not let `git status; rm -rf ~` through: a grant is for one plain command.
        return fnmatchcase(detail, inner) and not any(sign in detail for sign in SHELL_SIGNS)
    return fnmatchcase(detail, inner) or any(fnmatchcase(part, inner) for part in _commands(detail))


SHELL_SIGNS = (";", "&", "|", "`", "$(", "<", ">", "\n")


def _commands(detail: str) -> Sequence[str]:
    """The single commands of a shell line, roughly: for rules that restrict, a match too many does no harm."""
    for sign in SHELL_SIGNS:
        detail = detail.replace(sign, "\n")
    return [part.strip() for part in detail.split("\n")]
