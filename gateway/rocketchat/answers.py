"""What do the chat's answers hold: pages of messages, deletions, what was posted? Reading only, no socket."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gateway.rocketchat import calls
from gateway.rocketchat.calls import RefusedError, UnreachableError
from gateway.rocketchat.events import BadDocumentError, ChatMessage, Document, message, time_ms

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Posted:
    """A message as the chat holds it after our call. Times are milliseconds since 1970."""

    rc_id: str
    ts: int
    updated: int


@dataclass(frozen=True, slots=True)
class Deletion:
    rc_id: str
    at: int


@dataclass(frozen=True, slots=True)
class Page:
    """Messages oldest change first; `bad` are documents that could not be read, with their reason."""

    messages: list[ChatMessage]
    bad: list[tuple[Document, str]]
    next: int | None


def read_one(read: Callable[[object], T], document: object) -> T:
    try:
        return read(document)
    except BadDocumentError as error:
        raise UnreachableError(f"the chat sent a document that can't be read: {error.reason}") from error


def split(documents: list[object]) -> tuple[list[ChatMessage], list[tuple[Document, str]]]:
    messages, bad = [], []
    for document in documents:
        try:
            messages.append(message(document))
        except BadDocumentError as error:
            bad.append((document if isinstance(document, dict) else {"document": document}, error.reason))
    return messages, bad


def result(answer: Document) -> Document:
    result = answer.get("result")
    if not isinstance(result, dict):
        raise UnreachableError("chat.syncMessages answered without a result")
    return result


def deletions(result: Document) -> list[Deletion]:
    documents = [item for item in calls.texts(result.get("deleted")) if isinstance(item, dict)]
    return [
        Deletion(rc_id=item["_id"], at=_moment(item.get("_deletedAt")))
        for item in documents
        if isinstance(item.get("_id"), str)
    ]


def next_after(result: Document) -> int | None:
    cursor = result.get("cursor")
    value = cursor.get("next") if isinstance(cursor, dict) else None
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        raise UnreachableError("chat.syncMessages answered with a cursor that is no number") from None


def _moment(value: object) -> int:
    try:
        return time_ms(value)
    except BadDocumentError:
        return 0


def posted(answer: Document, *, rc_id: str) -> Posted:
    document = answer.get("message")
    if not isinstance(document, dict):
        raise RefusedError(status=200, codes=frozenset({"no-message"}), text="the chat answered without the message")
    ts = _moment(document.get("ts"))
    return Posted(
        rc_id=rc_id or str(document.get("_id", "")), ts=ts, updated=_moment(document.get("_updatedAt")) or ts
    )


def readable(read: Callable[[object], T], documents: object) -> list[T]:
    """Those that can be read; one that can't is left out."""
    found = []
    for document in calls.texts(documents):
        try:
            found.append(read(document))
        except BadDocumentError:
            continue
    return found
