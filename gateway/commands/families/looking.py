"""`!help` and `!who`: what there is."""

from django.db.models.functions import Now

from gateway.commands.registry import Order, command, help_text
from gateway.models import Agent


@command("who", help="names the agents of this room")
def who(order: Order) -> str:
    agents = Agent.objects.filter(memberships__room_id=order.place.room_id, bot_account__isnull=False)
    found = list(agents.select_related("bot_account", "owner").order_by("slug"))
    if not found:
        return "No agent is in this room."
    online = set(agents.filter(bridge__lease_until__gt=Now()).values_list("pk", flat=True))
    lines = [_one_agent(agent, is_online=agent.pk in online) for agent in found]
    return "\n".join(lines)


@command("help", help="shows this")
def show_help(_order: Order) -> str:
    return (
        f"{help_text()}\n"
        "Mention an agent to ask it; in a direct chat just write. 🛑 on a question stops it, 🔁 asks it again."
    )


def _one_agent(agent: Agent, *, is_online: bool) -> str:
    # Without the @: a list of agents must not ask them all.
    account = getattr(agent, "bot_account", None)
    name = account.username if account is not None else agent.slug
    state = "switched off" if not agent.is_enabled else "online" if is_online else "offline"
    owner = f", of {agent.owner.username}" if agent.owner is not None else ""
    return f"`{name}` ({agent.cli_kind}{owner}): {state}"
