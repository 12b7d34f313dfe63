"""What is known for certain, in one scope, until somebody says otherwise: set, correct, list, forget.

Runs inside its caller's transaction. Rights are the caller's business; here only scopes are.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

from composer.memory.profiles import NOTE, as_text, is_note
from composer.models import Fact
from gateway import sql

MAX_PER_SCOPE: Final = 500
LEARNED_CONFIDENCE: Final = 0.6
"""What a model made of a message; what a person said outright has 1."""

MAX_LEARNED_CHARS: Final = 1_000

_LIST: LiteralString = (
    "SELECT f.id, f.scope, f.key, f.value, coalesce(u.username, ''), m.rc_id, m.room_id, f.expires_at,"
    " f.memory_id IS NOT NULL FROM facts f LEFT JOIN users u ON u.id = f.set_by_id"
    " LEFT JOIN messages m ON m.id = f.source_message_id WHERE f.scope = ANY(%s::text[])"
    " AND (f.expires_at IS NULL OR f.expires_at > now())"
    " ORDER BY f.memory_id IS NOT NULL, f.updated_at DESC, f.id DESC LIMIT %s"
)
_SET: LiteralString = (
    "INSERT INTO facts (scope, key, value, confidence, source_message_id, set_by_id, expires_at)"
    " VALUES (%s, %s, to_jsonb(%s::text), 1, %s, %s, %s) ON CONFLICT (scope, key) DO UPDATE SET value = excluded.value,"
    " confidence = 1, source_message_id = excluded.source_message_id, set_by_id = excluded.set_by_id,"
    " expires_at = excluded.expires_at, updated_at = now() RETURNING id, xmax = 0"
)


class TooManyFactsError(RuntimeError):
    """The scope is full; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Known:
    """A fact as people see it; `rc_id` and `room_id` say where it was said."""

    id: int
    scope: str
    key: str
    value: str
    set_by: str
    rc_id: str | None
    room_id: int | None
    expires_at: datetime | None
    is_learned: bool

    @property
    def is_note(self) -> bool:
        return is_note(self.key)


def remember(
    *, scope: str, key: str, value: str, message_id: int, user_id: int | None, expires_at: datetime | None = None
) -> tuple[int, bool]:
    """Set a fact (`user_id` is empty where an agent does); one with the same key is replaced. Its number, and whether it is new.

    Raises TooManyFactsError.
    """
    key = key or f"{NOTE}{message_id}"
    # Expired ones would still hold their keys and count.
    sql.execute("DELETE FROM facts WHERE scope = %s AND expires_at <= now()", [scope])
    ((count,),) = sql.rows(
        "SELECT count(*) FROM facts WHERE scope = %s AND memory_id IS NULL AND key <> %s", [scope, key]
    )
    if count >= MAX_PER_SCOPE:
        raise TooManyFactsError(
            f"There are {count} facts here already; `!memory` lists them, `!forget` with a number makes room."
        )
    ((fact_id, is_new),) = sql.rows(_SET, [scope, key, value, message_id, user_id, expires_at])
    return int(fact_id), bool(is_new)


def correct(*, fact: Known, value: str, message_id: int, user_id: int) -> int:
    """Another value by somebody's word; what a model had learned becomes his. The fact's number."""
    key = fact.key
    if fact.is_learned:
        forget(ids=[fact.id])
        key = ""
    return remember(
        scope=fact.scope, key=key, value=value, message_id=message_id, user_id=user_id, expires_at=fact.expires_at
    )[0]


def known(*, scopes: Collection[str], limit: int = MAX_PER_SCOPE) -> list[Known]:
    """Live facts of these scopes: what people set first, newest first."""
    return [
        Known(pk, scope, key, as_text(value), set_by, rc_id, room_id, expires_at, is_learned)
        for pk, scope, key, value, set_by, rc_id, room_id, expires_at, is_learned in sql.rows(
            _LIST, [list(scopes), limit]
        )
    ]


def forget(*, ids: Sequence[int]) -> int:
    """Take facts away, and with a learned one the memory it came from (a trigger)."""
    return Fact.objects.filter(pk__in=ids).delete()[0]


def adopt_learned() -> int:
    """What Mem0 has learned and nobody knows yet becomes facts of the same scope. How many; again adds nothing.

    Only what its message's present text says, in its room's present scope: a memory's own word is not believed.
    """
    return sql.execute(
        "INSERT INTO facts (scope, key, value, confidence, source_message_id, memory_id)"
        " SELECT place.scope, 'learned-' || l.id, to_jsonb(left(l.payload->>'data', %s)), %s, m.id, l.id"
        " FROM memories l JOIN messages m ON m.id = (l.payload->>'msg')::bigint"
        " CROSS JOIN LATERAL (SELECT nexus_scope_of_room(m.room_id) AS scope) AS place"
        " WHERE l.payload->>'fact' IS NOT NULL AND l.payload->>'run_id' = place.scope AND m.deleted_at IS NULL"
        " AND (l.payload->>'rev')::bigint = (extract(epoch FROM m.rc_updated_at) * 1000000)::bigint"
        " AND NOT EXISTS (SELECT 1 FROM facts f WHERE f.memory_id = l.id)"
        # The rows are locked: an edit comes before this look, or takes the new facts away.
        " FOR SHARE OF m ON CONFLICT DO NOTHING",
        [MAX_LEARNED_CHARS, LEARNED_CONFIDENCE],
    )


def delete_expired() -> int:
    return sql.execute("DELETE FROM facts WHERE expires_at <= now()", [])
