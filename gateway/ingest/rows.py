"""The statements that store a batch: one per table, whatever its size. Called inside the batch's transaction."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import msgspec

from gateway import sql
from gateway.rocketchat.events import ChatMessage

PROGRAM_ACCOUNTS: Final = frozenset({"rocket.cat"})
"""Accounts of the chat server itself: heard, never answered."""

_encode = msgspec.json.Encoder().encode

# A message is newer by the chat's own `_updatedAt`; a tombstone stays one. `{text}` differs for agents' own edits.
# Row ids are drawn in the order in which the chat told the messages, rows are locked in the order of the chat's ids.
_UPSERT: LiteralString = """
INSERT INTO messages (id, rc_id, room_id, user_id, agent_id, text, thread, system_type, ts, rc_updated_at, edited_at,
                      deleted_at, attachments, reactions, remembered_at)
SELECT x.pk, x.id, x.room, x.usr, x.agent, x.msg, x.thread, x.kind, to_timestamp(x.ts / 1000.0),
       to_timestamp(x.upd / 1000.0), to_timestamp(x.edited / 1000.0), CASE WHEN x.gone THEN now() END,
       x.att, x.rea, CASE WHEN x.quiet THEN now() END
FROM (SELECT nextval('messages_id_seq') AS pk, told.* FROM json_to_recordset(%s::json) AS told(
     place int, id text, room bigint, usr bigint, agent bigint, msg text, thread text, kind text, ts bigint, upd bigint,
     edited bigint, gone boolean, att jsonb, rea jsonb, quiet boolean) ORDER BY told.place) AS x
ORDER BY x.id COLLATE "C"
ON CONFLICT (rc_id) DO UPDATE SET
    text = {text}, system_type = EXCLUDED.system_type, rc_updated_at = EXCLUDED.rc_updated_at,
    edited_at = EXCLUDED.edited_at, deleted_at = EXCLUDED.deleted_at, attachments = EXCLUDED.attachments,
    reactions = EXCLUDED.reactions
WHERE messages.rc_updated_at < EXCLUDED.rc_updated_at AND messages.deleted_at IS NULL
RETURNING id, rc_id, xmax = 0, text"""
_FOLLOW: LiteralString = _UPSERT.replace("{text}", "EXCLUDED.text")
# The poster stores a reply's final text; until then, and after, its own edits in the chat are not news.
_KEEP: LiteralString = _UPSERT.replace(
    "{text}",
    "CASE WHEN EXCLUDED.deleted_at IS NULL AND EXISTS (SELECT 1 FROM reply_parts WHERE chat_id = EXCLUDED.rc_id)"
    " THEN messages.text ELSE EXCLUDED.text END",
)

_USERS: LiteralString = """
INSERT INTO users (rocketchat_id, username, display_name, role, is_foreign_bot)
SELECT x.id, x.username, x.name, 'user', x.program
FROM json_to_recordset(%s::json) AS x(id text, username text, name text, program boolean)
ON CONFLICT (rocketchat_id) DO UPDATE SET username = EXCLUDED.username, display_name = EXCLUDED.display_name,
    is_foreign_bot = users.is_foreign_bot OR EXCLUDED.is_foreign_bot
WHERE EXCLUDED.username <> '' AND (users.username, users.display_name, users.is_foreign_bot)
    IS DISTINCT FROM (EXCLUDED.username, EXCLUDED.display_name, users.is_foreign_bot OR EXCLUDED.is_foreign_bot)"""

_BURY: LiteralString = (
    "UPDATE messages SET text = '', deleted_at = now(), attachments = '[]', reactions = '{}'"
    " WHERE id IN (SELECT id FROM messages WHERE rc_id = ANY(%s) AND deleted_at IS NULL ORDER BY id FOR UPDATE)"
    " RETURNING id, room_id, rc_id, (extract(epoch FROM rc_updated_at) * 1000000)::bigint"
)


@dataclass(frozen=True, slots=True)
class Bots:
    """The accounts that Nexus holds, by chat user id. `agents` lacks `nexus` itself."""

    agents: dict[str, int]
    usernames: dict[str, str]

    def __contains__(self, user_id: str) -> bool:
        return user_id in self.usernames


@dataclass(frozen=True, slots=True)
class Person:
    """A sender as the chat names him."""

    user_id: str
    username: str
    name: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A version that changed its row, or made it."""

    pk: int
    is_new: bool
    text: str


def bots() -> sql.Ask[Bots]:
    return sql.Ask("SELECT rocketchat_id, agent_id, username FROM bot_accounts", [], _as_bots)


def _as_bots(found: sql.Rows) -> Bots:
    return Bots(
        agents={user_id: agent_id for user_id, agent_id, _ in found if agent_id is not None},
        usernames={user_id: username for user_id, _, username in found},
    )


def rooms(rids: Collection[str]) -> dict[str, tuple[int, str]]:
    """Row id and kind of each room that has a row."""
    found = sql.rows("SELECT rid, id, kind FROM rooms WHERE rid = ANY(%s)", [list(rids)])
    return {rid: (pk, kind) for rid, pk, kind in found}


def users(people: Iterable[Person], *, programs: Collection[str]) -> dict[str, int]:
    """Row ids by chat user id; rows are made, and renamed where the chat has a new name."""
    documents = [
        {"id": one.user_id, "username": one.username, "name": one.name[:300], "program": one.user_id in programs}
        for one in sorted(people, key=lambda one: one.user_id)
    ]
    sql.execute(_USERS, [_encode(documents).decode()])
    ids = [document["id"] for document in documents]
    found = sql.rows("SELECT rocketchat_id, id FROM users WHERE rocketchat_id = ANY(%s)", [ids])
    return dict(found)


def row(
    message: ChatMessage, *, place: int, room_id: int, user_id: int | None, agent_id: int | None
) -> dict[str, Any]:
    """The columns of one version, for `upsert`."""
    is_gone = message.is_tombstone
    return {
        "place": place,
        "id": message.rc_id,
        "room": room_id,
        "usr": user_id,
        "agent": agent_id,
        "msg": "" if is_gone or message.is_encrypted else message.text,
        "thread": message.thread,
        "kind": message.system_type,
        "ts": message.ts,
        "upd": message.updated,
        "edited": message.edited,
        "gone": is_gone,
        "att": () if is_gone else message.attachments,
        "rea": {} if is_gone else message.reactions,
        "quiet": agent_id is not None or bool(message.system_type) or message.is_encrypted,
    }


def upsert(documents: Sequence[dict[str, Any]], *, keeps_replies: bool) -> dict[str, Stored]:
    """By chat id, the versions that were news. With `keeps_replies` the text of a reply stays as the poster stored it."""
    if not documents:
        return {}
    found = sql.rows(_KEEP if keeps_replies else _FOLLOW, [_encode(documents).decode()])
    return {rc_id: Stored(pk, is_new, text) for pk, rc_id, is_new, text in found}


def bury(rc_ids: Sequence[str]) -> list[tuple[int, int, str, int]]:
    """Empty these messages; (id, room, rc_id, revision in µs) of those that were not empty before."""
    if not rc_ids:
        return []
    found = sql.rows(_BURY, [list(rc_ids)])
    return [(int(pk), int(room_id), str(rc_id), int(at)) for pk, room_id, rc_id, at in found]
