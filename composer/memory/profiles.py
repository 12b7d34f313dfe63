"""What is known about the people who take part: what each of them set about himself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from composer.asked import Asked
from gateway.sql import Ask, Rows

MAX_PEOPLE = 10
"""Profiles of the last speakers only: the prompt is about the talk, not about the team."""

MAX_FACTS = 60

NOTE = "note-"
"""Begins the key of a fact that nobody gave one; its message's number follows."""


@dataclass(frozen=True, slots=True)
class Known:
    """One fact as a prompt shows it."""

    id: int
    scope: str
    about: str
    value: str
    source_message_id: int | None


def read(*, asked: Asked, speaker_ids: Sequence[int]) -> Ask[list[Known]]:
    """Facts of the asker's profile and, in a room, of the last speakers who are still its members."""
    others = [] if asked.is_direct else [pk for pk in dict.fromkeys(speaker_ids) if pk != asked.asker.id]
    return Ask(
        "SELECT f.id, f.scope, u.username, f.key, f.value, f.source_message_id FROM users u"
        " JOIN facts f ON f.scope = 'profile:' || u.rocketchat_id AND f.memory_id IS NULL"
        " WHERE (u.id = %s OR (u.id = ANY(%s::bigint[])"
        "   AND EXISTS (SELECT 1 FROM room_members r WHERE r.room_id = %s AND r.user_id = u.id)))"
        " AND (f.expires_at IS NULL OR f.expires_at > now()) ORDER BY u.id = %s DESC, f.updated_at DESC, f.id LIMIT %s",
        [asked.asker.id, others[: MAX_PEOPLE - 1], asked.room_id, asked.asker.id, MAX_FACTS],
        _known,
    )


def of_scopes(*, names: dict[str, str]) -> Ask[list[Known]]:
    """What people set in these scopes, newest first; `names` says what each scope is called in a prompt.

    What a model learned is a key to its message for recall, no line of its own (docs/decisions/0083).
    """
    return Ask(
        "SELECT id, scope, key, value, source_message_id FROM facts WHERE scope = ANY(%s::text[])"
        " AND (memory_id IS NULL OR confidence = 1) AND (expires_at IS NULL OR expires_at > now()) ORDER BY updated_at DESC, id LIMIT %s",
        [list(names), MAX_FACTS],
        lambda rows: _known([(pk, scope, names[scope], *rest) for pk, scope, *rest in rows]),
    )


def _known(rows: Rows) -> list[Known]:
    return [
        Known(pk, scope, _about(name, key), as_text(value), source) for pk, scope, name, key, value, source in rows
    ]


def is_note(key: str) -> bool:
    """Whether the key is only a number of ours, which tells nobody anything."""
    return key.startswith(NOTE)


def _about(name: str, key: str) -> str:
    """What a line of the prompt is about; never nothing, for a line without a name would read as one of Nexus."""
    if is_note(key):
        return name or "note"
    return f"{name}.{key}" if name else key


def as_text(raw: str) -> str:
    """A fact's JSON as it reads: a text without its quotes."""
    value = json.loads(raw)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
