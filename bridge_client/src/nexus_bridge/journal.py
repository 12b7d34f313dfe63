"""What the bridge remembers on disk: which invocations it took, what they said, which ids it must never start again.

One append-only file, held by one process. On disk for sure (fsync) before anything is started: `accepted`; before it
is sent: `end`. Chunks are written before they are sent but not synced: a killed bridge loses none, and what a power
cut takes is noticed at the next welcome, where the hub names the seq it has.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from nexus_bridge import records
from nexus_bridge.disk import lock, make_private, open_private, sync_directory, write_all
from nexus_bridge.errors import JournalRefused, JournalWriteError
from nexus_bridge.protocol import Chunk, ChunkKind, End
from nexus_bridge.records import Record, Tag
from nexus_bridge.replay import Accepted, CliSession, Past, Refused, Seen
from nexus_bridge.spool import Run

KEEP_IDS_S: Final = 30 * 86_400
"""How long the id of a finished run is known; a hub offers none that old."""

KEEP_CLI_SESSIONS: Final = 1_000
"""CLI sessions that can be resumed; the ones used longest ago go first."""

NOTE_ACK_EVERY: Final = 128
"""Chunks between two notes of how far the hub has acked a run."""

COMPACT_BYTES: Final = 8 * 1024 * 1024
"""Below this size the file is left alone."""


class Journal:
    """Use `Journal.open`; `close` when done. Times are seconds since the epoch, passed in."""

    id: str
    runs: dict[int, Run]
    """Every run whose end is not acked, in the order of acceptance."""

    def __init__(self, *, directory: Path, held: int, durable: bool) -> None:
        self._directory = directory
        self._lock = held
        self._durable = durable
        self._file = -1
        self._size = 0
        self._compact_at = COMPACT_BYTES
        self._buffer: list[bytes] = []
        self._touched: set[int] = set()
        self._seen: dict[int, Seen] = {}
        self._cli_sessions: dict[tuple[str, str], tuple[str, int]] = {}
        self.damaged_count = 0
        self.runs = {}

    @classmethod
    def open(cls, *, directory: Path, now: float, durable: bool = True) -> "Journal":
        """Lock, read and tidy the journal of `directory`, or make one. Raises JournalError.

        `durable=False` leaves out every fsync; for benchmarks, where the disk is not the question.
        """
        make_private(directory)
        journal = cls(directory=directory, held=lock(directory), durable=durable)
        try:
            journal._load(now=now)
        except BaseException:
            journal.close()
            raise
        return journal

    # What happened before

    def seen(self, invocation: int) -> Seen | None:
        """The answer an id already had, when it is over here."""
        return self._seen.get(invocation)

    def cli_session(self, *, agent: str, session_key: str) -> str | None:
        known = self._cli_sessions.get((agent, session_key))
        return known[0] if known else None

    def chunks(self, *, invocation: int, first: int, last: int) -> Iterator[Chunk]:
        """Chunks from disk, also acked ones, of a run whose end is not acked. `flush` before. Raises JournalError."""
        for raw in _lines(self._path):
            match records.parse(raw):
                case Record(tag=Tag.CHUNK, first=of, second=seq, word=kind, body=body) if (
                    of == invocation and first <= seq <= last
                ):
                    yield Chunk(seq=seq, kind=kind, payload=body.decode())  # type: ignore[arg-type]  # written by us

    # What happens now

    def accept(self, *, invocation: int, fence: int, agent: str, session_key: str, now: float) -> Run:
        """On disk when this returns; only then may anything be started."""
        body = Accepted(invocation=invocation, agent=agent, session_key=session_key, at=now)
        self._write(Tag.ACCEPTED, invocation, fence, body=msgspec.json.encode(body))
        self.flush(durable=True)
        run = Run(invocation=invocation, fence=fence, agent=agent, session_key=session_key)
        self.runs[invocation] = run
        return run

    def refuse(self, *, invocation: int, fence: int, reason: str, message: str, now: float) -> None:
        self._seen[invocation] = Seen(at=now, reason=reason, message=message)
        body = msgspec.json.encode(Refused(message=message, at=now))
        self._write(Tag.REFUSED, invocation, fence, word=reason, body=body)

    def append(self, run: Run, *, kind: ChunkKind, payload: str) -> Chunk:
        """Give the payload the run's next seq. In memory until `flush`, which comes before any sending."""
        chunk = run.add(kind=kind, payload=payload)
        if run.is_spooled:
            self._touched.add(run.invocation)
            self._write(Tag.CHUNK, run.invocation, chunk.seq, word=kind, body=payload.encode())
        return chunk

    def end(self, run: Run, *, ending: End) -> None:
        """The run's last record; on disk when this returns. It stands even when the disk did not take it."""
        run.ending = ending
        if run.is_spooled:
            body = msgspec.json.encode(ending)
            self._touched.add(run.invocation)
            self._write(Tag.END, run.invocation, ending.seq, word=ending.outcome, body=body)
            self.flush(durable=True)

    def acked(self, run: Run) -> None:
        """Now and then, and not flushed: the next welcome says how far the hub really is."""
        if run.is_spooled and run.acked_seq >= run.noted_seq + NOTE_ACK_EVERY:
            run.noted_seq = run.acked_seq
            self._write(Tag.ACKED, run.invocation, run.acked_seq)

    def lose(self, run: Run) -> None:
        run.is_lost = True
        self._write(Tag.LOST, run.invocation)

    def finish(self, invocation: int, *, now: float) -> None:
        """Nothing of this run is left to tell; its id stays known."""
        self.runs.pop(invocation, None)
        self._seen[invocation] = Seen(at=now)
        self._write(Tag.FINISHED, invocation, int(now))

    def tidy(self, *, now: float) -> None:
        """Compact when the file has grown since the last time."""
        if self._size > self._compact_at:
            self.compact(now=now)

    def remember_cli_session(self, *, agent: str, session_key: str, id: str, now: float) -> None:  # noqa: A002 - the CLI's word
        if self.cli_session(agent=agent, session_key=session_key) == id:
            return
        self._cli_sessions.pop((agent, session_key), None)
        self._cli_sessions[agent, session_key] = (id, int(now))
        body = msgspec.json.encode(CliSession(agent=agent, session_key=session_key, id=id))
        self._write(Tag.CLI_SESSION, 0, int(now), body=body)

    def flush(self, *, durable: bool = False) -> None:
        """Write what is held back. After JournalWriteError the file ends where it ended before."""
        if self._buffer:
            data = b"".join(self._buffer)
            self._buffer.clear()
            self._append(data, durable=durable)
        elif durable:
            self._sync()

    def unwritten(self) -> list[Run]:
        """Runs with chunks that failed to reach the disk: they are kept in memory alone from here on."""
        failed = [self.runs[one] for one in self._touched if one in self.runs]
        self._touched.clear()
        for run in failed:
            run.is_spooled = False
        return failed

    def compact(self, *, now: float) -> None:
        """Write the file anew without what nobody will ask for."""
        self.flush()
        for invocation in [one for one, seen in self._seen.items() if seen.at < now - KEEP_IDS_S]:
            del self._seen[invocation]
        while len(self._cli_sessions) > KEEP_CLI_SESSIONS:
            del self._cli_sessions[next(iter(self._cli_sessions))]
        fresh = self._directory / "journal.new"
        try:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            self._write_compacted(fresh)
            fresh.replace(self._path)
            self._sync_directory()
        except OSError as error:
            raise _write_error(self._path, error) from error
        except JournalRefused as error:
            raise JournalWriteError(str(error)) from error
        self._reopen()
        self._compact_at = max(COMPACT_BYTES, 2 * self._size)

    def close(self) -> None:
        """Idempotent; gives the lock back."""
        if self._file >= 0:
            with contextlib.suppress(JournalWriteError):
                self.flush()
            os.close(self._file)
            self._file = -1
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # Disk

    @property
    def _path(self) -> Path:
        return self._directory / "journal"

    def _write(self, tag: Tag, first: int, second: int = 0, *, word: str = "-", body: bytes = b"") -> None:
        raw = records.line(tag=tag, first=first, second=second, word=word, body=body)
        self._buffer.append(raw)

    def _append(self, data: bytes, *, durable: bool) -> None:
        try:
            write_all(self._file, data)
            if durable:
                self._sync()
        except OSError as error:
            # A torn record in the middle would cost its run at the next start: cut it off again.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise _write_error(self._path, error) from error
        self._size += len(data)
        self._touched.clear()

    def _sync(self) -> None:
        if self._durable:
            os.fsync(self._file)

    def _sync_directory(self) -> None:
        if self._durable:
            sync_directory(self._directory)

    def _reopen(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = open_private(self._path, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._file).st_size

    def _write_compacted(self, fresh: Path) -> None:
        file = open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            write_all(file, _head(self.id) + b"".join(self._settled_lines()))
            for raw in _lines(self._path) if self.runs else ():
                match records.parse(raw):
                    case Record(
                        tag=Tag.ACCEPTED | Tag.CHUNK | Tag.END | Tag.ACKED | Tag.LOST,
                        first=invocation,
                    ) if invocation in self.runs:
                        write_all(file, raw + b"\n")
            if self._durable:
                os.fsync(file)
        finally:
            os.close(file)

    def _settled_lines(self) -> Iterator[bytes]:
        for (agent, key), (session, at) in self._cli_sessions.items():
            body = msgspec.json.encode(CliSession(agent=agent, session_key=key, id=session))
            yield records.line(tag=Tag.CLI_SESSION, second=at, body=body)
        for invocation, seen in self._seen.items():
            if seen.reason:
                body = msgspec.json.encode(Refused(message=seen.message, at=seen.at))
                yield records.line(tag=Tag.REFUSED, first=invocation, word=seen.reason, body=body)
            else:
                yield records.line(tag=Tag.FINISHED, first=invocation, second=int(seen.at))

    # Reading it back

    def _load(self, *, now: float) -> None:
        self._file = open_private(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self._cut_torn_tail()
        if not self._size:
            self.id = secrets.token_hex(16)
            self._append(_head(self.id), durable=True)
            self._sync_directory()
            return
        lines = _lines(self._path)
        self.id = self._read_head(next(lines))
        past = Past.of(lines)
        self.runs, self._seen, self._cli_sessions = past.runs, past.seen, past.cli_sessions
        self.damaged_count = past.damaged_count
        self.tidy(now=now)

    def _cut_torn_tail(self) -> None:
        """A record without its newline was being written when the bridge was killed; it was never sent."""
        self._size = os.fstat(self._file).st_size
        end = self._size
        while end:
            start = max(0, end - 65_536)
            found = os.pread(self._file, end - start, start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != self._size:
            os.ftruncate(self._file, end)
            self._size = end

    def _read_head(self, raw: bytes) -> str:
        match records.parse(raw):
            case Record(tag=Tag.JOURNAL, first=records.FORMAT_VERSION, body=body):
                return body.decode()
            case Record(tag=Tag.JOURNAL, first=version):
                raise JournalRefused(
                    f"{self._path} was written by a newer nexus-bridge (format {version}); upgrade this one"
                )
            case _:
                raise JournalRefused(
                    f"{self._path} is damaged or not a journal; move it away: the runs it knew end as interrupted"
                )


def _head(journal_id: str) -> bytes:
    return records.line(tag=Tag.JOURNAL, first=records.FORMAT_VERSION, body=journal_id.encode())


def _lines(path: Path) -> Iterator[bytes]:
    with open(open_private(path, os.O_RDONLY), "rb") as file:  # noqa: PTH123 - of a descriptor that was checked
        for raw in file:
            yield raw.removesuffix(b"\n")


def _write_error(path: Path, error: OSError) -> JournalWriteError:
    return JournalWriteError(f"{path} can't be written: {error.strerror}; make room on its disk")
