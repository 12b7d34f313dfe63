"""What the lines of a journal say happened, damage included."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from nexus_bridge import records
from nexus_bridge.protocol import End
from nexus_bridge.records import Damaged, Record, Tag
from nexus_bridge.spool import Run


@dataclass(frozen=True, slots=True)
class Seen:
    """An invocation that is over here; `reason` is empty unless it was refused."""

    at: float
    reason: str = ""
    message: str = ""


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The invocation stands in the head as well: one of the two survives most damage."""

    invocation: int = 0
    agent: str
    session_key: str
    at: float


class Refused(msgspec.Struct, frozen=True):
    message: str
    at: float


class CliSession(msgspec.Struct, frozen=True):
    agent: str
    session_key: str
    id: str


@dataclass(slots=True)
class Past:
    """`cli_sessions` are by agent and session key: the CLI's id and when it was last new."""

    runs: dict[int, Run] = field(default_factory=dict)
    seen: dict[int, Seen] = field(default_factory=dict)
    cli_sessions: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    damaged_count: int = 0

    @classmethod
    def of(cls, lines: Iterable[bytes]) -> "Past":
        """Every line after the journal's first one, without newlines."""
        past = cls()
        is_head_damaged = False
        for raw in lines:
            record = records.parse(raw)
            if isinstance(record, Record):
                past._take(record)
            else:
                past.damaged_count += 1
                is_head_damaged |= record.invocation is None
                past._condemn(record)
        if is_head_damaged:  # a chunk of nobody knows whom is missing: only a whole run with its end is sure
            for run in past.runs.values():
                run.is_lost |= run.ending is None
        return past

    def _take(self, record: Record) -> None:
        match record:
            case Record(tag=Tag.ACCEPTED, first=invocation, second=fence, body=body):
                accepted = msgspec.json.decode(body, type=Accepted)
                self.runs[invocation] = Run(
                    invocation=invocation,
                    fence=fence,
                    agent=accepted.agent,
                    session_key=accepted.session_key,
                )
            case Record(tag=Tag.REFUSED, first=invocation, word=reason, body=body):
                refused = msgspec.json.decode(body, type=Refused)
                self.seen[invocation] = Seen(at=refused.at, reason=reason, message=refused.message)
            case Record(tag=Tag.FINISHED, first=invocation, second=at):
                self.runs.pop(invocation, None)
                self.seen[invocation] = Seen(at=float(at))
            case Record(tag=Tag.CLI_SESSION, second=at, body=body):
                known = msgspec.json.decode(body, type=CliSession)
                self.cli_sessions.pop((known.agent, known.session_key), None)
                self.cli_sessions[known.agent, known.session_key] = (known.id, at)
            case _ if record.first in self.runs:
                _take_output(self.runs[record.first], record)
            case _:
                self._lose(record.first)

    def _condemn(self, damaged: Damaged) -> None:
        """The run of a damaged record is lost."""
        if damaged.invocation is not None:
            self._lose(damaged.invocation)
        elif damaged.body is not None:
            try:
                self._lose(msgspec.json.decode(damaged.body, type=Accepted).invocation)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return  # of another kind of record

    def _lose(self, invocation: int) -> None:
        """A run whose acceptance is unreadable may have been started, so it must never be started again."""
        if invocation in self.runs:
            self.runs[invocation].is_lost = True
        elif invocation not in self.seen:
            self.seen[invocation] = Seen(at=0.0, reason="lost", message="The bridge's journal of it is damaged.")


def _take_output(run: Run, record: Record) -> None:
    match record:
        case Record(tag=Tag.CHUNK, second=seq, word=kind, body=body) if seq == run.last_seq + 1:
            run.add(kind=kind, payload=body.decode())  # type: ignore[arg-type]  # written by us
        case Record(tag=Tag.END, second=seq, body=body) if seq == run.last_seq + 1:
            run.ending = msgspec.json.decode(body, type=End)
        case Record(tag=Tag.ACKED, second=seq):
            run.is_lost |= not run.ack(seq)
        case _:  # a gap, or a record that says so
            run.is_lost = True
