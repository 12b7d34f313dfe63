"""Bringing one notice to its newest text in the chat: posted, edited, or taken away."""

from gateway.chat import outbox
from gateway.chat.desk import Desk
from gateway.chat.due import DueNotice
from gateway.rocketchat.rest import RefusedError
from runtime.reply import sentence


async def post(*, desk: Desk, notice: DueNotice) -> None:
    if not notice.text:
        await _take_away(desk, notice)
    elif notice.posted_revision == 0:
        await desk.chat.send_message(
            rid=notice.rid, rc_id=notice.chat_id, text=sentence(notice.text), thread=notice.thread
        )
        if notice.revision > 1:
            # An earlier revision may stand there already, posted by a poster that died before it could say so.
            await _edit(desk, notice)
    else:
        await _edit(desk, notice)
    await desk.run(lambda: outbox.record_notice(account=desk.account, notice=notice))


async def give_up(*, desk: Desk, notice: DueNotice, reason: str) -> None:
    await desk.run(lambda: outbox.record_notice(account=desk.account, notice=notice, failed_reason=reason))


async def _edit(desk: Desk, notice: DueNotice) -> None:
    """A notice that people deleted stays deleted."""
    try:
        await desk.chat.update_message(rid=notice.rid, rc_id=notice.chat_id, text=sentence(notice.text))
    except RefusedError:
        if await desk.chat.get_message(rc_id=notice.chat_id) is not None:
            raise


async def _take_away(desk: Desk, notice: DueNotice) -> None:
    try:
        await desk.chat.delete_message(rid=notice.rid, rc_id=notice.chat_id)
    except RefusedError:
        if await desk.chat.get_message(rc_id=notice.chat_id) is not None:
            raise
