"""`!help`, `!who` and `!jobs`: what there is, and who is at what."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from gateway.commands.registry import MAX_ROWS, Order, command, help_text
from gateway.invocations import OPEN, wording
from gateway.invocations.places import places
from gateway.models import LIVE, Agent, Invocation, Purpose, State
from runtime.reply import duration, one_line

_SHOWN: Final = 20
"""Rows that `!jobs` lists; a room with more of them is told how many there are."""

_MENTIONS: Final = re.compile(r"\A(?:\s*@\S+)+\s*")

DOING: Final[dict[str, str]] = {
    State.QUEUED: "waits for its turn",
    State.WAITING: "waits for its bridge",
    State.COMPOSING: "reads what the team knows",
    State.COMPOSED: "is about to start",
    State.OFFERED: "is about to start",
    State.RUNNING: "works",
}


@command("help", help="shows this")
def show_help(_order: Order) -> str:
    return (
        f"{help_text()}\n"
        "Mention an agent to ask it; in a direct chat just write. Put a number or an agent's name behind a command to"
        " mean that one.\n"
        "As a reaction: 🛑 stops, 🔁 asks again, 📌 pins, ✅ allows and ❌ denies what an agent asks to do."
    )


@command("who", help="names the agents of this room and what they are at")
def who(order: Order) -> str:
    agents = Agent.objects.filter(memberships__room_id=order.place.room_id, bot_account__isnull=False)
    found = list(agents.select_related("bot_account", "owner", "bridge").order_by("slug"))
    if not found:
        return "No agent is in this room. Invite one, and mention it to ask it."
    online = set(agents.online().values_list("pk", flat=True))
    rows = Invocation.objects.filter(agent__in=found, state__in=OPEN).select_related("root_asker")
    at_work: dict[int, list[Invocation]] = {}
    for row in rows.order_by("pk")[: MAX_ROWS * 4]:
        at_work.setdefault(row.agent_id, []).append(row)
    return "\n".join(
        _one_agent(agent, is_online=agent.pk in online, rows=at_work.get(agent.pk, []), order=order) for agent in found
    )


@command("jobs", help="lists the open questions of this room")
def jobs(order: Order) -> str:
    rows = order.scope().filter(state__in=OPEN).select_related("root_asker").order_by("message__ts", "pk")
    count = rows.count()
    if not count:
        return "No question is open here."
    shown = list(rows[:_SHOWN])
    waiting = places(row.pk for row in shown if row.state == State.QUEUED)
    lines = [_one_row(row, place=waiting.get(row.pk, 0), now=order.now) for row in shown]
    if count > _SHOWN:
        lines.append(f"… and {count - _SHOWN} more.")
    return "\n".join(lines)


def _one_agent(agent: Agent, *, is_online: bool, rows: Sequence[Invocation], order: Order) -> str:
    # Without the @: a list of agents must not ask them all.
    account = getattr(agent, "bot_account", None)
    name = account.username if account is not None else agent.slug
    owner = f", of {agent.owner.username}" if agent.owner is not None else ""
    return f"`{name}` ({agent.cli_kind}{owner}): {_presence(agent, is_online=is_online)}{_work(rows, order=order)}"


def _presence(agent: Agent, *, is_online: bool) -> str:
    if not agent.is_enabled:
        return "switched off"
    if is_online:
        return "online"
    seen = agent.bridge.last_seen_at if agent.bridge is not None else None
    return "asleep" if seen is None else f"asleep, last seen {seen:%d %b %H:%M} UTC"


def _work(rows: Sequence[Invocation], *, order: Order) -> str:
    """What it is busy with. Of other rooms nothing is told but that there is something."""
    asked = [row for row in rows if row.purpose == Purpose.ANSWER]
    live = [row for row in asked if row.state in LIVE]
    waiting = sum(row.state in (State.QUEUED, State.WAITING) for row in asked)
    facts = []
    here = [row for row in live if row.room_id == order.place.room_id]
    facts += [f"at #{row.pk} of {row.root_asker.username} {_for(row, now=order.now)}" for row in here]
    if elsewhere := len(live) - len(here):
        facts.append(f"at {elsewhere} in other rooms")
    if any(row.purpose == Purpose.SUMMARY and row.state in LIVE for row in rows):
        facts.append("summarising for the host")
    if waiting:
        facts.append(f"{waiting} waiting")
    return f"; {', '.join(facts)}" if facts else ""


def _one_row(row: Invocation, *, place: int, now: datetime) -> str:
    doing = f"{DOING.get(row.state, row.state)} {_for(row, now=now)}"
    if row.state == State.WAITING:
        doing += f", until {wording.at(row.wait_until)}"
    elif place:
        doing += f", number {place} in the queue"
    what = one_line(_MENTIONS.sub("", row.message.text)) or "a message without text"
    return f"`#{row.pk}` {row.agent.slug} {doing} · {row.root_asker.username}: {what}"


def _for(row: Invocation, *, now: datetime) -> str:
    since = row.running_at if row.state == State.RUNNING and row.running_at else row.opened_at
    return f"for {duration(max(round((now - since).total_seconds()), 1))}"
