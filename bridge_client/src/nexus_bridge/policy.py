"""What the owner of this machine allows: who may ask which agent, and what a tool may do without being asked about.

Pure rules. They hold whatever the hub says: the hub can only be stricter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, get_args

from nexus_bridge.orders import Refusal
from nexus_bridge.protocol import TOOL_NAME, Policy, Prompt, RuleCount, Verdict

STRICTEST_FIRST: Final[tuple[Verdict, ...]] = get_args(Verdict)


@dataclass(frozen=True, slots=True)
class Act:
    """What a CLI wants to do, for whom, where and when; `hour` is the local time of day, 13.5 for half past one.

    `kind` is the kind of tool (read, edit, execute, …), `paths` are whole and resolved.
    """

    tool: str
    detail: str = ""
    kind: str = ""
    paths: Sequence[str] = ()
    asker: Sequence[str] = ()
    room: Sequence[str] = ()
    hour: float = 12.0


@dataclass(frozen=True, slots=True)
class Condition:
    """One `[[policy.rule]]`: all that is set must fit. `hours` (from, to) may go over midnight."""

    verdict: Verdict
    tool: str = "*"
    path: str = ""
    room: Sequence[str] = ()
    asker: Sequence[str] = ()
    hours: tuple[float, float] | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is to happen and the rule that says so, in the owner's own words."""

    verdict: Verdict
    because: str


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
    conditions: Sequence[Condition] = ()


@dataclass(frozen=True, slots=True)
class Audience:
    """Who may ask an agent, by user name or id, and where, by room name or id; empty is whoever the hub lets through."""

    callers: Sequence[str] = ()
    rooms: Sequence[str] = ()


MAX_TOLD: Final = 16
"""Tools named to the hub for each verdict."""


def summary(*, agent: str, rules: Rules, audience: Audience, permission_s: float) -> Policy:
    """What the hub is told of the rules: how many there are and for which tools, not what they say."""

    def count(verdict: Verdict, patterns: Sequence[str]) -> RuleCount:
        tools = [*patterns, *(one.tool for one in rules.conditions if one.verdict == verdict)]
        names = dict.fromkeys(tool.partition("(")[0] for tool in tools)
        return RuleCount(rules=len(tools), tools=[name for name in names if _is_plain(name)][:MAX_TOLD])

    return Policy(
        agent=agent,
        default=rules.default,
        deny=count("deny", rules.deny),
        local=count("local", rules.local),
        ask=count("ask", rules.ask),
        allow=count("allow", rules.allow),
        callers=len(audience.callers),
        rooms=len(audience.rooms),
        permission_s=max(1, int(permission_s)),
    )


def refusal(*, audience: Audience, offer: Prompt) -> Refusal | None:
    """Why this prompt is not taken, in words for the room."""
    if audience.callers and not _names(audience.callers, offer.asker.username, offer.asker.id):
        who = offer.asker.username or "this person"
        return Refusal(reason="not_allowed", message=f"The owner of {offer.agent} takes no prompts from {who}.")
    if audience.rooms and not _names(audience.rooms, offer.room.name, offer.room.id):
        return Refusal(reason="not_allowed", message=f"The owner of {offer.agent} takes no prompts from this room.")
    return None


def ruling(*, rules: Rules, act: Act) -> Ruling:
    """What is to happen, and by which rule."""
    lists: dict[Verdict, Sequence[str]] = {
        "deny": rules.deny,
        "local": rules.local,
        "ask": rules.ask,
        "allow": rules.allow,
    }
    for name in STRICTEST_FIRST:
        for pattern in lists[name]:
            if _matches(pattern, act=act, is_grant=name == "allow"):
                return Ruling(name, f'{name} = ["{pattern}"]')
        for condition in rules.conditions:
            if condition.verdict == name and _fits(condition, act=act):
                return Ruling(name, condition.words or f"a rule for {condition.tool}")
    return Ruling(rules.default, f'default = "{rules.default}"')


def verdict(*, rules: Rules, act: Act) -> Verdict:
    """What is to happen when a CLI asks to do this."""
    return ruling(rules=rules, act=act).verdict


def is_still_allowed(*, rules: Rules, act: Act) -> bool:
    """Asked again when a person at the hub said yes: a tool that is denied or asked locally is not theirs to allow."""
    return verdict(rules=rules, act=act) in ("ask", "allow")


def _is_plain(name: str) -> bool:
    """A name that a frame takes."""
    return re.match(TOOL_NAME, name) is not None


def _fits(condition: Condition, *, act: Act) -> bool:
    is_grant = condition.verdict == "allow"
    return (
        _matches(condition.tool, act=act, is_grant=is_grant)
        and (not condition.path or _path_fits(condition.path, act.paths, is_grant=is_grant))
        and (not condition.room or _names(condition.room, *act.room))
        and (not condition.asker or _names(condition.asker, *act.asker))
        and (condition.hours is None or _is_within(act.hour, condition.hours))
    )


def _path_fits(pattern: str, paths: Sequence[str], *, is_grant: bool) -> bool:
    """A grant needs every file to fit, and at least one to be known; a rule that restricts needs one to fit."""
    fits = [fnmatchcase(path, pattern) for path in paths]
    return bool(fits) and (all(fits) if is_grant else any(fits))


def _is_within(hour: float, hours: tuple[float, float]) -> bool:
    start, end = hours
    return start <= hour < end if start <= end else hour >= start or hour < end


def _names(wanted: Sequence[str], *actual: str) -> bool:
    return any(one.lstrip("@#") in actual for one in wanted if one.lstrip("@#"))


def _matches(pattern: str, *, act: Act, is_grant: bool) -> bool:
    """By the tool's name as its CLI has it, or by its kind: `Edit` is Claude's, `edit` is every CLI's."""
    name, paren, inner = pattern.partition("(")
    detail = act.detail
    if not fnmatchcase(act.tool, name) and not (act.kind and fnmatchcase(act.kind, name)):
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
