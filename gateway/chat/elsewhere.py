"""What a room does not take is told to the person who asked, in a direct message: otherwise he hears nothing at all."""

import logging
from dataclasses import dataclass

from gateway import sql
from gateway.chat.desk import Desk
from gateway.invocations import chat_message_id
from gateway.models import RoomKind
from gateway.rocketchat.rest import RefusedError
from runtime.reply import sentence

logger = logging.getLogger(__name__)

_ASKER = """
SELECT u.username, r.name, r.kind, r.is_encrypted, r.is_archived, r.is_read_only FROM {table}
JOIN rooms r ON r.id = x.room_id JOIN users u ON u.id = {asker} WHERE x.id = %s AND NOT u.is_foreign_bot
"""
_OF_INVOCATION = _ASKER.format(table="invocations x", asker="x.root_asker_id")
_OF_NOTICE = _ASKER.format(
    table="notices x LEFT JOIN invocations i ON i.id = x.invocation_id LEFT JOIN messages m ON m.id = x.about_id",
    asker="coalesce(i.root_asker_id, m.user_id)",
)


@dataclass(frozen=True, slots=True)
class _Asker:
    username: str
    room: str
    kind: str
    is_encrypted: bool
    is_archived: bool
    is_read_only: bool


async def tell_of_notice(*, desk: Desk, notice_id: int, text: str) -> None:
    """Raises RestError where the chat is away; a person who takes no direct messages is left alone."""
    asker = await desk.run(lambda: _read(_OF_NOTICE, notice_id))
    if asker is not None:
        await _tell(desk, asker, f"notice:{notice_id}", f"I can't write in #{asker.room}: {_why(asker)}. {text}")


async def tell_of_reply(*, desk: Desk, invocation_id: int) -> None:
    """As above. The answer itself stays out: it was meant for that room."""
    asker = await desk.run(lambda: _read(_OF_INVOCATION, invocation_id))
    if asker is None:
        return
    cure = "An owner of that room can change this; then `!retry` there asks again."
    text = f"My answer can't be posted in #{asker.room}: {_why(asker)}. {cure}"
    await _tell(desk, asker, f"reply:{invocation_id}", text)


async def _tell(desk: Desk, asker: _Asker, what: str, text: str) -> None:
    if asker.kind == RoomKind.DM:
        return
    try:
        rid = await desk.chat.open_direct(username=asker.username)
        await desk.chat.send_message(rid=rid, rc_id=chat_message_id(f"elsewhere:{what}"), text=sentence(text))
    except RefusedError as error:
        logger.warning("nobody told", extra={"asker": asker.username, "reason": str(error)})


def _why(asker: _Asker) -> str:
    if asker.is_encrypted:
        return "the room is end-to-end encrypted"
    if asker.is_archived:
        return "the room is archived"
    if asker.is_read_only:
        return "the room is read-only for me"
    return "the chat does not let me; perhaps I am not in it any more"


def _read(statement: str, pk: int) -> _Asker | None:
    found = sql.rows(statement, [pk])
    return _Asker(*found[0]) if found else None
