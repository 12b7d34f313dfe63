"""What bridges send, stored: one transaction for the frames of many connections, exact about every seq; and read back.

Rules (docs/protocol.md): a repeated seq is acked again, a gap asks for a rewind, a frame of another fence or of a run
that is over is answered with `drop`, and nothing is acked before its commit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db import connection, transaction

from gateway import audit, redaction, sql
from gateway.invocations import approvals, transitions
from gateway.models import FINAL, State
from nexus_bridge import events
from nexus_bridge.protocol import Accepted, Ack, Chunks, Drop, End, Error, Frame, Refused, Rewind
from runtime.models import Chunk

FromRun = Accepted | Refused | Chunks | End
"""Frames that belong to one run; they keep their order inside a connection."""

MAX_COUNT: Final = 2**53
MAX_COST_USD: Final = 999_999.0
MAX_EXIT_CODE: Final = 2**31 - 1
REASON_LENGTH: Final = 60

_LOCK = """
    SELECT i.id, i.state, i.fence, i.bridge_session, i.last_seq, i.output_sha256, i.agent_id, a.bridge_id
    FROM invocations i JOIN agents a ON a.id = i.agent_id
    WHERE i.id = ANY(%s) ORDER BY i.id FOR NO KEY UPDATE OF i
"""
_COPY = "COPY chunks (invocation_id, seq, kind, payload) FROM STDIN"
_ADVANCE = """
    UPDATE invocations AS i
    SET last_seq = v.seq,
        first_text_at = CASE WHEN v.has_text THEN COALESCE(i.first_text_at, now()) ELSE i.first_text_at END
    FROM unnest(%s::bigint[], %s::bigint[], %s::boolean[]) AS v(id, seq, has_text)
    WHERE i.id = v.id
"""
_DIGEST = """
    SELECT encode(sha256(COALESCE(string_agg(convert_to(payload, 'UTF8'), ''::bytea ORDER BY seq), ''::bytea)), 'hex')
    FROM chunks WHERE invocation_id = %s
"""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One frame and the bridge session it came on."""

    bridge_id: int
    session: str
    frame: FromRun


@dataclass(frozen=True, slots=True)
class Stored:
    """What to answer to each arrival, in their order, and whose output grew."""

    answers: list[Frame | None]
    agent_ids: set[int]
    chunk_count: int


@dataclass(slots=True)
class _Run:
    """A locked invocation row, as it will be after this transaction."""

    id: int
    state: str
    fence: int
    session: str
    last_seq: int
    output_sha256: str
    agent_id: int
    bridge_id: int | None
    has_moved: bool = False
    has_text: bool = False


def store(*, arrivals: Sequence[Arrival]) -> Stored:
    """Apply the frames in order and commit. After an error nothing of them is stored."""
    with transaction.atomic(durable=True):
        batch = _Batch(runs=_lock({arrival.frame.invocation for arrival in arrivals}))
        answers = [batch.take(arrival) for arrival in arrivals]
        batch.write()
    return Stored(answers=answers, agent_ids=batch.agent_ids, chunk_count=batch.chunk_count)


def give_up(*, arrival: Arrival) -> Frame:
    """This frame can't be stored whatever is tried: its run ends, with what was certain before it."""
    frame = arrival.frame
    with transaction.atomic(durable=True):
        runs = _lock({frame.invocation})
        run = runs.get(frame.invocation)
        if run is not None and run.session == arrival.session:
            transitions.interrupt(invocation_id=run.id, fence=frame.fence, reason="output_corrupt")
    return Drop(invocation=frame.invocation, reason="the hub can't store this frame")


def since(*, invocation_id: int, seq: int = 0) -> list[Chunk]:
    """The committed chunks after `seq`, in order."""
    return list(Chunk.objects.filter(invocation_id=invocation_id, seq__gt=seq).order_by("seq"))


def _lock(ids: Iterable[int]) -> dict[int, _Run]:
    return {row[0]: _Run(*row) for row in sql.rows(_LOCK, [list(ids)])}


@dataclass(slots=True)
class _Batch:
    runs: dict[int, _Run]
    agent_ids: set[int] = field(default_factory=set)
    chunk_count: int = 0
    _lines: list[str] = field(default_factory=list)

    def take(self, arrival: Arrival) -> Frame | None:
        frame = arrival.frame
        run = self.runs.get(frame.invocation)
        if run is None or arrival.session != run.session:
            return _foreign(arrival, run)
        if run.fence != frame.fence:
            return Drop(invocation=frame.invocation, reason="stale_fence")
        if run.state in FINAL:
            return _already_over(run, frame)
        match frame:
            case Accepted():
                return self._accept(run)
            case Refused():
                return self._refuse(run, frame)
            case Chunks():
                return self._add(run, frame)
            case End():
                return self._end(run, frame)

    def write(self) -> None:
        """Send what was taken to the database, before the commit or before a digest is made of it."""
        moved = [run for run in self.runs.values() if run.has_moved]
        if not moved:
            return
        if self._lines:
            # Django's cursor lets psycopg's own errors out of a copy; callers tell a lost database by Django's.
            with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.write("".join(self._lines))
            self._lines.clear()
        texts = [run.has_text for run in moved]
        sql.execute(_ADVANCE, [[run.id for run in moved], [run.last_seq for run in moved], texts])
        for run in moved:
            run.has_moved = run.has_text = False

    def _accept(self, run: _Run) -> Frame | None:
        if run.state == State.OFFERED and transitions.accepted(
            invocation_id=run.id, fence=run.fence, session=run.session
        ):
            run.state = State.RUNNING
        return None if run.state == State.RUNNING else Drop(invocation=run.id, reason="not_offered")

    def _refuse(self, run: _Run, frame: Refused) -> Frame | None:
        if not transitions.refused(
            invocation_id=run.id,
            fence=run.fence,
            session=run.session,
            reason=frame.reason[:REASON_LENGTH],
            detail=redaction.masked(frame.message),
        ):
            return Drop(invocation=run.id, reason="not_offered")
        run.state = State.REFUSED
        return None

    def _add(self, run: _Run, frame: Chunks) -> Frame | None:
        if (refusal := self._accept(run)) is not None:
            return refusal
        if frame.chunks[0].seq > run.last_seq + 1:
            return Rewind(invocation=run.id, seq=run.last_seq + 1)
        for chunk in frame.chunks:
            if chunk.seq <= run.last_seq:
                continue
            self._lines.append(f"{run.id}\t{chunk.seq}\t{chunk.kind}\t{_copy_text(chunk.payload)}\n")
            self.chunk_count += 1
            run.last_seq = chunk.seq
            run.has_moved = True
            if chunk.kind == "text":
                run.has_text = True
            elif chunk.kind == "permission":
                self._ask(run, chunk.payload)
        self.agent_ids.add(run.agent_id)
        return Ack(invocation=run.id, seq=run.last_seq)

    def _ask(self, run: _Run, payload: str) -> None:
        event = events.decode(payload)
        if isinstance(event, events.Permission):
            approvals.ask(invocation_id=run.id, permission=event)

    def _end(self, run: _Run, frame: End) -> Frame | None:
        if (refusal := self._accept(run)) is not None:
            return refusal
        if frame.seq <= run.last_seq:
            return Ack(invocation=run.id, seq=run.last_seq)
        if frame.seq > run.last_seq + 1:
            return Rewind(invocation=run.id, seq=run.last_seq + 1)
        self.write()
        if _digest(run.id) == frame.sha256:
            self._finish(run, frame, outcome=frame.outcome, reason=frame.reason)
        elif not run.output_sha256:
            return self._start_over(run, frame)
        else:
            self._finish(run, frame, outcome="failed", reason="output_corrupt")
        return Ack(invocation=run.id, seq=frame.seq)

    def _finish(self, run: _Run, frame: End, *, outcome: str, reason: str) -> None:
        cost = frame.usage.cost_usd
        exit_code = frame.exit_code
        transitions.ended(
            invocation_id=run.id,
            fence=run.fence,
            session=run.session,
            outcome=outcome,
            reason=reason[:REASON_LENGTH],
            detail=redaction.masked(frame.message),
            exit_code=None if exit_code is None else max(-MAX_EXIT_CODE, min(exit_code, MAX_EXIT_CODE)),
            sha256=frame.sha256,
            input_tokens=min(frame.usage.input_tokens, MAX_COUNT),
            output_tokens=min(frame.usage.output_tokens, MAX_COUNT),
            cached_tokens=min(frame.usage.cached_tokens, MAX_COUNT),
            cost_usd=None if cost is None else min(cost, MAX_COST_USD),
        )
        run.state = outcome
        run.last_seq = frame.seq
        run.has_moved = True
        self.agent_ids.add(run.agent_id)

    def _start_over(self, run: _Run, frame: End) -> Frame:
        """What is stored is not what was sent: have it all once more. `output_sha256` remembers that this was done."""
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM chunks WHERE invocation_id = %s", [run.id])
            cursor.execute(
                "UPDATE invocations SET last_seq = 0, output_sha256 = %s WHERE id = %s", [frame.sha256, run.id]
            )
        run.last_seq = 0
        run.output_sha256 = frame.sha256
        return Rewind(invocation=run.id, seq=1)


def _copy_text(payload: str) -> str:
    """As COPY's text form wants it. Most payloads have none of these signs, and a search for one is cheap."""
    return payload.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _foreign(arrival: Arrival, run: _Run | None) -> Frame:
    """A run of another bridge is a case for the audit log; one of an older session of this bridge is only late."""
    frame = arrival.frame
    if run is not None and run.bridge_id == arrival.bridge_id:
        return Drop(invocation=frame.invocation, reason="another session has this run")
    audit.record(
        actor=f"bridge:{arrival.bridge_id}", action="frame_not_yours", target=f"invocation:{frame.invocation}"
    )
    about = type(frame).__name__.lower()
    return Error(code="not_yours", about=about, message=f"invocation {frame.invocation} is not this bridge's")


def _already_over(run: _Run, frame: FromRun) -> Frame:
    if isinstance(frame, End) and frame.seq <= run.last_seq:
        return Ack(invocation=run.id, seq=run.last_seq)
    return Drop(invocation=run.id, reason="already_terminal")


def _digest(invocation_id: int) -> str:
    return str(sql.rows(_DIGEST, [invocation_id])[0][0])
