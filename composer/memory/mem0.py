"""How is Mem0 built: on our table, our pool and our embedder, without its history?"""

import logging
import os
import select
import struct
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
from django.conf import settings
from psycopg.adapt import Dumper
from psycopg.pq import Format

from composer.memory import unused
from composer.memory.embedder import Embedder, whole_name

TABLE = "memories"
"""Made by our migration with Mem0's own definition: Mem0 would make it unlocked at first use, and lose a race."""

NOTHING = "langchain"
"""A name that Mem0's configuration lets pass, for what is not there: under "openai" it would load a client of 15 MiB."""

POOL_SIZE = 4
MODEL_TIMEOUT_S = 15.0
"""What its client waits by itself is ten minutes, three times."""


class Vector(list[float]):
    """Goes to Postgres as pgvector's own bytes. A plain list would go as the text of an array, 2 ms of CPU each time."""


class _VectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Vector) -> bytes:
        return struct.pack(f">HH{len(obj)}f", len(obj), 0, *obj)


class Primed:
    """Our embedder in Mem0's shape. A batch's vectors are made in one call before Mem0 asks for each text's."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._local = threading.local()

    @property
    def name(self) -> str:
        return whole_name(self._embedder)

    def prime(self, texts: Sequence[str]) -> None:
        wanted = list(dict.fromkeys(texts))
        self._local.ready = dict(zip(wanted, self.embed_batch(wanted), strict=True)) if wanted else {}

    def clear(self) -> None:
        self._local.ready = {}

    def embed(self, text: str, memory_action: str | None = None) -> Vector:  # Mem0's signature
        ready: dict[str, Vector] = getattr(self._local, "ready", {})
        return ready[text] if text in ready else self.embed_batch([text])[0]

    def embed_batch(self, texts: list[str], memory_action: str = "add") -> list[Vector]:
        return [Vector(numbers) for numbers in self._embedder.embed(texts)]


class NoHistory:
    """In place of Mem0's own: that keeps the last messages of a scope, deleted ones too, and tells them to the model."""

    def get_last_messages(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def get_history(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def save_messages(self, *_: Any, **__: Any) -> None:
        """Not kept."""

    def add_history(self, *_: Any, **__: Any) -> None:
        """Not kept."""

    def batch_add_history(self, *_: Any, **__: Any) -> None:
        """Not kept."""

    def reset(self) -> None:
        """There is nothing."""

    def close(self) -> None:
        """There is nothing."""


class NoModel:
    """In place of an embedder, which is ours, and of a language model where none is configured."""

    def __init__(self, config: object) -> None:
        self.config = config


def pool() -> Any:
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
        configure=_speak_vectors,
        check=_check,
        open=True,
    )


def _speak_vectors(connection: "psycopg.Connection[Any]") -> None:
    connection.adapters.register_dumper(Vector, _VectorDumper)


def _check(connection: "psycopg.Connection[Any]") -> None:
    """Costs no round trip: a healthy idle connection has nothing to read. Raises where the server has gone."""
    if select.select([connection.fileno()], [], [], 0)[0]:
        from psycopg_pool import ConnectionPool

        ConnectionPool.check_connection(connection)


def build(*, pool: Any, embedder: Primed) -> Any:
    # All must stand before the import: telemetry would call home and open a third store.
    os.environ["MEM0_TELEMETRY"] = "False"
    os.environ.setdefault("MEM0_DIR", str(settings.NEXUS_STATE_DIR / "mem0"))
    unused.leave_out()
    from mem0 import Memory
    from mem0.utils.factory import EmbedderFactory, LlmFactory

    logging.getLogger("mem0").setLevel(logging.CRITICAL)
    EmbedderFactory.provider_to_class[NOTHING] = f"{__name__}.NoModel"
    LlmFactory.register_provider(NOTHING, f"{__name__}.NoModel")
    nothing: dict[str, Any] = {"provider": NOTHING, "config": {}}
    model = {
        "model": settings.NEXUS_MEM0_LLM_MODEL or "none",
        "api_key": settings.NEXUS_MEM0_LLM_KEY or "none",
        "openai_base_url": settings.NEXUS_MEM0_LLM_URL,
    }
    learns = bool(settings.NEXUS_MEM0_LLM_URL)
    store = {"connection_pool": pool, "collection_name": TABLE, "embedding_model_dims": 1536, "hnsw": True}
    memory = Memory.from_config(
        {
            "vector_store": {"provider": "pgvector", "config": store},
            "embedder": nothing,
            "llm": {"provider": "openai", "config": model} if learns else nothing,
            "history_db_path": ":memory:",
        }
    )
    memory.embedding_model = embedder
    memory.db.close()
    memory.db = NoHistory()
    if learns:
        memory.llm.client = memory.llm.client.with_options(timeout=MODEL_TIMEOUT_S, max_retries=0)
    return memory
