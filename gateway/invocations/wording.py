"""What the room is told when an invocation ends or waits: one sentence that says what happened and what to do."""

import re
from datetime import UTC, datetime

from gateway.invocations.sentences import ENDINGS, SENTENCES


def ending(*, state: str, reason: str, detail: str, agent: str, invocation_id: int) -> str:
    """The sentence for a final state other than done; `detail` is one line of data, never a traceback."""
    template = SENTENCES.get(reason) or ENDINGS[state]
    line = " ".join(detail.split())[:300].rstrip(".")
    because = f": {line}" if line else ""
    return template.format(agent=agent, because=because, id=invocation_id, limit=line)


def waiting(*, agent: str, until: datetime) -> str:
    return (
        f"{agent} is asleep: its bridge is offline. Your question starts by itself when it comes back, and expires at"
        f" {at(until)}; `!stop` takes it back."
    )


def queued(*, agent: str, place: int, invocation_id: int) -> str:
    where = "comes next" if place <= 1 else f"is number {place} in its queue"
    return f"{agent} is busy; this question {where} and starts by itself. 🛑 on it or `!stop {invocation_id}` takes it back."


def at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%H:%M UTC on %d %b")


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
