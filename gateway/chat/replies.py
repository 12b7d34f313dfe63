"""Carrying out what `plan` decided for a reply: the calls to the chat, and what is recorded of them."""

import logging

from gateway.chat import filing, outbox
from gateway.chat.desk import Desk
from gateway.chat.due import PostedPart
from gateway.chat.notices import TAKEN_BACK
from gateway.chat.outbox import SettledPart
from gateway.chat.plan import CHECKS, Act, Check, Edit, LiveReply, Part, PostFiles, React, Remove, Send, digest
from gateway.rocketchat.events import ChatMessage
from gateway.rocketchat.rest import Posted, RefusedError
from gateway.watch import traces

logger = logging.getLogger(__name__)


async def perform(*, desk: Desk, row: LiveReply, act: Act) -> bool:
    """One call to the chat. True when something was written there."""
    match act:
        case Send(part=part, text=text):
            with traces.span("chat.post", invocation_id=row.invocation_id, part=part.number):
                posted = await desk.chat.send_message(rid=row.rid, rc_id=part.chat_id, text=text, thread=row.thread)
            logger.info("reply posted", extra={"part": part.number, "room": row.rid})
            part.is_posted = True
            _wrote(part, text=text, posted=posted)
            row.has_said = row.has_said or act.is_said
            return True
        case Edit(part=part, text=text):
            if await _edit(desk, row, part, text):
                row.has_said = row.has_said or act.is_said
            return True
        case PostFiles():
            await filing.post_files(desk=desk, row=row)
            row.are_files_posted = True
            return True
        case React(emoji=emoji):
            await _react(desk, row, emoji=emoji)
            return False
        case Check(part=part, text=text):
            _compare(part, found=await desk.chat.get_message(rc_id=part.chat_id), text=text)
            return False
        case Remove(part=part):
            await _remove(desk, row, part)
            return True
    return False


async def record(*, desk: Desk, row: LiveReply) -> None:
    """That a message exists must survive us: a restart may edit it and must not post it again. Edits need no record.

    Of a row that has ended `settle` records it all, a moment later.
    """
    if row.is_final:
        return
    fresh = [part for part in row.parts if (part.is_posted or part.is_gone) and not part.is_recorded]
    if not fresh:
        return
    parts = [_posted(part) for part in fresh]
    invocation_id = row.invocation_id
    await desk.run(lambda: outbox.record_parts(account=desk.account, invocation_id=invocation_id, parts=parts))
    for part in fresh:
        part.is_recorded = True


async def settle(*, desk: Desk, row: LiveReply) -> None:
    wanted = row.wanted()
    gone = [_posted(part) for part in row.parts if part.is_gone]
    standing = [part for part in row.parts[: len(wanted)] if part.is_confirmed and not part.is_gone]
    parts = [
        SettledPart(part.number, part.chat_id, part.digest, part.revision, part.text, part.ts, part.updated)
        for part in standing
    ]
    # What people took away does not ask anybody.
    mentions = row.reply.mentions if len(standing) == len(wanted) else ()
    await desk.run(
        lambda: outbox.settle(
            account=desk.account,
            invocation_id=row.invocation_id,
            state=row.state,
            parts=parts,
            gone=gone,
            mentions=mentions,
        )
    )


async def give_up(*, desk: Desk, row: LiveReply, reason: str) -> None:
    await desk.run(lambda: outbox.give_up_reply(account=desk.account, invocation_id=row.invocation_id, reason=reason))


async def _react(desk: Desk, row: LiveReply, *, emoji: str) -> None:
    """Once; a room that does not let us gets on without the sign."""
    try:
        await desk.chat.react(rc_id=row.question, emoji=emoji)
    except RefusedError as error:
        logger.info("no sign on a question", extra={"room": row.rid, "error": str(error)})
    row.wants_eyes = False


async def _edit(desk: Desk, row: LiveReply, part: Part, text: str) -> bool:
    try:
        posted = await desk.chat.update_message(rid=row.rid, rc_id=part.chat_id, text=text)
    except RefusedError:
        if await desk.chat.get_message(rc_id=part.chat_id) is None:
            _gone(part)
        elif row.is_final and part.is_stuck:
            raise
        elif row.is_final:
            _post_anew(part, chat_id=row.chat_id_of(part.number + 1_000))
        else:
            part.is_stuck = True
        return False
    _wrote(part, text=text, posted=posted)
    return True


def _post_anew(part: Part, *, chat_id: str) -> None:
    """This chat does not let us edit: the final text becomes a message of its own, under an id that is as fixed."""
    part.chat_id = chat_id
    part.is_posted = part.is_recorded = part.is_confirmed = False
    part.digest = ""
    part.is_stuck = True


def _wrote(part: Part, *, text: str, posted: Posted) -> None:
    part.digest = digest(text)
    part.text = text
    part.ts, part.updated = posted.ts or part.ts, posted.updated or part.updated
    part.revision += 1
    part.is_confirmed = False


def _compare(part: Part, *, found: ChatMessage | None, text: str) -> None:
    if found is None:
        _gone(part)
        return
    part.check_count += 1
    part.ts, part.updated = found.ts, found.updated
    if found.text.rstrip() == text.rstrip() or part.check_count >= CHECKS:
        part.is_confirmed = True
        part.text = found.text
        if found.text.rstrip() != text.rstrip():
            logger.warning("chat keeps another text", extra={"chat_message": part.chat_id})
    else:
        part.digest = digest(found.text)


def _gone(part: Part) -> None:
    part.is_gone = True
    part.is_recorded = False


async def _remove(desk: Desk, row: LiveReply, part: Part) -> None:
    try:
        await desk.chat.delete_message(rid=row.rid, rc_id=part.chat_id)
    except RefusedError:
        if await desk.chat.get_message(rc_id=part.chat_id) is not None:
            await desk.chat.update_message(rid=row.rid, rc_id=part.chat_id, text=TAKEN_BACK)
    _gone(part)


def _posted(part: Part) -> PostedPart:
    return PostedPart(part.number, part.chat_id, part.digest, part.revision, part.is_gone)
