"""`!approve`, `!deny` and `!grants`: the answer to what an agent asks to do, once or for a while."""

from django.db.models import Q

from gateway.commands.registry import MAX_ROWS, Order, Signed, command, reaction
from gateway.invocations import approvals, grants, may_decide
from gateway.invocations.approvals import Verdict
from gateway.models import Approval, Asks, Grant


@command("approve", usage="[number] [for 1h | always here]", help="allows what an agent asks to do")
def approve(order: Order) -> str:
    words = order.command.text
    span = grants.span_of(words) if words else None
    if words and span is None:
        return "I know `!approve`, `!approve for 1h` (m, h, d; a week at most) and `!approve always here`."
    return _decide(order, allow=True, span=span)


@command("deny", usage="[number] [reason]", help="refuses it; the reason is told to the agent", works_late=True)
def deny(order: Order) -> str:
    return _decide(order, allow=False, span=None)


@command("grants", usage="[end]", help="lists what agents may do here without asking, or ends what you may end")
def show_grants(order: Order) -> str:
    found = grants.alive_in(room_id=order.place.room_id)
    if order.command.text.strip().lower() == "end":
        mine = [one for one in found if may_decide(agent=one.agent, user=order.user)]
        Grant.objects.filter(pk__in=[one.pk for one in mine]).delete()
        if not mine:
            return "There is no standing yes here that you may end."
        return "Ended one standing yes." if len(mine) == 1 else f"Ended {len(mine)} standing yeses."
    if not found:
        return "Agents ask here before they do anything that needs a yes."
    return "\n".join(_line(one) for one in found[:MAX_ROWS])


@reaction("approve")
def approve_by_sign(signed: Signed) -> None:
    _decide_by_sign(signed, allow=True)


@reaction("deny")
def deny_by_sign(signed: Signed) -> None:
    _decide_by_sign(signed, allow=False)


def _decide(order: Order, *, allow: bool, span: grants.Span | None) -> str:
    found = _open(order)
    if not found:
        return f"{Verdict.NOTHING_OPEN.value.capitalize()}."
    mine = [one for one in found if may_decide(agent=one.invocation.agent, user=order.user)]
    if not mine:
        return f"{Verdict.NOT_ALLOWED.value.capitalize()}."
    if len(mine) > 1:
        return approvals.say_which(mine, word=order.command.name)
    verdict = approvals.decide(
        invocation_id=mine[0].invocation_id,
        approval_id=mine[0].pk,
        user=order.user,
        allow=allow,
        note="" if allow else order.command.text,
        span=span,
    )
    return "" if verdict == Verdict.DECIDED else f"{verdict.value.capitalize()}."


def _open(order: Order) -> list[Approval]:
    """The open questions it is about: the one it names, or those of its room (its thread), of the agents it mentions."""
    place = order.place
    rows = approvals.open_ones().filter(invocation__room_id=place.room_id).exclude(kind=Asks.QUESTION)
    if order.command.number is not None:
        return list(rows.filter(pk=order.command.number))
    if order.command.names:
        rows = rows.filter(invocation__agent__bot_account__username__in=order.command.names)
    if place.thread:
        rows = rows.filter(Q(invocation__thread=place.thread) | Q(invocation__message__rc_id=place.thread))
    return list(rows.order_by("pk")[:MAX_ROWS])


def _decide_by_sign(signed: Signed, *, allow: bool) -> None:
    question = Approval.objects.filter(card__chat_id=signed.rc_id).first()
    if question is not None:
        approvals.decide(invocation_id=question.invocation_id, approval_id=question.pk, user=signed.user, allow=allow)


def _line(grant: Grant) -> str:
    until = "always" if grant.until is None else f"until {grant.until:%H:%M UTC on %d %b}"
    return f"`{grant.agent.slug}` may use **{grant.tool}** {until} (by {grant.granted_by.username})"
