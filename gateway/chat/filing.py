"""Brings the files of a finished run into the room, each once: what the agent left, and an answer that is too long."""

import io
import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from gateway import files
from gateway.chat.desk import Desk
from gateway.chat.plan import LiveReply
from gateway.invocations import tell
from gateway.models import File, Invocation, NoticeKind
from gateway.rocketchat.rest import RefusedError
from runtime.reply import one_line

logger = logging.getLogger(__name__)

LOOK_BACK: Final = timedelta(minutes=5)
"""So much older may the chat's clock say that a file's message is than our row of it."""


@dataclass(frozen=True, slots=True)
class DueFile:
    id: int
    name: str
    content_type: str
    sha256: str
    rocketchat_id: str
    since_ms: int


async def post_files(*, desk: Desk, row: LiveReply) -> None:
    """Everything that is due; may be begun again after any failure."""
    whole = row.reply.whole if row.reply.is_cut else ""
    for file in await desk.run(partial(_due, invocation_id=row.invocation_id, whole=whole)):
        try:
            await _post_one(desk, row, file)
        except RefusedError as error:
            logger.warning("file not posted", extra={"invocation": row.invocation_id, "error": str(error)})
            await desk.run(partial(_failed, file=file, invocation_id=row.invocation_id, reason=str(error)))


async def _post_one(desk: Desk, row: LiveReply, file: DueFile) -> None:
    file_id = file.rocketchat_id
    if file_id:
        # Confirming twice posts twice: after an answer that never came the room itself is asked.
        is_there = await desk.chat.find_upload(rid=row.rid, file_id=file_id, since_ms=file.since_ms)
    else:
        is_there = False
        data = await desk.run(partial(_content, sha256=file.sha256))
        if data is None:
            raise RefusedError(status=410, codes=frozenset(), text="its content is gone")
        file_id = await desk.chat.upload(rid=row.rid, name=file.name, content_type=file.content_type, data=data)
        await desk.run(partial(_uploaded, file_id=file.id, rocketchat_id=file_id))
    if not is_there:
        await desk.chat.confirm_upload(rid=row.rid, file_id=file_id, text="", thread=row.thread)
    await desk.run(partial(_posted, file_id=file.id))


def _due(*, invocation_id: int, whole: str) -> list[DueFile]:
    with transaction.atomic(durable=True):
        if whole:
            _keep_answer(invocation_id=invocation_id, text=whole)
        rows = File.objects.filter(invocation_id=invocation_id, posted_at=None, failed_reason="").order_by("pk")
        return [
            DueFile(
                file.pk,
                file.name,
                file.content_type,
                file.sha256,
                file.rocketchat_id,
                int((file.created_at - LOOK_BACK).timestamp() * 1000),
            )
            for file in rows
        ]


def _keep_answer(*, invocation_id: int, text: str) -> None:
    name = answer_name(invocation_id)
    if File.objects.filter(invocation_id=invocation_id, name=name).exists():
        return
    sha256, size = files.keep(io.BytesIO(text.encode()))
    File.objects.create(
        invocation_id=invocation_id,
        name=name,
        sha256=sha256,
        size=size,
        content_type="text/markdown",
        expires_at=Now() + timedelta(days=settings.NEXUS_KEEP_FILES_DAYS),
    )


def answer_name(invocation_id: int) -> str:
    return f"answer-{invocation_id}.md"


def _content(*, sha256: str) -> bytes | None:
    try:
        return files.path_of(sha256=sha256).read_bytes()
    except OSError:
        return None


def _uploaded(*, file_id: int, rocketchat_id: str) -> None:
    File.objects.filter(pk=file_id).update(rocketchat_id=rocketchat_id[:64])


def _posted(*, file_id: int) -> None:
    File.objects.filter(pk=file_id).update(posted_at=Now())


def _failed(*, file: DueFile, invocation_id: int, reason: str) -> None:
    with transaction.atomic(durable=True):
        File.objects.filter(pk=file.id).update(failed_reason=reason[:300])
        row = Invocation.objects.get(pk=invocation_id)
        text = f"The file {one_line(file.name)} could not be posted here: {one_line(reason)}."
        tell(invocation=row, kind=NoticeKind.WARNING, text=text)
