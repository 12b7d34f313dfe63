"""Who may ask which agent where: decided by ids, when a row is opened and again when it is claimed."""

from gateway.models import Agent, RoomMember, User, WhoMayAsk


def refusal(*, agent: Agent, asker: User, room_id: int, writer: Agent | None = None) -> str | None:
    """Why `asker` may not ask `agent` in this room, as half a sentence; None when he may.

    For a hand-over `writer` is the agent that wrote the mention and `asker` the human at the root of the chain.
    """
    if not agent.is_enabled:
        return "it is switched off"
    if asker.is_foreign_bot:
        return "only people may ask"
    if writer is not None and not agent.accepts_handover_from.filter(pk=writer.pk).exists():
        return f"it takes no hand-over from {writer.slug}"
    if agent.owner_id is not None and agent.owner_id == asker.pk:
        return None
    if agent.who_may_ask == WhoMayAsk.OWNER:
        return "only its owner may ask it"
    if agent.who_may_ask == WhoMayAsk.NAMED:
        return None if agent.allowed_askers.filter(pk=asker.pk).exists() else "only people its owner named may ask it"
    if RoomMember.objects.filter(room_id=room_id, user=asker).exists():
        return None
    return "only members of this room may ask it"


def may_stop(*, agent: Agent, asker_id: int | None, user: User) -> bool:
    """The asker, the agent's owner and admins may stop or retry."""
    return user.pk in (asker_id, agent.owner_id) or user.role == "admin"
