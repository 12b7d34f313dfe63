"""What the room is told when an invocation ends or waits: one sentence that says what happened and what to do."""

from datetime import UTC, datetime

from gateway.invocations.sentences import ENDINGS, SENTENCES


def ending(*, state: str, reason: str, detail: str, agent: str, invocation_id: int) -> str:
    """The sentence for a final state other than done; `detail` is one line of data, never a traceback."""
    template = SENTENCES.get(reason) or ENDINGS[state]
    line = " ".join(detail.split())[:300].rstrip(".")
    because = "" if not line else f" {line}" if line.startswith("by ") else f": {line}"
    return template.format(agent=agent, because=because, id=invocation_id, limit=line)


def waiting(*, agent: str, until: datetime) -> str:
    return (
        f"{agent} is asleep: its bridge is offline. Your question starts by itself when it comes back, and expires at"
        f" {at(until)}; `!stop` takes it back."
    )


def queued(*, agent: str, asker: str, place: int, invocation_id: int) -> str:
    where = "comes next" if place <= 1 else f"is number {place} in its queue"
    return (
        f"{agent} is busy; {asker}'s question {where} and starts by itself."
        f" 🛑 on it or `!stop {invocation_id}` takes it back."
    )


def at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%H:%M UTC on %d %b")


def age(*, since: datetime, now: datetime) -> str:
    minutes = max(1, int((now - since).total_seconds() // 60))
    if minutes == 1:
        return "it is a minute old"
    return f"it is {minutes} minutes old" if minutes < 120 else f"it is {minutes // 60} hours old"


def absent(*, agent: str) -> str:
    return f"{agent} is not in this room, so it does not hear this. Invite it and ask again."
