"""A mention in an agent's finished reply asks the next agent: who may be asked, and where a chain stops."""

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models.functions import Now

from gateway import sql
from gateway.invocations import open_invocation, tell
from gateway.invocations.sentences import SENTENCES
from gateway.models import Agent, Invocation, Message, NoticeKind, RoomMember
from runtime.models import ReplyPart
from runtime.reply import Names

PAIR_LIMIT: Final = 6
PAIR_WINDOW: Final = timedelta(minutes=10)
"""So often may one agent ask the same other one in that time, whatever the rooms: two agents that chat stop soon."""

_NAMES: Final = """
SELECT lower(b.username), coalesce(a.is_enabled AND a.id <> %s AND EXISTS (
    SELECT 1 FROM agent_handovers h WHERE h.from_agent_id = a.id AND h.to_agent_id = %s), false)
FROM bot_accounts b LEFT JOIN agents a ON a.id = b.agent_id
"""


def names(*, agent_id: int, hop: int) -> Names:
    """Whose mention hands over from this agent, and whose is broken. At the hop limit nobody's hands over."""
    known: dict[str, bool] = dict(sql.rows(_NAMES, [agent_id, agent_id]))
    handover = frozenset(name for name, is_accepting in known.items() if is_accepting)
    is_last = hop >= settings.NEXUS_MAX_HOPS
    return Names(harmless=frozenset(known) - (frozenset() if is_last else handover), handover=handover)


def open_handovers(*, row: Invocation, message: Message, mentions: tuple[str, ...]) -> list[Invocation]:
    """In the transaction that stores the reply: a row for each agent that its text hands over to."""
    if not mentions:
        return []
    hop = row.hop + 1
    if hop > settings.NEXUS_MAX_HOPS:
        _say(row, SENTENCES["chain_limit"].format(limit=settings.NEXUS_MAX_HOPS))
        return []
    if (spent := _cost_of_chain(row)) >= settings.NEXUS_CHAIN_MAX_USD:
        _say(row, SENTENCES["chain_cost"].format(limit=f"{spent:.2f}"))
        return []
    opened = []
    for agent in _addressed(row=row, mentions=mentions):
        if _asked_often(writer_id=row.agent_id, agent=agent):
            _say(row, f"{row.agent.slug} has asked {agent.slug} {PAIR_LIMIT} times in a short while, so I stop here.")
            continue
        new = open_invocation(
            message=message,
            room=row.room,
            agent=agent,
            root_asker=row.root_asker,
            asker_agent=row.agent,
            hop=hop,
            thread=row.thread,
        )
        if new is not None:
            opened.append(new)
    return opened


def _addressed(*, row: Invocation, mentions: tuple[str, ...]) -> list[Agent]:
    """Members of the room that take hand-overs from the writer, in the order of their mention."""
    in_room = RoomMember.objects.filter(room_id=row.room_id, agent__isnull=False).values("agent_id")
    found = {
        agent.bot_account.username.lower(): agent
        for agent in Agent.objects.select_related("bot_account", "bridge", "owner").filter(
            accepts_handover_from=row.agent_id, is_enabled=True, pk__in=in_room, bot_account__isnull=False
        )
    }
    return [found[name] for name in mentions if name in found and found[name].pk != row.agent_id]


def _cost_of_chain(row: Invocation) -> float:
    """Of this row and of all before it, back to the question of a person."""
    total, seen = 0.0, 0
    at: Invocation | None = row
    while at is not None and seen <= settings.NEXUS_MAX_HOPS:
        total += float(at.cost_usd or 0)
        seen += 1
        wrote = ReplyPart.objects.filter(chat_id=at.message.rc_id).select_related("invocation__message").first()
        at = None if at.asker_agent_id is None or wrote is None else wrote.invocation
    return total


def _asked_often(*, writer_id: int, agent: Agent) -> bool:
    recent = Invocation.objects.filter(asker_agent_id=writer_id, agent=agent, opened_at__gt=Now() - PAIR_WINDOW)
    return recent.count() >= PAIR_LIMIT


def _say(row: Invocation, text: str) -> None:
    tell(invocation=row, kind=NoticeKind.WARNING, text=text)
