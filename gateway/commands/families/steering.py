"""`!steer`: more words for an answer that is being worked on."""

from gateway import nudges
from gateway.commands.registry import Order, command
from gateway.invocations import OPEN, may_stop
from gateway.models import Invocation, State, Steer

MAX_CHARS = 8_000


@command("steer", usage="[@agent | number] text", help="adds words to what an agent is at")
def steer(order: Order) -> str:
    text = _words(order)
    if not text:
        return "Say what to add: `!steer use the staging database`."
    if len(text) > MAX_CHARS:
        return f"That is too long: at most {MAX_CHARS:,} characters can be added."
    rows = list(order.scope().select_related("agent__bridge").filter(state__in=OPEN).order_by("pk")[:20])
    mine = [row for row in rows if may_stop(agent=row.agent, asker_id=row.root_asker_id, user=order.user)]
    if not mine:
        return "Only who asked, the agent's owner and admins may add to that." if rows else "No agent is at work here."
    running = [row for row in mine if row.state == State.RUNNING]
    if not running:
        return "That question has not started yet; what you write here before it starts is in its prompt."
    if len(running) > 1:
        choices = ", ".join(f"`!steer {row.pk} …` ({row.agent.slug})" for row in running)
        return f"Several agents are at work for you here; say which: {choices}."
    return _add(order, row=running[0], text=text)


def _words(order: Order) -> str:
    """Without the names of the agents that are meant."""
    words = order.command.text.split(" ")
    while words and words[0].startswith("@") and words[0][1:].lower() in order.command.names:
        words.pop(0)
    return " ".join(words).strip()


def _add(order: Order, *, row: Invocation, text: str) -> str:
    bridge = row.agent.bridge
    offers = bridge.offers if bridge is not None else []
    if not any(offer.get("slug") == row.agent.slug and offer.get("steers") for offer in offers):
        return f"The CLI of {row.agent.slug} takes nothing more while it works. 🛑 stops it; then ask again with all you know."
    Steer.objects.get_or_create(
        message_id=order.place.message_id, defaults={"invocation": row, "user": order.user, "text": text}
    )
    if bridge is not None:
        nudges.hub(bridge_id=bridge.pk)
    return f"Passed on to {row.agent.slug}."
