"""Bringing one notice to its newest text in the chat: posted, edited, or taken away; a long one in several messages.

The last message bears the notice's own id: there stands how to answer a card, and there people set their signs.
"""

from typing import Final

from gateway.chat import outbox
from gateway.chat.desk import Desk
from gateway.chat.due import DueNotice
from gateway.invocations import cards, chat_message_id
from gateway.models import NoticeKind
from gateway.rocketchat.rest import RefusedError
from runtime.reply import sentences

TAKEN_BACK: Final = "✂"
"""What is left of a message that we may not delete."""


async def post(*, desk: Desk, notice: DueNotice) -> None:
    called: frozenset[str] = frozenset()
    if notice.kind == NoticeKind.CARD:
        called = await desk.run(lambda: cards.called(notice_id=notice.id))
    parts = sentences(notice.text, called=called) if notice.text else []
    ids = _ids(notice, count=len(parts)) if parts else []
    stale = _ids(notice, count=notice.part_count) if notice.posted_revision else []
    for rc_id, text in zip(ids, parts, strict=True):
        await _bring(desk, notice, rc_id=rc_id, text=text, is_new=rc_id not in stale)
    gone = set(stale) - set(ids) if parts else {*stale, notice.chat_id}
    for rc_id in sorted(gone):
        await _take_away(desk, notice, rc_id=rc_id)
    count = max(len(parts), 1)
    await desk.run(lambda: outbox.record_notice(account=desk.account, notice=notice, part_count=count))


async def give_up(*, desk: Desk, notice: DueNotice, reason: str) -> None:
    await desk.run(
        lambda: outbox.record_notice(
            account=desk.account, notice=notice, part_count=notice.part_count, failed_reason=reason
        )
    )


def _ids(notice: DueNotice, *, count: int) -> list[str]:
    return [*(chat_message_id(f"{notice.chat_id}:{number}") for number in range(count - 1)), notice.chat_id]


async def _bring(desk: Desk, notice: DueNotice, *, rc_id: str, text: str, is_new: bool) -> None:
    if is_new:
        await desk.chat.send_message(rid=notice.rid, rc_id=rc_id, text=text, thread=notice.thread)
    if not is_new or notice.revision > 1:
        # Of a new one an earlier revision may stand there already, posted by a poster that died before it could say so.
        await _edit(desk, notice, rc_id=rc_id, text=text)


async def _edit(desk: Desk, notice: DueNotice, *, rc_id: str, text: str) -> None:
    """A notice that people deleted stays deleted."""
    try:
        await desk.chat.update_message(rid=notice.rid, rc_id=rc_id, text=text)
    except RefusedError:
        if await desk.chat.get_message(rc_id=rc_id) is not None:
            raise


async def _take_away(desk: Desk, notice: DueNotice, *, rc_id: str) -> None:
    try:
        await desk.chat.delete_message(rid=notice.rid, rc_id=rc_id)
    except RefusedError:
        if await desk.chat.get_message(rc_id=rc_id) is not None:
            # A chat may let bots edit what they may not delete.
            await desk.chat.update_message(rid=notice.rid, rc_id=rc_id, text=TAKEN_BACK)
