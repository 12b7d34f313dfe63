"""What is being asked: the claimed row with its question, agent, room and people, in one query?"""

from dataclasses import dataclass
from functools import partial

from composer.memory.lines import Line, Moment, micros
from gateway import sql
from gateway.models import Purpose, RoomKind


@dataclass(frozen=True, slots=True)
class Person:
    id: int
    rocketchat_id: str
    username: str


@dataclass(frozen=True, slots=True)
class Asked:
    """`asker` is the human at the root; `writer` is the agent that handed over, or empty. `text` is uncut."""

    invocation_id: int
    thread: str
    hop: int
    question: Line
    text: str
    agent: str
    persona: str
    budget: int | None
    room_id: int
    rid: str
    kind: str
    room_name: str
    project: tuple[int, str] | None
    asker: Person
    writer: str
    is_gone: bool = False
    cli_kind: str = ""
    token_percent: int = 100
    purpose: str = Purpose.ANSWER

    @property
    def before(self) -> Moment:
        return self.question.order

    @property
    def is_direct(self) -> bool:
        return self.kind == RoomKind.DM


def read(*, invocation_id: int) -> Asked:
    return ask(invocation_id=invocation_id).answer()


def ask(*, invocation_id: int) -> sql.Ask[Asked]:
    return sql.Ask(
        "SELECT i.thread, i.hop, m.id, m.rc_id, coalesce(m.user_id, 0), coalesce(m.agent_id, 0), m.ts, m.rc_updated_at,"
        " m.text, m.attachments <> '[]', g.slug, g.persona, g.prompt_budget, g.cli_kind, g.token_percent, r.id, r.rid, r.kind, r.name, p.id, p.slug,"
        " u.id, u.rocketchat_id, u.username, coalesce(w.slug, ''), m.deleted_at IS NOT NULL, i.purpose"
        " FROM invocations i JOIN messages m ON m.id = i.message_id JOIN agents g ON g.id = i.agent_id"
        " JOIN rooms r ON r.id = i.room_id JOIN users u ON u.id = i.root_asker_id"
        " LEFT JOIN projects p ON p.id = r.project_id LEFT JOIN agents w ON w.id = i.asker_agent_id WHERE i.id = %s",
        [invocation_id],
        partial(_as_asked, invocation_id),
    )


def _as_asked(invocation_id: int, rows: sql.Rows) -> Asked:
    ((found),) = rows
    thread, hop, pk, rc_id, user_id, agent_id, ts, revision, text, has_files, *rest = found
    slug, persona, budget, cli_kind, token_percent, room_id, rid, kind, name, project_id, project, *people = rest
    asker = Person(*people[:3])
    writer = people[3]
    speaker = writer if agent_id else asker.username
    return Asked(
        invocation_id=invocation_id,
        thread=thread,
        hop=hop,
        question=Line(pk, rc_id, user_id, agent_id, speaker, micros(ts), micros(revision), thread, ""),
        text=f"{text}{_files(pk)}" if has_files else text,
        agent=slug,
        persona=persona,
        budget=budget,
        room_id=room_id,
        rid=rid,
        kind=kind,
        room_name=name,
        project=(project_id, project) if project_id is not None else None,
        asker=asker,
        writer=writer,
        is_gone=people[4],
        purpose=people[5],
        cli_kind=cli_kind,
        token_percent=token_percent,
    )


def _files(message_id: int) -> str:
    """What came with the question, and what of it the agent does not get."""
    rows = sql.rows(
        "SELECT name, failed_reason, sha256 <> '' FROM files WHERE message_id = %s ORDER BY id LIMIT 20", [message_id]
    )
    notes = [
        name if is_here else f"{name}, which could not be passed on: {reason or 'it did not come in time'}"
        for name, reason, is_here in rows
    ]
    return f"\n[attached: {'; '.join(notes)}]" if notes else ""
