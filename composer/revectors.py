"""Which summaries carry no vector of the present embedder? They get one, a few at a time; doing it twice changes nothing."""

import logging
from typing import Final, LiteralString

from composer.memory import embedder
from composer.memory.embedder import Embedder, EmbedderError
from gateway import sql

logger = logging.getLogger(__name__)

STEP: Final = 20
"""Summaries of one round, in one call of the embedder."""

_STALE: LiteralString = "SELECT id, text FROM summaries WHERE embedder <> %s ORDER BY id DESC LIMIT %s"
_RENEW: LiteralString = "UPDATE summaries SET embedding = %s::vector, embedder = %s WHERE id = %s AND text = %s"


def renew_some(*, model: Embedder | None = None) -> int:
    """How many got a vector. An embedder that is away is asked again in the next round."""
    model = model or embedder.from_settings()
    try:
        name = embedder.whole_name(model)[:100]
        rows = sql.rows(_STALE, [name, STEP])
        vectors = model.embed([text for _, text in rows]) if rows else []
    except EmbedderError as error:
        logger.warning("summaries keep their vectors", extra={"error": str(error)})
        return 0
    return sum(
        sql.execute(_RENEW, [str(vector), name, pk, text]) for (pk, text), vector in zip(rows, vectors, strict=True)
    )
