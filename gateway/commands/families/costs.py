"""`!cost`: what the agents of a room have spent here."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.db.models import Count, Q, QuerySet, Sum

from gateway.commands.registry import Order, command
from gateway.models import Invocation, Purpose

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
    asked = rows.filter(purpose=Purpose.ANSWER)
    # A run that a CLI does not price counts as a run and as tokens, and is not taken for free.
    found = asked.values("agent__slug").annotate(
        runs=Count("pk", filter=~Q(running_at=None)),
        tokens_in=Sum("input_tokens"),
        tokens_out=Sum("output_tokens"),
        usd=Sum("cost_usd"),
        unpriced=Count("pk", filter=~Q(running_at=None) & Q(cost_usd=None, ended_at__isnull=False)),
    )
    lines = [_one_line(row) for row in found.filter(runs__gt=0).order_by("-usd", "agent__slug")[:_MAX_AGENTS]]
    if made := _summaries(rows.filter(purpose=Purpose.SUMMARY)):
        lines.append(made)
    if not lines:
        return f"No agent has run in this room within the last {span.days} days."
    total = rows.aggregate(usd=Sum("cost_usd"))["usd"]
    title = "the last day" if word == "today" else f"the last {span.days} days"
    sum_up = "no CLI has told a price" if total is None else f"${total:.2f} as far as the CLIs say"
    return "\n".join([f"In this room, {title}: {sum_up}.", *lines])


def _summaries(rows: QuerySet[Invocation]) -> str:
    """What nobody asked for and was spent all the same; empty without any."""
    sums = rows.exclude(running_at=None).aggregate(
        runs=Count("pk"), tokens_in=Sum("input_tokens"), tokens_out=Sum("output_tokens"), usd=Sum("cost_usd")
    )
    return f"Summaries for the host: {_spent(sums)}" if sums["runs"] else ""


def _one_line(row: Mapping[str, Any]) -> str:  # a row of sums, as the ORM types it
    unpriced = f" ({row['unpriced']} without a price)" if row["unpriced"] and row["usd"] is not None else ""
    return f"`{row['agent__slug']}` {_spent(row)}{unpriced}"


def _spent(sums: Mapping[str, Any]) -> str:
    runs = "1 run" if sums["runs"] == 1 else f"{sums['runs']} runs"
    price = f"${sums['usd']:.2f}" if sums["usd"] is not None else "no price known"
    return f"{runs}, {sums['tokens_in']:,} tokens in, {sums['tokens_out']:,} out, {price}"
