"""How does a text become a vector of 1536 numbers: by our own hashing, or by a model behind a URL?"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Protocol

import msgspec
from django.conf import settings

from composer import endpoint

DIMENSIONS = 1536
MAX_CHARS = 8_000
"""Of a longer text only the head is embedded."""

TIMEOUT_S = 5.0
MAX_REPLY_BYTES = 32 * 1024 * 1024

_WORDS = re.compile(r"[^\W_]+")
_STOPWORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "just",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "shall",
        "should",
        "so",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "up",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


LARGEST: Final = 3.4e38
SMALLEST: Final = 1e-18
"""Vectors are kept as numbers of four bytes. One that has only smaller numbers has no length there, and no angle."""


class EmbedderError(RuntimeError):
    """The embedder did not answer with usable vectors; the text says why."""


class Embedder(Protocol):
    name: str

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector per text, in order.

        Raises:
            EmbedderError: it could not be reached or answered nonsense.
        """
        ...


class HashedEmbedder:
    """Words and their 3- and 4-letter pieces, hashed with a sign. Needs nothing; knows letters, not meanings."""

    name = "hashed-1"

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [_hashed(text[:MAX_CHARS]) for text in texts]


class HttpEmbedder:
    """An OpenAI-compatible endpoint. Shorter vectors are filled with zeros, which changes no distance.

    `width` is the length of the vectors as they come, once one has come; it may not change: vectors of two models look
    alike and mean nothing to each other.
    """

    def __init__(self, *, url: str, model: str, key: str) -> None:
        self.name = model or url
        self.width: int | None = None
        self._url = f"{url.rstrip('/')}/embeddings"
        self._model = model
        self._key = key

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        body = {"model": self._model, "input": [text[:MAX_CHARS] or " " for text in texts]}
        try:
            answer = endpoint.post(
                url=self._url, key=self._key, body=body, timeout_s=TIMEOUT_S, max_bytes=MAX_REPLY_BYTES
            )
        except endpoint.EndpointError as error:
            raise EmbedderError(f"the embedder {error}") from error
        vectors = _vectors(answer, count=len(texts))
        self._check_width({len(vector) for vector in vectors})
        return [vector + [0.0] * (DIMENSIONS - len(vector)) for vector in vectors]

    def _check_width(self, widths: set[int]) -> None:
        if self.width is None and len(widths) == 1:
            self.width = widths.copy().pop()
        if widths - {self.width}:
            raise EmbedderError(
                f"the embedder's vectors have {', '.join(map(str, sorted(widths)))} numbers, not {self.width} as before:"
                " is it another model? A restart takes it as one."
            )


def whole_name(embedder: Embedder) -> str:
    """Names the model and the length of its vectors: another model behind the same name is another embedder.

    Raises:
        EmbedderError: the length is not known yet, and the model does not answer.
    """
    width = getattr(embedder, "width", 0)
    if width is None:
        embedder.embed(["."])
        width = getattr(embedder, "width", 0)
    return f"{embedder.name}:{width}" if width else embedder.name


def from_settings() -> Embedder:
    if not settings.NEXUS_EMBEDDER_URL:
        return HashedEmbedder()
    return HttpEmbedder(
        url=settings.NEXUS_EMBEDDER_URL, model=settings.NEXUS_EMBEDDER_MODEL, key=settings.NEXUS_EMBEDDER_KEY
    )


def _hashed(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    features: Counter[str] = Counter()
    weights: dict[str, float] = {}
    for word in _WORDS.findall(text.casefold()):
        is_common = word in _STOPWORDS
        features[word] += 1
        weights[word] = 0.1 if is_common else 1.0
        if is_common:
            continue
        padded = f"<{word[:40]}>"
        for size in (3, 4):
            for start in range(len(padded) - size + 1):
                gram = padded[start : start + size]
                features[gram] += 1
                weights.setdefault(gram, 0.3)
    for feature, count in features.items():
        index, sign = _place(feature)
        vector[index] += sign * weights[feature] * (1.0 + math.log(count))
    norm = math.sqrt(sum(value * value for value in vector))
    # A text without words still needs a direction: cosine distance to the zero vector is not a number.
    return [value / norm for value in vector] if norm else [1.0] + [0.0] * (DIMENSIONS - 1)


@lru_cache(maxsize=20_000)
def _place(feature: str) -> tuple[int, float]:
    number = int.from_bytes(blake2b(feature.encode(), digest_size=8).digest())
    return number % DIMENSIONS, 1.0 if number >> 63 else -1.0


class _Entry(msgspec.Struct):
    embedding: list[float]
    index: int = -1


class _Reply(msgspec.Struct):
    data: list[_Entry]


def _vectors(body: bytes, *, count: int) -> list[list[float]]:
    try:
        entries = msgspec.json.decode(body, type=_Reply).data
    except msgspec.MsgspecError as error:
        raise EmbedderError(f"the embedder's reply is not understood: {error}") from error
    if len(entries) != count:
        raise EmbedderError(f"the embedder sent {len(entries)} vectors for {count} texts")
    if all(entry.index >= 0 for entry in entries):
        entries.sort(key=lambda entry: entry.index)
    return [_checked(entry.embedding) for entry in entries]


def _checked(vector: list[float]) -> list[float]:
    if not 0 < len(vector) <= DIMENSIONS:
        raise EmbedderError(f"the embedder's vectors have {len(vector)} numbers; Nexus keeps up to {DIMENSIONS}")
    # A number that is none is not below anything either.
    if not all(abs(value) <= LARGEST for value in vector) or not any(abs(value) >= SMALLEST for value in vector):
        raise EmbedderError("the embedder sent a vector that is zero, or has a number that four bytes can't hold")
    return vector
