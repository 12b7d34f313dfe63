"""`!cost`: what the agents of a room have spent here."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.db.models import Count, Q, Sum

from gateway.commands.registry import Order, command
from gateway.models import Invocation

_SPANS: Final = {"today": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
_MAX_AGENTS: Final = 20


@command("cost", usage="[today | week | month]", help="shows what the agents have used in this room")
def cost(order: Order) -> str:
    word = order.command.text.strip().lower() or "week"
    span = _SPANS.get(word)
    if span is None and not order.command.names:
        return f"I know `!cost {'`, `!cost '.join(_SPANS)}`."
    word, span = (word, span) if span is not None else ("week", _SPANS["week"])
    rows = Invocation.objects.filter(room_id=order.place.room_id, opened_at__gt=order.now - span)
    if order.command.names:
        rows = rows.filter(agent__bot_account__username__in=order.command.names)
    # A run that a CLI does not price counts as a run and as tokens, and is not taken for free.
    found = rows.values("agent__slug").annotate(
        runs=Count("pk", filter=~Q(running_at=None)),
        tokens_in=Sum("input_tokens"),
        tokens_out=Sum("output_tokens"),
        usd=Sum("cost_usd"),
        unpriced=Count("pk", filter=~Q(running_at=None) & Q(cost_usd=None, ended_at__isnull=False)),
    )
    lines = [_one_line(row) for row in found.filter(runs__gt=0).order_by("-usd", "agent__slug")[:_MAX_AGENTS]]
    if not lines:
        return f"No agent has run in this room within the last {span.days} days."
    total = rows.aggregate(usd=Sum("cost_usd"))["usd"]
    title = "the last day" if word == "today" else f"the last {span.days} days"
    sum_up = "no CLI has told a price" if total is None else f"${total:.2f} as far as the CLIs say"
    return "\n".join([f"In this room, {title}: {sum_up}.", *lines])


def _one_line(row: Mapping[str, Any]) -> str:  # a row of sums, as the ORM types it
    runs = "1 run" if row["runs"] == 1 else f"{row['runs']} runs"
    price = f"${row['usd']:.2f}" if row["usd"] is not None else "no price known"
    unpriced = f" ({row['unpriced']} without a price)" if row["unpriced"] and row["usd"] is not None else ""
    return (
        f"`{row['agent__slug']}` {runs}, {row['tokens_in']:,} tokens in, {row['tokens_out']:,} out, {price}{unpriced}"
    )
