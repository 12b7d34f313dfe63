"""What has a bot account still to say? The poster's reading of the database, in few statements: it is asked often.

Plain SQL, because a look comes with every burst of output and the ORM would cost more than Postgres does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway import sql
from gateway.chat import handover
from gateway.models import FINAL, LIVE, State
from runtime.reply import Names, Spent

LOOK_ROWS: Final = 200
LOOK_CHUNKS: Final = 2_000
"""Rows of one look; the rest come with the next one, so that a backlog never fills the memory."""

SHOWN: Final = [str(state) for state in (*LIVE, *FINAL)]
WRITTEN: Final = (State.RUNNING, *FINAL)

_ROWS: Final = """
SELECT i.id, i.state, i.room_id, r.rid, r.is_quiet, r.has_eyes, q.rc_id, i.thread, i.hop, i.running_at, i.ended_at,
       i.input_tokens, i.output_tokens, i.cost_usd, i.last_seq, i.state = 'running' AND i.output_sha256 <> ''
FROM invocations i JOIN rooms r ON r.id = i.room_id JOIN messages q ON q.id = i.message_id
WHERE i.agent_id = %s AND i.reply_settled_at IS NULL AND i.state = ANY(%s)
ORDER BY i.id LIMIT %s
"""
_CHUNKS: Final = """
SELECT known.id, c.seq, c.payload
FROM unnest(%s::bigint[], %s::bigint[]) AS known(id, seq)
JOIN LATERAL (
    SELECT seq, payload FROM chunks WHERE invocation_id = known.id AND seq > known.seq ORDER BY seq LIMIT %s
) c ON true
ORDER BY known.id, c.seq LIMIT %s
"""
_NOTICES: Final = """
SELECT n.id, n.chat_id, r.rid, n.room_id, n.thread, n.text, n.kind, n.invocation_id, n.revision, n.posted_revision,
       n.part_count
FROM notices n JOIN rooms r ON r.id = n.room_id
WHERE n.agent_id = %s AND n.posted_revision < n.revision
ORDER BY n.id LIMIT %s
"""
_OWN_NOTICES: Final = _NOTICES.replace("n.agent_id = %s", "n.agent_id IS NULL")
"""What `nexus` itself has to say."""

_PARTS: Final = """
SELECT p.invocation_id, p.part, p.chat_id, p.text_sha256, p.revision, p.is_gone OR m.deleted_at IS NOT NULL
FROM reply_parts p LEFT JOIN messages m ON m.rc_id = p.chat_id
WHERE p.invocation_id = ANY(%s) ORDER BY p.invocation_id, p.part
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An invocation whose room does not have its last word yet.

    `is_sent_anew`: what was stored did not match the bridge's digest, so all its chunks come a second time.
    """

    id: int
    state: str
    room_id: int
    rid: str
    is_quiet: bool
    has_eyes: bool
    question: str
    thread: str
    hop: int
    running_at: datetime | None
    spent: Spent
    last_seq: int
    is_sent_anew: bool


@dataclass(frozen=True, slots=True)
class PostedPart:
    number: int
    chat_id: str
    digest: str
    revision: int
    is_gone: bool


@dataclass(frozen=True, slots=True)
class Opening:
    """What is needed once per invocation: the names its text may contain, and what was posted before a restart."""

    names: Names
    parts: tuple[PostedPart, ...]


@dataclass(frozen=True, slots=True)
class DueNotice:
    id: int
    chat_id: str
    rid: str
    room_id: int
    thread: str
    text: str
    kind: str
    invocation_id: int | None
    revision: int
    posted_revision: int
    part_count: int


Chunks = list[tuple[int, int, str]]
"""(invocation, seq, payload), in the order of their seq per invocation."""


@dataclass(frozen=True, slots=True)
class Look:
    """`has_all_rows` and `has_all_chunks`: no more of them were there than fit into one look."""

    rows: list[Row]
    openings: Mapping[int, Opening]
    chunks: Chunks
    notices: list[DueNotice]
    has_all_rows: bool
    has_all_chunks: bool


def look(*, agent_id: int | None, seen: Mapping[int, int]) -> Look:
    """Everything due for an account; `seen` is the last seq read of each invocation that is known already.

    States are read before chunks, so a row seen in a final state has all its chunks in this look.
    """
    rows = [] if agent_id is None else _rows(agent_id)
    fresh = [row for row in rows if row.id not in seen]
    chunks = glance(seen={row.id: seen.get(row.id, 0) for row in rows if row.state in WRITTEN and row.running_at})
    return Look(
        rows=rows,
        openings={} if agent_id is None else _openings(fresh, agent_id=agent_id),
        chunks=chunks,
        notices=_notices(agent_id),
        has_all_rows=len(rows) < LOOK_ROWS,
        has_all_chunks=len(chunks) < LOOK_CHUNKS,
    )


def glance(*, seen: Mapping[int, int]) -> Chunks:
    """New output of these invocations and nothing else: the short way from a chunk to the room."""
    return sql.rows(_CHUNKS, [list(seen), list(seen.values()), LOOK_CHUNKS, LOOK_CHUNKS]) if seen else []


def _rows(agent_id: int) -> list[Row]:
    rows = []
    for row in sql.rows(_ROWS, [agent_id, SHOWN, LOOK_ROWS]):
        pk, state, room_id, rid, is_quiet, has_eyes, question, thread, hop, running_at, ended_at, *more = row
        tokens_in, tokens_out, cost, last_seq, is_sent_anew = more
        seconds = (ended_at - running_at).total_seconds() if ended_at and running_at else 0.0
        spent = Spent(seconds=seconds, input_tokens=tokens_in, output_tokens=tokens_out, cost_usd=cost)
        place = (room_id, rid, is_quiet, has_eyes, question, thread)
        rows.append(Row(pk, state, *place, hop, running_at, spent, last_seq, is_sent_anew))
    return rows


def _openings(rows: list[Row], *, agent_id: int) -> dict[int, Opening]:
    if not rows:
        return {}
    posted: dict[int, list[PostedPart]] = {row.id: [] for row in rows}
    for invocation_id, *part in sql.rows(_PARTS, [list(posted)]):
        posted[invocation_id].append(PostedPart(*part))
    names = {hop: handover.names(agent_id=agent_id, hop=hop) for hop in {row.hop for row in rows}}
    return {row.id: Opening(names=names[row.hop], parts=tuple(posted[row.id])) for row in rows}


def _notices(agent_id: int | None) -> list[DueNotice]:
    if agent_id is None:
        return [DueNotice(*row) for row in sql.rows(_OWN_NOTICES, [LOOK_ROWS])]
    return [DueNotice(*row) for row in sql.rows(_NOTICES, [agent_id, LOOK_ROWS])]
