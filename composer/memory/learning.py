"""What does a model make of messages? Takes those marked `learn`, oldest first, and leaves facts beside them.

The mark stands in the memory's own row and goes when the model has answered, so that a model that is down or slow
delays nothing, and nothing is lost by it.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import psycopg

from composer.breaker import Breaker
from composer.memory.embedder import EmbedderError
from composer.memory.mem0 import Primed

logger = logging.getLogger(__name__)

MIN_CHARS: Final = 15
"""Of shorter messages there is nothing to learn."""

TIME_S: Final = 10.0
"""No message is begun after it; one may take as long as the model is given."""

_REFUSED: Final = frozenset({400, 413, 422})
"""Answers about the message, not about the model's own state: asking again would get them again."""


class Progress(msgspec.Struct, frozen=True):
    """`trouble` says why it stopped early; what is left is for the next call."""

    done: int
    left: bool
    trouble: str = ""


@dataclass
class Learner:
    mem0: Any
    pool: Any
    embedder: Primed
    breaker: Breaker = field(default_factory=lambda: Breaker(name="learning model", rest_s=60.0))
    clock: Callable[[], float] = time.monotonic

    def learn(self, *, limit: int) -> Progress:
        """Raises psycopg.OperationalError, EmbedderError."""
        rows = self._marked(limit + 1)
        done = 0
        end = self.clock() + TIME_S
        for memory_id, scope, text, speaker, payload in rows[:limit]:
            if self.clock() > end or not self.breaker.is_closed():
                return Progress(done, True, "the model is resting after a failure" if self.clock() <= end else "")
            trouble = self._learn_one(scope, f"{speaker}: {text}" if speaker else text, payload)
            if trouble:
                self.breaker.failed(reason=trouble)
                return Progress(done, True, trouble)
            self.breaker.succeeded()
            self._unmark(memory_id, payload["rev"])
            done += 1
        return Progress(done, len(rows) > limit)

    def _learn_one(self, scope: str, text: str, payload: dict[str, Any]) -> str:
        """Why the model could not be asked, or nothing."""
        from mem0.exceptions import LLMError

        metadata = {key: payload[key] for key in ("msg", "rev", "embedder") if key in payload} | {"fact": "1"}
        if payload.get("created_at"):
            metadata["created_at"] = payload["created_at"]
        try:
            self.mem0.add([{"role": "user", "content": text}], run_id=scope, metadata=metadata, infer=True)
        except LLMError as error:
            cause = error.__cause__
            if getattr(cause, "status_code", 0) not in _REFUSED:
                return f"the model gave no answer: {type(cause).__name__}"
            logger.warning("nothing learned from a message", extra={"about": payload.get("msg"), "error": repr(cause)})
        except (psycopg.OperationalError, EmbedderError):
            raise
        # Mem0 takes what the model wrote as it comes: a list where an object should be ends in any error there is.
        except (TypeError, AttributeError, ValueError, KeyError) as error:
            logger.warning("nothing learned from a message", extra={"about": payload.get("msg"), "error": repr(error)})
        return ""

    def _marked(self, limit: int) -> list[tuple[Any, ...]]:
        with self.pool.connection() as connection:
            rows: list[tuple[Any, ...]] = connection.execute(
                "SELECT id, payload->>'run_id', payload->>'data', coalesce(payload->>'actor_id', ''), payload"
                " FROM memories WHERE payload->>'learn' IS NOT NULL ORDER BY (payload->>'msg')::bigint LIMIT %s",
                [limit],
            ).fetchall()
        return rows

    def _unmark(self, memory_id: Any, rev: Any) -> None:
        """Unless the text changed meanwhile: then it is learned from again."""
        with self.pool.connection() as connection:
            connection.execute(
                "UPDATE memories SET payload = payload - 'learn' WHERE id = %s AND payload->>'rev' = %s",
                [memory_id, str(rev)],
            )


@dataclass
class Reembedder:
    """Gives memories of another embedder vectors of the present one; searches see only those."""

    pool: Any
    embedder: Primed
    is_done: bool = False

    def work(self, *, limit: int) -> Progress:
        """Raises psycopg.OperationalError, EmbedderError."""
        # The embedder of a process never changes, and whatever it adds is of that one.
        if self.is_done:
            return Progress(0, False)
        name = self.embedder.name
        with self.pool.connection() as connection:
            rows = connection.execute(
                "SELECT id, coalesce(payload->>'data', '') FROM memories"
                " WHERE payload->>'embedder' IS DISTINCT FROM %s LIMIT %s",
                [name, limit],
            ).fetchall()
        if not rows:
            self.is_done = True
            return Progress(0, False)
        vectors = self.embedder.embed_batch([text for _, text in rows])
        with self.pool.connection() as connection:
            for (memory_id, text), vector in zip(rows, vectors, strict=True):
                connection.execute(
                    "UPDATE memories SET vector = %s::vector, payload = jsonb_set(payload, '{embedder}', to_jsonb(%s::text))"
                    " WHERE id = %s AND coalesce(payload->>'data', '') = %s",
                    [vector, name, memory_id, text],
                )
        return Progress(len(rows), True)
