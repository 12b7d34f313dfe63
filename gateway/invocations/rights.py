"""Who may ask which agent where: decided by ids, when a row is opened and again when it is claimed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import LiteralString

from gateway import sql
from gateway.models import Agent, User, WhoMayAsk

_MEMBER: LiteralString = "SELECT 1 FROM room_members WHERE room_id = %s AND user_id = %s"


@dataclass(frozen=True, slots=True)
class Standing:
    """All that decides. What takes a look into the database is asked only when it matters."""

    is_enabled: bool
    is_foreign_bot: bool
    is_owner: bool
    who_may_ask: str
    writer: str | None
    takes_handover: Callable[[], bool]
    is_named: Callable[[], bool]
    is_member: Callable[[], bool]


def refusal(
    *,
    agent: Agent,
    asker_id: int,
    is_foreign_bot: bool,
    room_id: int,
    writer: Agent | None = None,
    is_member: bool = False,
) -> str | None:
    """Why the asker, a user, may not ask `agent` in this room, as half a sentence; None when he may.

    For a hand-over `writer` is the agent that wrote the mention and the asker the human at the root of the chain.
    `is_member`: he is known to be in the room, which else is looked up.
    """
    return decide(
        Standing(
            is_enabled=agent.is_enabled,
            is_foreign_bot=is_foreign_bot,
            is_owner=agent.owner_id is not None and agent.owner_id == asker_id,
            who_may_ask=agent.who_may_ask,
            writer=writer.slug if writer is not None else None,
            takes_handover=lambda: agent.accepts_handover_from.filter(pk=writer.pk if writer else 0).exists(),
            is_named=lambda: agent.allowed_askers.filter(pk=asker_id).exists(),
            is_member=lambda: is_member or bool(sql.rows(_MEMBER, [room_id, asker_id])),
        )
    )


def decide(standing: Standing) -> str | None:
    """The rule itself."""
    if not standing.is_enabled:
        return "it is switched off"
    if standing.is_foreign_bot:
        return "only people may ask"
    if standing.writer is not None and not standing.takes_handover():
        return f"it takes no hand-over from {standing.writer}"
    if standing.is_owner:
        return None
    if standing.who_may_ask == WhoMayAsk.OWNER:
        return "only its owner may ask it"
    if standing.who_may_ask == WhoMayAsk.NAMED:
        return None if standing.is_named() else "only people its owner named may ask it"
    return None if standing.is_member() else "only members of this room may ask it"


def may_stop(*, agent: Agent, asker_id: int | None, user: User) -> bool:
    """The asker, the agent's owner and admins may stop or retry."""
    return user.pk in (asker_id, agent.owner_id) or user.role == "admin"


def may_decide(*, agent: Agent, user: User) -> bool:
    """The owner and the approvers he named; admins for the host's own agents, which have no owner. Programs never."""
    if user.is_foreign_bot:
        return False
    if agent.owner_id is None and user.role == "admin":
        return True
    return user.pk == agent.owner_id or agent.approvers.filter(pk=user.pk).exists()
