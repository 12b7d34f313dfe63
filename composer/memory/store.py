"""How does Mem0 keep our memories? The only module that imports mem0; it runs in mem0-api alone.

A memory's payload names its message (`msg`), the revision of the text (`rev`) and the embedder, so that adding twice
adds once, an older text never replaces a newer one, and vectors of two embedders are never compared.
"""

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg
from django.conf import settings

from composer.memory.embedder import Embedder, EmbedderError, from_settings

logger = logging.getLogger(__name__)

TABLE = "memories"
"""Made by our migration with Mem0's own definition: Mem0 would make it unlocked at first use, and lose a race."""

POOL_SIZE = 4
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
    """`state`: added, replaced, unchanged or refused."""

    msg: int
    state: str
    reason: str = ""


class Found(msgspec.Struct, frozen=True):
    msg: int
    text: str
    score: float
    is_fact: bool = False


class StoreUnavailableError(RuntimeError):
    """The database or the embedder does not answer: the same call may succeed later."""


class Store:
    """Mem0 on our table, with our pool and our embedder. Safe to use from several threads."""

    def __init__(self, *, embedder: Embedder | None = None) -> None:
        self._embedder = _Primed(embedder or from_settings())
        self._pool = _pool()
        self._mem0 = _mem0(pool=self._pool, embedder=self._embedder)
        self._learns = bool(settings.NEXUS_MEM0_LLM_URL)

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
        try:
            known = self._known(memories)
            self._embedder.prime([memory.text for memory in memories if _is_news(memory, known, self._embedder.name)])
            return [self._put(memory, known.get((str(memory.msg), memory.scope))) for memory in memories]
        except (psycopg.OperationalError, EmbedderError) as error:
            raise StoreUnavailableError(str(error)) from error
        finally:
            self._embedder.clear()

    def search(self, *, query: str, scopes: Sequence[str], limit: int) -> list[Found]:
        """The best memories of these scopes.

        Raises:
            StoreUnavailableError: the database or the embedder does not answer.
        """
        # Mem0's store, not `Memory.search`: that asks four times as much, adds a keyword search which ANDs all words and
        # so finds nothing for a question, and then scores by a formula that any keyword hit halves on Postgres.
        filters = {"run_id": list(scopes), "embedder": self._embedder.name}
        try:
            rows = self._mem0.vector_store.search(
                query=query, vectors=self._embedder.embed(query), top_k=limit, filters=filters
            )
        except (psycopg.OperationalError, EmbedderError) as error:
            raise StoreUnavailableError(str(error)) from error
        return [found for row in rows if (found := _found(row.payload or {}, row.score, scopes)) is not None]

    def remove(self, *, msg: int) -> int:
        """Take away everything that came from this message. Returns how much that was."""
        try:
            with self._pool.connection() as connection:
                rows = connection.execute(
                    "SELECT id FROM memories WHERE payload @> jsonb_build_object('msg', %s::text)", [str(msg)]
                ).fetchall()
            for (memory_id,) in rows:
                self._mem0.delete(str(memory_id))
        except psycopg.OperationalError as error:
            raise StoreUnavailableError(str(error)) from error
        return len(rows)

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
        metadata = {"msg": str(memory.msg), "rev": memory.rev, "embedder": self._embedder.name}
        if known is not None:
            if not _is_newer(memory, known, self._embedder.name):
                return Stored(memory.msg, "unchanged")
            self._mem0.update(known.id, text=memory.text, metadata=metadata)
            self._learn(memory, metadata, is_again=True)
            return Stored(memory.msg, "replaced")
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
        self._learn(memory, metadata, is_again=False)
        return Stored(memory.msg, "added")

    def _learn(self, memory: NewMemory, metadata: dict[str, Any], *, is_again: bool) -> None:
        """With a model configured, what it makes of the message is kept beside the message, in the same scope."""
        if not self._learns:
            return
        if is_again:
            self._forget_learned(memory)
        text = f"{memory.actor}: {memory.text}" if memory.actor else memory.text
        from mem0.exceptions import LLMError

        try:
            self._mem0.add(
                [{"role": "user", "content": text}], run_id=memory.scope, metadata=metadata | {"fact": "1"}, infer=True
            )
        except LLMError as error:
            logger.warning("nothing learned from a message", extra={"about": memory.msg, "error": repr(error)})

    def _forget_learned(self, memory: NewMemory) -> None:
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT id FROM memories WHERE payload @> jsonb_build_object('msg', %s::text, 'fact', '1')",
                [str(memory.msg)],
            ).fetchall()
        for (memory_id,) in rows:
            self._mem0.delete(str(memory_id))


class _Known(msgspec.Struct, frozen=True):
    id: str
    text: str
    rev: int
    embedder: str


class _Primed:
    """Our embedder in Mem0's shape. A batch's vectors are made in one call before Mem0 asks for each text's."""

    def __init__(self, embedder: Embedder) -> None:
        self.name = embedder.name
        self._embedder = embedder
        self._local = threading.local()

    def prime(self, texts: Sequence[str]) -> None:
        wanted = list(dict.fromkeys(texts))
        self._local.ready = dict(zip(wanted, self._embedder.embed(wanted), strict=True)) if wanted else {}

    def clear(self) -> None:
        self._local.ready = {}

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:  # Mem0's signature
        ready: dict[str, list[float]] = getattr(self._local, "ready", {})
        return ready[text] if text in ready else self._embedder.embed([text])[0]

    def embed_batch(self, texts: list[str], memory_action: str = "add") -> list[list[float]]:
        return self._embedder.embed(texts)


def _is_newer(memory: NewMemory, known: _Known, embedder: str) -> bool:
    return memory.rev >= known.rev and (memory.text != known.text or known.embedder != embedder)


def _is_news(memory: NewMemory, known: dict[tuple[str, str], _Known], embedder: str) -> bool:
    there = known.get((str(memory.msg), memory.scope))
    return there is None or _is_newer(memory, there, embedder)


def _found(payload: dict[str, Any], score: float, scopes: Sequence[str]) -> Found | None:
    """The query filtered already; a row of another scope is dropped all the same."""
    msg = str(payload.get("msg", ""))
    if payload.get("run_id") not in scopes or not msg.isdigit() or score < THRESHOLD:
        return None
    return Found(int(msg), str(payload.get("data") or ""), score, bool(payload.get("fact")))


def _pool() -> Any:
    from psycopg_pool import ConnectionPool

    database = settings.DATABASES["default"]
    return ConnectionPool(
        kwargs={
            "dbname": database["NAME"],
            "user": database["USER"],
            "password": database["PASSWORD"],
            "host": database["HOST"],
            "port": database["PORT"],
            "connect_timeout": 5,
            # A filtered search through HNSW would lose neighbours without going on (iterative_scan).
            "options": "-c hnsw.iterative_scan=relaxed_order -c statement_timeout=10000 -c TimeZone=UTC",
            # Prepared plans do not know which scope is asked for, and would not take its index.
            "prepare_threshold": None,
        },
        min_size=1,
        max_size=POOL_SIZE,
        timeout=5.0,
        check=ConnectionPool.check_connection,
        open=True,
    )


def _mem0(*, pool: Any, embedder: _Primed) -> Any:
    # Both must stand before the import: telemetry would call home and open a third store.
    os.environ["MEM0_TELEMETRY"] = "False"
    os.environ.setdefault("MEM0_DIR", str(settings.NEXUS_STATE_DIR / "mem0"))
    from mem0 import Memory

    logging.getLogger("mem0").setLevel(logging.ERROR)
    model = {
        "model": settings.NEXUS_MEM0_LLM_MODEL or "none",
        "api_key": settings.NEXUS_MEM0_LLM_KEY or "none",
        "openai_base_url": settings.NEXUS_MEM0_LLM_URL or "http://127.0.0.1:9/v1",
    }
    store = {"connection_pool": pool, "collection_name": TABLE, "embedding_model_dims": 1536, "hnsw": True}
    memory = Memory.from_config(
        {
            "vector_store": {"provider": "pgvector", "config": store},
            "embedder": {"provider": "openai", "config": model},
            "llm": {"provider": "openai", "config": model},
            "history_db_path": ":memory:",
        }
    )
    memory.embedding_model = embedder
    return memory
