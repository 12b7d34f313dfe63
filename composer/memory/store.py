"""How does Mem0 keep our memories? Runs in mem0-api alone.

A memory's payload names its message (`msg`), the revision of the text (`rev`) and the embedder, so that adding twice
adds once, an older text never replaces a newer one, and vectors of two embedders are never compared.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from django.conf import settings

from composer.memory import learning, mem0
from composer.memory.embedder import Embedder, EmbedderError, from_settings
from composer.memory.learning import Learner, Progress, Reembedder

_KEPT = (
    "SELECT id, payload->>'msg', payload->>'run_id', payload->>'data', payload->>'fact', payload->>'embedder',"
    " payload->>'created_at' FROM memories WHERE payload->>'run_id' IS NOT NULL"
)

THRESHOLD = 0.05
"""Cosine from which a memory is worth naming; hashed vectors of fitting texts reach .1 to .55."""


class NewMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    msg: int
    scope: str
    text: str
    actor: str = ""
    role: str = "user"
    at: str = ""
    rev: int = 0


class Stored(msgspec.Struct, frozen=True):
    """`state`: added, replaced, unchanged, refused, or elsewhere: its room has another scope now; send it again."""

    msg: int
    state: str
    reason: str = ""


class Found(msgspec.Struct, frozen=True):
    msg: int
    text: str
    score: float
    is_fact: bool = False


class Kept(msgspec.Struct, frozen=True):
    """A memory as it stands."""

    id: str
    msg: int
    scope: str
    text: str
    is_fact: bool
    embedder: str
    at: str


class StoreUnavailableError(RuntimeError):
    """The database or the embedder does not answer: the same call may succeed later."""


class Store:
    """Mem0 on our table, with our pool and our embedder. Safe to use from several threads."""

    def __init__(self, *, embedder: Embedder | None = None) -> None:
        self._embedder = mem0.Primed(embedder or from_settings())
        self._pool = mem0.pool()
        self._mem0 = mem0.build(pool=self._pool, embedder=self._embedder)
        self._learns = bool(settings.NEXUS_MEM0_LLM_URL)
        self._learner = Learner(mem0=self._mem0, pool=self._pool, embedder=self._embedder)
        self._reembedder = Reembedder(pool=self._pool, embedder=self._embedder)

    def close(self) -> None:
        self._pool.close()

    def is_alive(self) -> bool:
        try:
            with self._pool.connection(timeout=2.0) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def add(self, memories: Sequence[NewMemory]) -> list[Stored]:
        """One result per memory, in order.

        Raises:
            StoreUnavailableError: nothing is lost; what was stored before the failure is found again.
        """
        with _unavailable():
            try:
                return self._add(memories)
            finally:
                self._embedder.clear()

    def search(self, *, query: str, scopes: Sequence[str], limit: int) -> list[Found]:
        """The best memories of these scopes.

        Raises:
            StoreUnavailableError: the database or the embedder does not answer.
        """
        with _unavailable():
            # The vector first: it says which embedder this is.
            vector = self._embedder.embed(query)
            filters = {"run_id": list(scopes), "embedder": self._embedder.name}
            # Mem0's store, not `Memory.search`: that asks four times as much, adds a keyword search which ANDs all words
            # and so finds nothing for a question, and then scores by a formula that any keyword hit halves on Postgres.
            rows = self._mem0.vector_store.search(query=query, vectors=vector, top_k=limit, filters=filters)
            found = [one for row in rows if (one := _found(row.payload or {}, row.score, scopes)) is not None]
            places = self._places([one.msg for one in found])
        # What a row says of itself is not believed: its message must be there, in a room of one of these scopes.
        return [one for one in found if places.get(one.msg) in scopes]

    def kept(self, *, scope: str, msg: int | None = None, after: str = "", limit: int = 50) -> list[Kept]:
        """Memories of this scope (of one message), by id."""
        with _unavailable(), self._pool.connection() as connection:
            rows = connection.execute(
                _KEPT + " AND payload->>'run_id' = %s AND (%s::text IS NULL OR payload->>'msg' = %s)"
                " AND id::text > %s ORDER BY id::text LIMIT %s",
                [scope, None if msg is None else str(msg), str(msg), after, limit],
            ).fetchall()
        return [_kept(row) for row in rows]

    def one(self, *, memory_id: UUID, scope: str) -> Kept | None:
        """The memory, if it is of this scope."""
        with _unavailable(), self._pool.connection() as connection:
            row = connection.execute(_KEPT + " AND id = %s AND payload->>'run_id' = %s", [memory_id, scope]).fetchone()
        return _kept(row) if row else None

    def remove_one(self, *, memory_id: UUID, scope: str) -> int:
        """Take this memory away, if it is of this scope, and with a learned one the fact it is."""
        with _unavailable(), self._pool.connection() as connection:
            deleted = connection.execute(
                "DELETE FROM memories WHERE id = %s AND payload->>'run_id' = %s", [memory_id, scope]
            ).rowcount
            if deleted:
                connection.execute("DELETE FROM facts WHERE memory_id = %s", [memory_id])
        return int(deleted)

    def learn(self, *, limit: int) -> Progress:
        if not self._learns:
            return Progress(0, False)
        with _unavailable():
            return self._learner.learn(limit=limit)

    def reembed(self, *, limit: int) -> Progress:
        with _unavailable():
            return self._reembedder.work(limit=limit)

    def remove(self, *, msg: int) -> int:
        """Take away everything that came from this message. Returns how much that was."""
        with _unavailable(), self._pool.connection() as connection:
            return int(
                connection.execute(
                    "DELETE FROM memories WHERE payload @> jsonb_build_object('msg', %s::text)", [str(msg)]
                ).rowcount
            )

    def _add(self, memories: Sequence[NewMemory]) -> list[Stored]:
        places = self._places([memory.msg for memory in memories])
        known = self._known(memories)
        name = self._embedder.name
        self._embedder.prime(
            [
                memory.text
                for memory in memories
                if places.get(memory.msg) == memory.scope
                and _is_news(known.get((str(memory.msg), memory.scope)), memory, name)
            ]
        )
        return [self._put_in_place(memory, known, places) for memory in memories]

    def _put_in_place(
        self, memory: NewMemory, known: "dict[tuple[str, str], _Known]", places: dict[int, str]
    ) -> Stored:
        place = places.get(memory.msg)
        if place is None:
            return Stored(memory.msg, "refused", "there is no such message, or it was deleted")
        if place != memory.scope:
            return Stored(memory.msg, "elsewhere", f"its room's scope is not {memory.scope}")
        return self._put(memory, known.get((str(memory.msg), memory.scope)))

    def _places(self, ids: Sequence[int]) -> dict[int, str]:
        """The scope of each message's room by our own tables, now; a deleted message has none."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                # The scope once per room: many messages of a few rooms are asked about.
                "WITH found AS (SELECT id, room_id FROM messages WHERE id = ANY(%s) AND deleted_at IS NULL),"
                " named AS MATERIALIZED (SELECT room_id, nexus_scope_of_room(room_id) AS scope"
                "  FROM (SELECT DISTINCT room_id FROM found) AS rooms)"
                " SELECT found.id, named.scope FROM found JOIN named USING (room_id)",
                [list(set(ids))],
            ).fetchall()
        return dict(rows)

    def _known(self, memories: Sequence[NewMemory]) -> dict[tuple[str, str], "_Known"]:
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT payload->>'msg', payload->>'run_id', id, payload->>'data', payload->>'rev', payload->>'embedder'"
                " FROM memories WHERE payload->>'msg' = ANY(%s) AND payload->>'fact' IS NULL",
                [[str(memory.msg) for memory in memories]],
            ).fetchall()
        return {
            (msg, scope): _Known(str(pk), text or "", int(rev or 0), name or "")
            for msg, scope, pk, text, rev, name in rows
        }

    def _put(self, memory: NewMemory, known: "_Known | None") -> Stored:
        metadata: dict[str, Any] = {"msg": str(memory.msg), "rev": memory.rev, "embedder": self._embedder.name}
        if self._learns and len(memory.text) >= learning.MIN_CHARS:
            metadata["learn"] = "1"
        if known is not None:
            return self._replace(memory, known, metadata)
        if memory.at:
            metadata["created_at"] = memory.at
        turn = {"role": "user" if memory.role == "user" else "assistant", "content": memory.text}
        if memory.actor:
            turn["name"] = memory.actor
        try:
            self._mem0.add([turn], run_id=memory.scope, metadata=metadata, infer=False)
        except psycopg.errors.UniqueViolation:
            return Stored(memory.msg, "unchanged")
        except ValueError as error:
            return Stored(memory.msg, "refused", str(error))
        return Stored(memory.msg, "added")

    def _replace(self, memory: NewMemory, known: "_Known", metadata: dict[str, Any]) -> Stored:
        if not _is_news(known, memory, self._embedder.name):
            return Stored(memory.msg, "unchanged")
        if memory.text == known.text:
            # Only the embedder is another: what was learned stands.
            metadata.pop("learn", None)
        else:
            with self._pool.connection() as connection:
                connection.execute(
                    "DELETE FROM memories WHERE payload @> jsonb_build_object('msg', %s::text, 'fact', '1')",
                    [str(memory.msg)],
                )
        self._mem0.update(known.id, text=memory.text, metadata=metadata)
        return Stored(memory.msg, "replaced")


class _Known(msgspec.Struct, frozen=True):
    id: str
    text: str
    rev: int
    embedder: str


def _is_news(known: _Known | None, memory: NewMemory, embedder: str) -> bool:
    if known is None:
        return True
    return memory.rev >= known.rev and (memory.text != known.text or known.embedder != embedder)


def _found(payload: dict[str, Any], score: float, scopes: Sequence[str]) -> Found | None:
    """The query filtered already; a row of another scope is dropped all the same."""
    msg = str(payload.get("msg", ""))
    if payload.get("run_id") not in scopes or not msg.isdigit() or score < THRESHOLD:
        return None
    return Found(int(msg), str(payload.get("data") or ""), score, bool(payload.get("fact")))


def _kept(row: Sequence[Any]) -> Kept:
    pk, msg, scope, text, fact, embedder, at = row
    return Kept(str(pk), int(msg or 0), scope or "", text or "", fact is not None, embedder or "", at or "")


@contextmanager
def _unavailable() -> Iterator[None]:
    """Whatever a later call may overcome is told as such."""
    try:
        yield
    except (psycopg.OperationalError, EmbedderError) as error:
        raise StoreUnavailableError(str(error)) from error
