"""Which files of a question and of its thread does an agent get? Wants them; the chat process fetches what is wanted."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, Final

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from gateway.models import File, Invocation, Message
from gateway.rocketchat.events import Document

MAX_FILES: Final = 10
"""Of one question with its thread, its own first, then the newest."""

MAX_TOTAL_BYTES: Final = 50 * 1024 * 1024
FETCH_S: Final = 20
"""A question waits so long for its files; then it goes without those that have not come."""

Wanted = tuple[int, Document]
"""(row of the message, what the chat says of its file)."""


def want(*, invocation_id: int, message_id: int, room_id: int, thread: str, said: Iterable[Document]) -> int:
    """In the transaction that opened the row; returns how many files have to be fetched first."""
    wanted = [(message_id, document) for document in said]
    if thread:
        wanted += _of_thread(thread, room_id=room_id, but=message_id)
    if not wanted:
        return 0
    count = _store(wanted)
    if count:
        Invocation.objects.filter(pk=invocation_id).update(files_until=Now() + timedelta(seconds=FETCH_S))
    return count


def _of_thread(thread: str, *, room_id: int, but: int) -> Iterator[Wanted]:
    """`but`: the question's own message."""
    found = Message.objects.filter(Q(thread=thread) | Q(rc_id=thread), room_id=room_id, deleted_at=None)
    with_files = found.exclude(attachments=[]).exclude(pk=but)
    for pk, attachments in with_files.order_by("-ts").values_list("pk", "attachments")[:MAX_FILES]:
        yield from ((pk, document) for document in attachments)


def _store(wanted: Iterable[Wanted]) -> int:
    """Files known already are not fetched again while they are kept. Returns how many are missing."""
    missing = total = 0
    kept_for = timedelta(days=settings.NEXUS_KEEP_FILES_DAYS)
    for message_id, document in list(wanted)[:MAX_FILES]:
        size = _size(document)
        total += size
        reason = refusal(name=_name(document), content_type=_type(document), size=size)
        if not reason and total > MAX_TOTAL_BYTES:
            reason = f"all files together are larger than {MAX_TOTAL_BYTES // 1024 // 1024} MiB"
        file, is_new = File.objects.get_or_create(
            message_id=message_id,
            rocketchat_id=str(document.get("id", ""))[:64],
            defaults={
                "name": _name(document),
                "size": size,
                "content_type": _type(document),
                "failed_reason": reason[:300],
                "expires_at": Now() + kept_for,
            },
        )
        missing += not (file.failed_reason if not is_new else reason) and not file.sha256
    return missing


def refusal(*, name: str, content_type: str, size: int) -> str:
    """Why such a file is not passed on, as half a sentence; empty when it is."""
    if size > settings.NEXUS_FILE_MAX_MIB * 1024 * 1024:
        return f"it is larger than {settings.NEXUS_FILE_MAX_MIB} MiB"
    kind = content_type.partition(";")[0].strip().lower() or "application/octet-stream"
    if not any(fnmatchcase(kind, pattern) for pattern in settings.NEXUS_FILE_TYPES):
        return f"files of type {kind} are not passed on"
    return "" if name else "it has no name"


def _size(document: Document) -> int:
    size: Any = document.get("size")
    return max(size, 0) if isinstance(size, int) else 0


def _name(document: Document) -> str:
    return str(document.get("name") or "file")[:300]


def _type(document: Document) -> str:
    return str(document.get("type") or "")[:200]
