"""What the room is told when an invocation ends or waits: one sentence that says what happened and what to do."""

import re
from datetime import UTC, datetime
from typing import Final

RETRY: Final = "`!retry` asks again."

SENTENCES: Final[dict[str, str]] = {
    "compose_failed": f"I could not build the prompt{{because}}. {RETRY}",
    "poison": "Building the prompt crashed three times, so I stopped. The host's operator finds it as invocation {id}.",
    "stopped": "Stopped{because}.",
    "message_deleted": "The question was deleted, so I stopped.",
    "offline": f"{{agent}} was not online in time, so this question has expired. {RETRY}",
    "agent_disabled": "{agent} has been switched off. Its owner or an admin can switch it on again.",
    "bridge_revoked": "{agent}'s bridge has been revoked, so it can't answer. Its owner needs a new bridge token.",
    "not_allowed": "You may not ask {agent} here{because}. Its owner can change that.",
    "refused": "{agent}'s bridge refused this question{because}.",
    "run_lost": f"The run was cut off on {{agent}}'s machine{{because}}; what it had said stays. It is not started again by itself. {RETRY}",
    "journal_lost": f"{{agent}}'s bridge came back without its journal, so the run is lost. It is not started again by itself. {RETRY}",
    "bridge_gone": f"{{agent}}'s bridge has been gone too long, so the run is lost. {RETRY}",
    "wall_limit": f"The run took longer than its limit and was stopped. {RETRY}",
    "offer_unanswered": f"{{agent}}'s bridge is online but did not take the question. {RETRY}",
    "output_corrupt": f"The answer arrived damaged twice, so I show what is certain. {RETRY}",
    "output_lost": f"A part of the answer was lost on {{agent}}'s machine, so I show what is certain. {RETRY}",
    "too_old": f"I see this question only now{{because}}, so I have not started by myself. {RETRY}",
    "chain_limit": "This chain of agents has reached its limit of {limit} hops, so it stops here.",
}

ENDINGS: Final[dict[str, str]] = {
    "failed": f"{{agent}} failed{{because}}. {RETRY}",
    "cancelled": "Stopped{because}.",
    "interrupted": f"The run was cut off{{because}}. It is not started again by itself. {RETRY}",
    "expired": f"This question has expired{{because}}. {RETRY}",
    "refused": "{agent} refused{because}.",
}


def ending(*, state: str, reason: str, detail: str, agent: str, invocation_id: int) -> str:
    """The sentence for a final state other than done; `detail` is one line of data, never a traceback."""
    template = SENTENCES.get(reason) or ENDINGS[state]
    line = " ".join(detail.split())[:300].rstrip(".")
    because = f": {line}" if line else ""
    return template.format(agent=agent, because=because, id=invocation_id, limit=line)


def waiting(*, agent: str, until: datetime) -> str:
    at = until.astimezone(UTC).strftime("%H:%M UTC on %d %b")
    return (
        f"{agent} is offline. Your question waits for its bridge until {at} and then expires; `!stop` takes it back."
    )


def age(*, since: datetime, now: datetime) -> str:
    minutes = max(1, int((now - since).total_seconds() // 60))
    return f"it is {minutes} minutes old" if minutes < 120 else f"it is {minutes // 60} hours old"


def absent(*, agent: str) -> str:
    return f"{agent} is not in this room, so it does not hear this. Invite it and ask again."


def questions(*, agent: str, owner: str, questions: list[tuple[str, str, str, str]], minutes: int) -> str:
    """The card of a run's permission requests: (tool, whole command or diff, decision, decided by) each."""
    parts = []
    for tool, detail, decision, by in questions:
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", detail)), default=0))
        who = f" by {by}" if by else ""
        state = {"allow": f"allowed{who}", "deny": f"denied{who}", "expired": "denied: nobody answered in time"}
        head = f"**{tool}** – {state[decision]}" if decision else f"**{agent} asks to use {tool}**"
        parts.append(f"{head}\n{fence}\n{detail}\n{fence}" if detail and not decision else head)
    if any(not decision for _, _, decision, _ in questions):
        who = f"@{owner} or an approver" if owner else "An approver"
        parts.append(f"{who} answers with `!approve` or `!deny reason`; no answer within {minutes} minutes is a no.")
    return "\n\n".join(parts)
