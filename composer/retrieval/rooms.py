"""Which rooms can this process search, and does it know all that is stored? One index per room, brought up to date by a query.

Each change of a message's words carries its transaction's number. A look reads what carries a number not below the oldest
transaction that was open at the look before: so nothing is missed, whoever wrote it and in whatever order it was committed.
The newest messages of a room are read before the first prompt, the older ones meanwhile, in the background. Their lines are
kept beside the index, packed: to read a prompt's few hundred from Postgres took longer than to find them.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, LiteralString, NamedTuple

import msgspec
from django.conf import settings
from django.db import connection

from composer.memory.lines import Line, micros
from composer.retrieval.index import Entry, RoomIndex
from gateway import sql
from gateway.sql import Ask, Rows

logger = logging.getLogger(__name__)

FIRST: Final = 2_000
"""Messages read while a prompt waits, some 60 ms. The others follow in steps that hold the room for a moment each."""

STEP: Final = 500
MANY: Final = 5_000
"""With so many changes since the last look the room is read anew, in the background, as one that was never seen."""

_ROWS: LiteralString = (
    "SELECT m.id, m.rc_id, coalesce(m.user_id, -m.agent_id) AS author, m.ts, m.rc_updated_at, m.thread,"
    " CASE WHEN m.thread = '' THEN NULL ELSE (SELECT r.id FROM messages r WHERE r.rc_id = m.thread) END AS root,"
    " CASE WHEN m.deleted_at IS NULL AND m.system_type = '' THEN left(m.text, 8000) ELSE '' END AS words"
    " FROM messages m WHERE m.room_id = %s"
)
_CHANGED: LiteralString = (
    "SELECT s.oldest, m.* FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,"  # noqa: S608 - constants only
    "  pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) s LEFT JOIN LATERAL ("
    + _ROWS
    # A number above the newest one is of another cluster, from which this database was restored.
    + " AND m.changed_xid >= %s AND m.changed_xid < s.next"
    # The order makes every plan walk the index, whatever the statistics say.
    "  ORDER BY m.changed_xid LIMIT %s) m ON true"
)
_OLDEST_OPEN: LiteralString = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_OLDER: LiteralString = _ROWS + (
    " AND (m.ts, m.id) < (%s, %s)"
    " AND m.deleted_at IS NULL AND m.system_type = '' AND m.text <> '' ORDER BY m.ts DESC, m.id DESC LIMIT %s"
)
_NAMES: LiteralString = (
    "SELECT id, username, display_name FROM users WHERE id = ANY(%s::bigint[])"
    " UNION ALL SELECT -id, slug, '' FROM agents WHERE id = ANY(%s::bigint[])"
)
NAMED: Final = 50
"""Of a room's authors: whose names are asked for together with what changed. Those of others are looked up when one of theirs is found."""

_END: Final = (datetime(9999, 1, 1, tzinfo=UTC), 0)

Names = dict[str, set[int]]


class _Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line without what is told by its number; names change, and are asked for with each prompt."""

    rc_id: str
    author: int
    ts: int
    revision: int
    thread: str
    text: str


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(_Kept).decode


class SearchedRoom:
    """One room's index with its lock; hold it while reading or changing."""

    def __init__(self, *, room_id: int) -> None:
        self.room_id = room_id
        self.is_whole = threading.Event()
        self._lock = threading.RLock()
        self._start()

    def _start(self) -> None:
        self.index = RoomIndex()
        self.names: Names = {}
        self.is_whole.clear()
        self._known_authors: set[int] = set()
        self._usernames: dict[int, str] = {}
        self._lines: dict[int, bytes] = {}
        self._seen_upto = -1
        self._next: tuple[datetime, int] = _END

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            yield

    def look(self) -> "Look":
        return _look(
            room_id=self.room_id,
            upto=self._seen_upto,
            authors=[author for author, _ in self.index.authors.most_common(NAMED)],
        )

    def lines(self, message_ids: Sequence[int]) -> list[Line]:
        """As of the last refresh; without those that are not here."""
        kept = [(pk, _unpack(self._lines[pk])) for pk in message_ids if pk in self._lines]
        if strangers := {one.author for _, one in kept} - self._usernames.keys():
            self._hear_names(_names(list(strangers)).answer())
        return [self._line(pk, one) for pk, one in kept]

    def _line(self, pk: int, one: _Kept) -> Line:
        user_id, agent_id = max(one.author, 0), max(-one.author, 0)
        name = self._usernames.get(one.author, "")
        return Line(pk, one.rc_id, user_id, agent_id, name, one.ts, one.revision, one.thread, one.text)

    def refresh(self, look: "Look | None" = None) -> None:
        """See every change that is committed now, or was with `look`. The first time, read the newest messages."""
        if look is None or look.upto != self._seen_upto:
            # An older look than the last one would take a change back.
            look = self.look()
        rows = look.changed.answer()
        if look.upto >= 0 and len(rows) == MANY:
            self._start()
            look = self.look()
            rows = look.changed.answer()
        if look.upto < 0:
            self.read_older(limit=FIRST)
        else:
            self._apply([row[1:] for row in rows if row[1] is not None])
        self._seen_upto = rows[0][0]
        self._usernames.clear()
        self._hear_names(look.names.answer())
        self._learn_names()

    def read_older(self, *, limit: int = STEP) -> bool:
        """The next older messages. False: that was all, or all that may be kept."""
        limit = max(0, min(limit, settings.NEXUS_SEARCHED_MESSAGES - self.index.alive_count))
        rows = sql.rows(_OLDER, [self.room_id, *self._next, limit]) if limit else []
        if rows:
            self._next = (rows[-1][3], rows[-1][0])
        self._apply(rows[::-1])
        if len(rows) < limit or not limit:
            self.is_whole.set()
        return not self.is_whole.is_set()

    def _apply(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for pk, rc_id, author, ts, updated_at, thread, root_id, text in rows:
            if text:
                at = micros(ts)
                self.index.add(Entry(pk, rc_id, author, at, thread, root_id or 0, text))
                self._lines[pk] = _pack(_Kept(rc_id, author, at, micros(updated_at), thread, text))
            else:
                self.index.remove(pk)
                self._lines.pop(pk, None)

    def _learn_names(self) -> None:
        """What people call those who are new here."""
        new = self.index.authors.keys() - self._known_authors
        if new:
            self._hear_names(_names(list(new)).answer())

    def _hear_names(self, rows: Rows) -> None:
        for author, username, title in rows:
            self._usernames[author] = username
            if author not in self._known_authors:
                self._known_authors.add(author)
                for word in _words_of(username, title):
                    self.names.setdefault(word, set()).add(author)


class Look(NamedTuple):
    """Questions for what changed in a room since a process saw it, up to the transaction `upto`; below zero it never did."""

    upto: int
    changed: Ask[Rows]
    names: Ask[Rows]


def _look(*, room_id: int, upto: int, authors: Sequence[int] = ()) -> Look:
    changed = Ask(_OLDEST_OPEN, [], _as_they_are) if upto < 0 else Ask(_CHANGED, [room_id, upto, MANY], _as_they_are)
    return Look(upto, changed, _names(authors))


def _names(authors: Sequence[int]) -> Ask[Rows]:
    """Author, username and display name; agents have numbers below zero."""
    return Ask(_NAMES, [[pk for pk in authors if pk > 0], [-pk for pk in authors if pk < 0]], _as_they_are)


def _as_they_are(rows: Rows) -> Rows:
    return rows


class SearchedRooms:
    """The rooms asked about last; the least recent go when there are too many messages in all."""

    def __init__(self) -> None:
        self._rooms: OrderedDict[int, SearchedRoom] = OrderedDict()
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._unread: list[SearchedRoom] = []

    def look(self, *, room_id: int) -> Look:
        """What `fresh` will want to know of this room, to be asked together with something else."""
        with self._lock:
            room = self._rooms.get(room_id)
        return room.look() if room is not None else _look(room_id=room_id, upto=-1)

    @contextmanager
    def fresh(self, *, room_id: int, look: Look | None = None) -> Iterator[SearchedRoom]:
        """The room, up to date (or as of `look`), for the length of the block."""
        with self._lock:
            room = self._rooms.get(room_id)
            if room is None or room.index.count > 2 * room.index.alive_count + FIRST:
                # New here, or mostly places of messages that were edited or deleted.
                room = self._rooms[room_id] = SearchedRoom(room_id=room_id)
            self._rooms.move_to_end(room_id)
        with room.held():
            try:
                room.refresh(look)
            except BaseException:
                # A time limit may strike in the middle of a change: what is left of this index is worth nothing.
                self._drop(room)
                raise
            if not room.is_whole.is_set():
                self._read_in_background(room)
            yield room
        if connection.in_atomic_block:
            # It may have seen what its own transaction wrote and may yet take back.
            self._drop(room)
        self._let_go()

    def forget(self) -> None:
        with self._lock:
            self._rooms.clear()
            self._unread.clear()

    def _drop(self, room: SearchedRoom) -> None:
        with self._lock:
            if self._rooms.get(room.room_id) is room:
                del self._rooms[room.room_id]

    def _let_go(self) -> None:
        with self._lock:
            total = sum(room.index.count for room in self._rooms.values())
            while total > settings.NEXUS_SEARCHED_MESSAGES and len(self._rooms) > 1:
                _, oldest = self._rooms.popitem(last=False)
                total -= oldest.index.count

    def _read_in_background(self, room: SearchedRoom) -> None:
        with self._lock:
            if room not in self._unread:
                self._unread.append(room)
            if self._reader is None or not self._reader.is_alive():
                self._reader = threading.Thread(target=self._read, name="retrieval-reader", daemon=True)
                self._reader.start()

    def _read(self) -> None:
        try:
            while room := self._next_unread():
                with room.held():
                    room.read_older()
        # Outermost loop of a thread: what it did not read, the next prompt of that room asks for again.
        except Exception:
            logger.exception("older messages could not be read")
            with self._lock:
                self._unread.clear()
        finally:
            connection.close()

    def _next_unread(self) -> SearchedRoom | None:
        with self._lock:
            self._unread = [
                room for room in self._unread if not room.is_whole.is_set() and self._rooms.get(room.room_id) is room
            ]
            return self._unread[0] if self._unread else None


def _words_of(username: str, title: str) -> set[str]:
    """What people call somebody: his username, and each part of his names that is no initial."""
    parts = username.replace(".", " ").replace("-", " ").replace("_", " ").split() + title.split()
    return {username.casefold(), *(part.casefold() for part in parts if len(part) > 2)}


searched: Final = SearchedRooms()
"""This process's rooms."""
