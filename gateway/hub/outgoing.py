"""What bridges are to be told now, read from the rows: prompts, cancels, decisions.

Plain prepared SQL: this stands between every question and its agent, and the ORM's join would take 20 ms of it.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple, cast

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from gateway import bridge_auth, sql
from gateway.models import File, Purpose
from nexus_bridge import protocol

ROUND_LIMIT: Final = 500
DECISION_KNOWN_S: Final = 900
"""A decision older than this was sent, or its run has long gone on without it."""

TOOLS_TOKEN_EXTRA_S: Final = 3600
MAX_FILES: Final = 10
SUMMARY_WALL_S: Final = 120
"""A summary holds a lane that people may want."""

TOOLS_TOKEN_KEPT_S: Final = 600
"""A token's row is not written again for this long; it lives much longer."""

MAX_TOOLS_TOKENS: Final = 10_000
"""Digests remembered as written; above it all are forgotten and written again."""

_DUE: Final = """
SELECT i.id, i.fence, i.bridge_session, i.cancel_requested_at IS NOT NULL, i.cancel_reason,
       a.id, a.slug, b.id, b.token_version, r.rid, r.name, r.kind, i.session_key, i.message_id, i.room_id, m.thread,
       m.attachments <> '[]',
       coalesce(u.rocketchat_id, w.rocketchat_id, h.slug), coalesce(u.username, h.slug),
       coalesce(u.display_name, ''), p.text, i.purpose
FROM invocations i
JOIN agents a ON a.id = i.agent_id JOIN bridges b ON b.id = a.bridge_id
JOIN rooms r ON r.id = i.room_id JOIN messages m ON m.id = i.message_id
LEFT JOIN users u ON u.id = i.asker_user_id
LEFT JOIN agents h ON h.id = i.asker_agent_id LEFT JOIN bot_accounts w ON w.agent_id = h.id
LEFT JOIN prompts p ON p.invocation_id = i.id AND p.fence = i.fence
WHERE i.bridge_session = ANY(%s) AND i.state IN ('offered', 'running')
  AND (i.cancel_requested_at IS NOT NULL OR (i.state = 'offered' AND p.text IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM unnest(%s::bigint[], %s::bigint[]) AS k(id, fence) WHERE k.id = i.id AND k.fence = i.fence)))
ORDER BY i.offered_at, i.id LIMIT %s
"""
_DECIDED: Final = """
SELECT q.id, i.id, i.fence, i.bridge_session, q.permission, q.decision, q.note, coalesce(u.username, '')
FROM invocations i JOIN approvals q ON q.invocation_id = i.id LEFT JOIN users u ON u.id = q.decided_by_id
WHERE i.bridge_session = ANY(%s) AND i.state = 'running' AND q.kind = 'permission'
  AND q.decided_at > now() - make_interval(secs => %s)
ORDER BY q.id DESC LIMIT %s
"""
_STEERS: Final = (
    "SELECT i.bridge_session, s.id, i.id, i.fence, s.text, u.username FROM invocations i"
    " JOIN steers s ON s.invocation_id = i.id JOIN users u ON u.id = s.user_id"
    " WHERE i.bridge_session = ANY(%s) AND i.state = 'running' ORDER BY s.id DESC LIMIT %s"
)
_KEEP_TOKENS: Final = """
INSERT INTO tool_tokens (digest, bridge_id, agent_id, session_key, expires_at)
SELECT t.*, now() + %s FROM unnest(%s::varchar[], %s::bigint[], %s::bigint[], %s::varchar[]) AS t
ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at
"""


@dataclass(frozen=True, slots=True)
class Errand:
    """A frame for a session. `key` tells repeats of the same frame: an offer or cancel by fence, a decision by id."""

    session: str
    kind: str
    key: tuple[int, int]
    frame: protocol.Frame
    invocation: int


@dataclass(frozen=True, slots=True)
class Known:
    """What a connection was told a moment ago, so that a nudge does not build the same prompt again."""

    session: str
    offered: frozenset[tuple[int, int]]


class _Due(NamedTuple):
    """A row that its bridge is to be told about. The asker is the user who asked, or the agent that handed over."""

    id: int
    fence: int
    session: str
    is_cancelled: bool
    cancel_reason: str
    agent_id: int
    agent: str
    bridge_id: int
    token_version: int
    rid: str
    room_name: str
    room_kind: str
    session_key: str
    message_id: int
    room_id: int
    thread: str
    has_files: bool
    asker_id: str
    asker: str
    asker_name: str
    prompt: str | None
    purpose: str


def due(*, known: Iterable[Known], only_rows: bool = False) -> list[Errand]:
    """What these sessions are to be told and have not been told just now. `only_rows`: prompts and cancels, which is less to read."""
    by_session = {one.session: one.offered for one in known}
    told = [key for offered in by_session.values() for key in offered]
    sessions = list(by_session)
    rows = (_DUE, [sessions, [pk for pk, _ in told], [fence for _, fence in told], ROUND_LIMIT])
    if only_rows:
        return _of_rows(sql.rows(*rows))
    due_now, decided, steers = sql.batch(
        [rows, (_DECIDED, [sessions, DECISION_KNOWN_S, ROUND_LIMIT]), (_STEERS, [sessions, ROUND_LIMIT])]
    )
    return [*_of_rows(due_now), *_decisions(decided), *_steers(steers)]


def _of_rows(found: sql.Rows) -> list[Errand]:
    rows = [_Due(*row) for row in found]
    offers = _offers([row for row in rows if not row.is_cancelled])
    return [*offers, *(_cancel(row) for row in rows if row.is_cancelled)]


def _offers(rows: list[_Due]) -> list[Errand]:
    if not rows:
        return []
    tools_tokens = _tools_tokens(rows)
    return [
        Errand(
            session=row.session,
            kind="offer",
            key=(row.id, row.fence),
            frame=_prompt(row, tools_token=tools_tokens[row.id]),
            invocation=row.id,
        )
        for row in rows
    ]


def files_of(*, message_id: int, room_id: int, thread: str) -> list[File]:
    """Those of the question and of its thread that are here; the question's own first."""
    about = Q(message_id=message_id)
    if thread:
        about |= Q(message__room_id=room_id) & (Q(message__thread=thread) | Q(message__rc_id=thread))
    kept = File.objects.filter(about, message__deleted_at=None, expires_at__gt=Now()).exclude(sha256="")
    found = list(kept.order_by("-message__ts", "pk")[:MAX_FILES])
    return sorted(found, key=lambda file: file.message_id != message_id)


def _prompt(row: _Due, *, tools_token: str) -> protocol.Prompt:
    # Most questions have neither, and cost no query.
    is_answer = row.purpose == Purpose.ANSWER
    may_have = is_answer and (row.has_files or row.thread)
    files = files_of(message_id=row.message_id, room_id=row.room_id, thread=row.thread) if may_have else []
    return protocol.Prompt(
        invocation=row.id,
        fence=row.fence,
        agent=row.agent,
        asker=protocol.Person(id=row.asker_id, username=row.asker, name=row.asker_name[:200]),
        room=protocol.RoomName(id=row.rid, name=row.room_name[:200], kind=_room_kind(row.room_kind)),
        prompt=row.prompt or "",
        session_key=row.session_key,
        attachments=[
            protocol.Attachment(
                id=str(file.pk),
                name=file.name[:200],
                size=file.size,
                content_type=file.content_type,
                sha256=file.sha256,
            )
            for file in files
        ],
        tools_token=tools_token,
        limits=protocol.RunLimits(
            wall_s=settings.NEXUS_RUN_WALL_S if is_answer else min(SUMMARY_WALL_S, settings.NEXUS_RUN_WALL_S),
            idle_s=settings.NEXUS_RUN_IDLE_S,
        ),
    )


def _room_kind(kind: str) -> Literal["channel", "private", "dm"]:
    return cast("Literal['channel', 'private']", kind) if kind in ("channel", "private") else "dm"


_written: dict[str, float] = {}
"""When this process last wrote each token's row, by digest."""


def _tools_tokens(rows: list[_Due]) -> dict[int, str]:
    """For each row the token of its CLI session; their digests are kept as long as a run may last."""
    tokens: dict[int, str] = {}
    wanted: dict[str, _Due] = {}
    stale = time.monotonic() - TOOLS_TOKEN_KEPT_S
    for row in rows:
        token = tokens[row.id] = bridge_auth.tools_token(
            bridge_id=row.bridge_id,
            token_version=row.token_version,
            agent_id=row.agent_id,
            session_key=row.session_key,
        )
        digest = bridge_auth.digest_of(token)
        if _written.get(digest, float("-inf")) < stale:
            wanted[digest] = row
    if wanted:
        _keep(wanted)
    return tokens


def _keep(tokens: dict[str, _Due]) -> None:
    rows = list(tokens.values())
    columns: list[list[Any]] = [
        list(tokens),
        [row.bridge_id for row in rows],
        [row.agent_id for row in rows],
        [row.session_key for row in rows],
    ]
    sql.execute(_KEEP_TOKENS, [timedelta(seconds=settings.NEXUS_RUN_WALL_S + TOOLS_TOKEN_EXTRA_S), *columns])
    if len(_written) > MAX_TOOLS_TOKENS:
        _written.clear()
    _written.update(dict.fromkeys(tokens, time.monotonic()))


def _cancel(row: _Due) -> Errand:
    frame = protocol.Cancel(invocation=row.id, fence=row.fence, reason=row.cancel_reason)
    return Errand(session=row.session, kind="cancel", key=(row.id, row.fence), frame=frame, invocation=row.id)


def _decisions(rows: sql.Rows) -> list[Errand]:
    """The newest, in their order: of many the oldest were told long ago."""
    found = []
    for pk, invocation_id, fence, session, permission, decision, note, by in reversed(rows):
        frame = protocol.Decision(
            invocation=invocation_id,
            fence=fence,
            permission=permission,
            allow=decision == "allow",
            by=by,
            note=note or ("nobody answered in time" if decision == "expired" else ""),
        )
        found.append(Errand(session=session, kind="decision", key=(pk, 0), frame=frame, invocation=invocation_id))
    return found


def _steers(rows: sql.Rows) -> list[Errand]:
    """What people added to runs that go on; the bridge counts each once."""
    return [
        Errand(
            session=session,
            kind="steer",
            key=(pk, 0),
            frame=protocol.Steer(invocation=invocation_id, fence=fence, id=pk, text=text[:8_000], by=by[:200]),
            invocation=invocation_id,
        )
        for session, pk, invocation_id, fence, text, by in reversed(rows)
    ]
