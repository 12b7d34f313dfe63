"""`!approve` and `!deny`: the answer to what an agent asks to do."""

from django.db.models.functions import Now

from gateway.commands.registry import MAX_ROWS, Order, Signed, command, reaction
from gateway.invocations import approvals
from gateway.invocations.approvals import Verdict
from gateway.models import Agent, Approval, NoticeKind, User


@command("approve", usage="[number]", help="allows what an agent asks to do")
def approve(order: Order) -> str:
    return _decide(order, allow=True)


@command("deny", usage="[number] [reason]", help="refuses it; the reason is told to the agent", works_late=True)
def deny(order: Order) -> str:
    return _decide(order, allow=False)


@reaction("approve")
def approve_by_sign(signed: Signed) -> None:
    _decide_by_sign(signed, allow=True)


@reaction("deny")
def deny_by_sign(signed: Signed) -> None:
    _decide_by_sign(signed, allow=False)


def _decide(order: Order, *, allow: bool) -> str:
    open_ones = Approval.objects.filter(decision="", expires_at__gt=Now())
    rows = list(order.scope().filter(pk__in=open_ones.values("invocation_id")).order_by("pk")[:MAX_ROWS])
    if not rows:
        return "Nothing waits for a decision here."
    mine = [row for row in rows if _may_decide(row.agent, user=order.user)]
    if not mine:
        return f"{Verdict.NOT_ALLOWED.value.capitalize()}."
    if len(mine) > 1:
        # A yes must not land on another command than the one its giver has read.
        choices = ", ".join(f"`!{order.command.name} {row.pk}` ({row.agent.slug})" for row in mine)
        return f"Several runs wait for a decision; say which: {choices}."
    verdict = approvals.decide(invocation_id=mine[0].pk, user=order.user, allow=allow, note=order.command.text)
    return "" if verdict == Verdict.DECIDED else f"{verdict.value.capitalize()}."


def _decide_by_sign(signed: Signed, *, allow: bool) -> None:
    card = signed.card
    if card is not None and card.kind == NoticeKind.CARD and card.invocation_id is not None:
        approvals.decide(invocation_id=card.invocation_id, user=signed.user, allow=allow)


def _may_decide(agent: Agent, *, user: User) -> bool:
    return agent.owner_id == user.pk or agent.approvers.filter(pk=user.pk).exists()
