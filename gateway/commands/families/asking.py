"""`!stop` and `!retry`: what becomes of a question that was asked."""

from gateway.commands.registry import MAX_ROWS, Order, Signed, command, reaction
from gateway.invocations import OPEN, may_stop, open_again, request_cancel
from gateway.models import FINAL
from gateway.rocketchat.events import moment
from runtime.reply import one_line


@command("stop", usage="[@agent | number]", help="stops your questions here, or only those it names", works_late=True)
def stop(order: Order) -> str:
    rows = order.scope().filter(state__in=OPEN, message__ts__lt=moment(order.place.ts)).order_by("pk")[:MAX_ROWS]
    mine = [row for row in rows if may_stop(agent=row.agent, asker_id=row.root_asker_id, user=order.user)]
    for row in mine:
        # Several sentences would look the same.
        which = f": “{one_line(row.message.text)}”" if len(mine) > 1 else ""
        request_cancel(invocation_id=row.pk, reason="stopped", detail=f"by {order.user.username}{which}")
    if mine:
        return ""
    if rows:
        return "Only who asked, the agent's owner and admins may stop that."
    if order.command.number is not None:
        return f"No question number {order.command.number} is open here. `!jobs` lists those that are."
    return "Nothing is open here that could be stopped."


@command("retry", usage="[@agent | number]", help="asks your last question here again")
def retry(order: Order) -> str:
    rows = order.scope().filter(message_id__lt=order.place.message_id, retries=None).order_by("-message__ts", "-pk")
    mine = [
        row
        for row in rows[:MAX_ROWS]
        if may_stop(agent=row.agent, asker_id=row.root_asker_id, user=order.user) and row.asker_agent_id is None
    ]
    if not mine:
        return "There is no question of yours here that I could ask again."
    row = mine[0]
    if row.state not in FINAL:
        return f"{row.agent.slug} is still at it; `!stop` stops it."
    return "" if open_again(row=row) else f"That question to {row.agent.slug} has been asked again already."


@reaction("stop")
def stop_by_sign(signed: Signed) -> None:
    for row in signed.rows().filter(state__in=OPEN)[:MAX_ROWS]:
        if may_stop(agent=row.agent, asker_id=row.root_asker_id, user=signed.user):
            request_cancel(invocation_id=row.pk, reason="stopped", detail=f"by {signed.user.username}")


@reaction("retry")
def retry_by_sign(signed: Signed) -> None:
    for row in signed.rows().filter(state__in=FINAL, retries=None, asker_agent=None)[:MAX_ROWS]:
        if may_stop(agent=row.agent, asker_id=row.root_asker_id, user=signed.user):
            open_again(row=row)
