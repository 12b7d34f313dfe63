"""Which queued rows can go now? The reads of a claim, of who frees something, and of who lets a room go share one condition.

The live states are written out, as in the partial indexes that serve these reads.
"""

from typing import Final

from gateway import sql

MAX_WOKEN: Final = 8
"""Rows started when something gets free; each of them starts the next when it goes on."""

IS_LIVE: Final = "l.state IN ('composing', 'composed', 'offered', 'running')"
CAN_GO: Final = (
    "i.state = 'queued' AND (i.files_until IS NULL OR i.files_until < statement_timestamp())"  # noqa: S608 - constants only
    " AND NOT EXISTS (SELECT 1 FROM invocations l WHERE l.agent_id = i.agent_id AND l.session_key = i.session_key"
    f"  AND {IS_LIVE})"
    f" AND (NOT r.is_serial OR NOT EXISTS (SELECT 1 FROM invocations l WHERE l.serial_room_id = i.room_id AND {IS_LIVE}))"
)
"""Of an invocation `i` in its room `r`: nothing of its session or its serial room is live. Lanes are counted apart."""

LANES: Final = (
    "least(a.parallel, coalesce((SELECT (o->>'parallel')::int FROM bridges w CROSS JOIN LATERAL"
    " jsonb_array_elements(w.offers) AS o WHERE w.id = a.bridge_id AND o->>'slug' = a.slug LIMIT 1), a.parallel))"
)
"""How many rows of an agent `a` may be live: as many as we allow, and no more than its laptop takes."""

FIRST_COME: Final = "i.purpose = 'summary', q.ts, i.id"
"""The order of a queue: a summary waits until no question does."""

_NEXT: Final = (
    " FROM invocations i JOIN agents a ON a.id = i.agent_id JOIN rooms r ON r.id = i.room_id"
    f" JOIN messages q ON q.id = i.message_id WHERE {CAN_GO}"
)
_NEXT_OF_AGENT: Final = f"SELECT {FIRST_COME}{_NEXT} AND i.agent_id = %s ORDER BY {FIRST_COME} LIMIT {MAX_WOKEN}"
_NEXT_OF_ROOM: Final = f"SELECT {FIRST_COME}{_NEXT} AND i.room_id = %s ORDER BY {FIRST_COME} LIMIT {MAX_WOKEN}"
_NEXT_WITH_LANE: Final = (
    f"SELECT i.id{_NEXT} AND i.room_id = %s AND (SELECT count(*) FROM invocations l"  # noqa: S608 - constants only
    f" WHERE l.agent_id = i.agent_id AND {IS_LIVE}) < {LANES} ORDER BY {FIRST_COME} LIMIT 1"
)


def next_claimable(*, agent_id: int | None = None, serial_room_id: int | None = None) -> list[int]:
    """Ids of the queued rows that a claim could take now, first come first, one per free session."""
    # A query per scope: one with OR between them has no index to go by.
    found = [] if agent_id is None else sql.rows(_NEXT_OF_AGENT, [agent_id])
    found += [] if serial_room_id is None else sql.rows(_NEXT_OF_ROOM, [serial_room_id])
    return list(dict.fromkeys(pk for *_, pk in sorted(found)))[:MAX_WOKEN]


def next_in_room(*, room_id: int) -> int | None:
    """The room's first row that could be claimed now, for the worker that lets the room lock go."""
    rows = sql.rows(_NEXT_WITH_LANE, [room_id])
    return rows[0][0] if rows else None
