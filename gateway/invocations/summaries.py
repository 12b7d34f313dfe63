"""Opening a row that no question asked for: an agent of the host is to summarise, and no room hears of it.

It goes the way of every row: lane, lease, fence, timers, one run. Nobody reads its output but the composer.
"""

from datetime import timedelta
from typing import Final

from django.db.models import Max
from django.db.models.functions import Now

from gateway import pipeline
from gateway.models import Agent, Invocation, Message, Purpose, User

WAIT: Final = timedelta(minutes=10)
"""How long the agent's lanes may be full of people's questions before the summary is made otherwise."""

HOUSE_ID: Final = "nexus-host"
"""Who asks when nobody does: no id of the chat looks like this, and no account of the chat may speak for it."""


def open_summary(*, agent: Agent, message: Message) -> Invocation:
    """A new row for the stretch of talk that ends with this message, in a CLI session of its own."""
    rows = Invocation.objects.filter(message=message, agent=agent, purpose=Purpose.SUMMARY)
    attempt = (rows.aggregate(last=Max("attempt"))["last"] or 0) + 1
    row = Invocation.objects.create(
        message=message,
        agent=agent,
        attempt=attempt,
        purpose=Purpose.SUMMARY,
        room_id=message.room_id,
        session_key=f"summary:{message.pk}:{attempt}",
        asker_user=_house(),
        root_asker=_house(),
        wait_until=Now() + WAIT,
        reply_settled_at=Now(),
    )
    pipeline.start(invocation_ids=[row.pk])
    return row


def _house() -> User:
    house, _ = User.objects.get_or_create(
        rocketchat_id=HOUSE_ID,
        defaults={"username": "nexus", "display_name": "Nexus, the host", "is_foreign_bot": True},
    )
    return house
