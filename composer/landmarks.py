"""What does a room keep word for word for ever? Pins by people, by the chat and by rule; the way back; the list.

A landmark is one row per message. Everything here runs inside its caller's transaction.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

from django.db.models.functions import Now

from composer import landmark_rules
from composer.memory.lines import SPOKEN
from composer.models import KINDS, Landmark
from gateway import sql

MAX_COMPARED: Final = 50
"""Earlier landmarks of its kind that a new one is held against."""

# A person's word weighs more than a rule's: it brings back what was unpinned and may change the kind.
_PIN: LiteralString = (
    "INSERT INTO landmarks (message_id, kind, found_by, pinned_by_user_id, pinned_by_agent_id)"
    " SELECT m.id, %s, %s, %s, %s FROM messages m WHERE m.id = %s AND m.room_id = %s AND {spoken}"
    " ON CONFLICT (message_id) DO UPDATE SET kind = excluded.kind, found_by = excluded.found_by,"
    " pinned_by_user_id = excluded.pinned_by_user_id, pinned_by_agent_id = excluded.pinned_by_agent_id,"
    " unpinned_at = NULL, unpinned_by_id = NULL, superseded_by_id = NULL, created_at = now() RETURNING id"
).replace("{spoken}", SPOKEN)
# A rule never brings back what a person took away, and never takes a person's pin for its own.
_BY_RULE: LiteralString = (
    "INSERT INTO landmarks (message_id, kind, found_by, pinned_by_user_id, created_at)"
    " SELECT m.id, x.kind, 'rule', m.user_id, m.ts FROM unnest(%s::bigint[], %s::text[]) AS x(id, kind)"
    " JOIN messages m ON m.id = x.id WHERE {spoken} ON CONFLICT (message_id) DO UPDATE SET kind = excluded.kind"
    " WHERE landmarks.found_by = 'rule' AND landmarks.unpinned_at IS NULL RETURNING id, message_id"
).replace("{spoken}", SPOKEN)
_LIST: LiteralString = (
    "SELECT l.id, l.kind, m.id, m.rc_id, coalesce(u.username, a.slug), m.ts, left(m.text, 2000), l.superseded_by_id"
    " FROM landmarks l JOIN messages m ON m.id = l.message_id LEFT JOIN users u ON u.id = m.user_id"
    " LEFT JOIN agents a ON a.id = m.agent_id WHERE l.room_id = %s AND m.room_id = %s AND m.deleted_at IS NULL"
    " AND l.unpinned_at IS NULL AND l.kind = ANY(%s::text[]) AND (l.superseded_by_id IS NULL OR %s)"
    " ORDER BY l.created_at DESC, l.id DESC LIMIT %s"
)

_LAST: LiteralString = (
    "SELECT m.id FROM messages AS c, messages AS m WHERE c.id = %s AND m.room_id = %s"
    " AND (m.thread = %s OR m.rc_id = %s) AND (m.ts, m.id) < (c.ts, c.id) AND m.text !~ '^\\s*(@\\S+\\s+)*![a-z]'"
    " AND {spoken} ORDER BY m.ts DESC, m.id DESC LIMIT 1"
).replace("{spoken}", SPOKEN)


@dataclass(frozen=True, slots=True)
class Pin:
    """A landmark as people see it: its number, its kind, whose words, where."""

    id: int
    kind: str
    message_id: int
    rc_id: str
    speaker: str
    at: datetime
    text: str
    superseded_by: int | None


def pin(
    *,
    message_id: int,
    room_id: int,
    kind: str = "",
    user_id: int | None = None,
    agent_id: int | None = None,
    found_by: str = "person",
) -> int | None:
    """Pin a message of this room; again changes its kind or brings it back. None: there is no such message there."""
    text = _text_of(message_id)
    rows = sql.rows(
        _PIN, [kind or landmark_rules.kind_of(text) or "decision", found_by, user_id, agent_id, message_id, room_id]
    )
    if not rows:
        return None
    _supersede(landmark_id=rows[0][0], message_id=message_id)
    return int(rows[0][0])


def last_said(*, room_id: int, thread: str, before_id: int) -> int | None:
    """The last message of this room's talk, or of this thread, before a command; commands themselves are none."""
    rows = sql.rows(_LAST, [before_id, room_id, thread, thread])
    return rows[0][0] if rows else None


def unpin(*, room_id: int, user_id: int, landmark_id: int | None = None, message_id: int | None = None) -> Pin | None:
    """Take a live landmark of this room away; what it had superseded counts again. None: there is none such."""
    found = [
        pin
        for pin in live(room_id=room_id, kinds=KINDS, limit=1_000, with_superseded=True)
        if (landmark_id is not None and pin.id == landmark_id) or pin.message_id == message_id
    ]
    if not found:
        return None
    let_go(landmark_id=found[0].id, user_id=user_id)
    return found[0]


def let_go(*, landmark_id: int, user_id: int | None) -> None:
    """Not pinned any more, and what it had superseded counts again. Without a user: somebody at the site did it."""
    Landmark.objects.filter(pk=landmark_id, unpinned_at=None).update(unpinned_at=Now(), unpinned_by_id=user_id)
    Landmark.objects.filter(superseded_by_id=landmark_id).update(superseded_by=None)


def live(*, room_id: int, kinds: Collection[str], limit: int, with_superseded: bool = False) -> list[Pin]:
    """The room's landmarks of these kinds, newest first."""
    return [Pin(*row) for row in sql.rows(_LIST, [room_id, room_id, list(kinds), with_superseded, limit])]


def follow_rules(*, said: Mapping[int, str], edited: Collection[int]) -> None:
    """What people said just now, by message: landmarks by rule are made, and go when an edit takes their reason away."""
    kinds = {pk: kind for pk, text in said.items() if (kind := landmark_rules.kind_of(text)) is not None}
    bare = [pk for pk in edited if pk not in kinds]
    if bare:
        sql.execute("DELETE FROM landmarks WHERE message_id = ANY(%s::bigint[]) AND found_by = 'rule'", [bare])
    if kinds:
        made = sql.rows(_BY_RULE, [list(kinds), list(kinds.values())])
        for landmark_id, message_id in sorted(made):
            _supersede(landmark_id=landmark_id, message_id=message_id)


def follow_chat_pins(*, pinned: Mapping[int, tuple[int, str]], others: Sequence[int]) -> None:
    """Pins of the chat itself: `pinned` says room and pinner's username by message; `others` are not pinned (any more)."""
    if others:
        sql.execute(
            "UPDATE landmarks SET unpinned_at = now() WHERE message_id = ANY(%s::bigint[]) AND found_by = 'chat'"
            " AND unpinned_at IS NULL",
            [others],
        )
    known = {
        pk
        for (pk,) in sql.rows(
            "SELECT message_id FROM landmarks WHERE message_id = ANY(%s::bigint[]) AND unpinned_at IS NULL",
            [list(pinned)],
        )
    }
    for message_id, (room_id, username) in pinned.items():
        if message_id not in known:
            users = sql.rows("SELECT id FROM users WHERE username = %s LIMIT 2", [username])
            pinner = users[0][0] if len(users) == 1 else None
            pin(message_id=message_id, room_id=room_id, user_id=pinner, found_by="chat")


def by_relevance(texts: Sequence[str], *, question: str, newest: int) -> list[int]:
    """In which order landmarks (newest first) may fill their share: the newest, then what fits the question best."""
    overlaps = [landmark_rules.overlap(text=text, question=question) for text in texts[newest:]] if question else []
    rest = sorted(range(len(overlaps)), key=lambda index: -overlaps[index])
    return [*range(len(texts) - len(rest)), *(len(texts) - len(rest) + index for index in rest)]


def _supersede(*, landmark_id: int, message_id: int) -> None:
    """An earlier landmark that this one replaces, by number or by being about the same, is live no more."""
    row = Landmark.objects.select_related("message").get(pk=landmark_id)
    number = landmark_rules.replaced_number(row.message.text)
    earlier = Landmark.objects.filter(
        message__room_id=row.message.room_id, unpinned_at=None, superseded_by=None, message__deleted_at=None
    ).exclude(pk=landmark_id)
    if number is not None:
        # Two that replace each other would both be gone.
        earlier.filter(pk=number).update(superseded_by=landmark_id)
        return
    if row.kind not in ("decision", "spec"):
        return
    before = earlier.filter(kind=row.kind, message__ts__lte=row.message.ts).select_related("message")
    same = [
        other.pk
        for other in before.order_by("-message__ts")[:MAX_COMPARED]
        if other.message_id != message_id
        and landmark_rules.is_about_the_same(later=row.message.text, earlier=other.message.text)
    ]
    Landmark.objects.filter(pk__in=same).update(superseded_by=landmark_id)


def _text_of(message_id: int) -> str:
    rows = sql.rows("SELECT left(text, %s) FROM messages WHERE id = %s", [landmark_rules.MAX_CHARS, message_id])
    return rows[0][0] if rows else ""
