"""Fetches the files of open questions from the chat, so that they lie here before a prompt is composed."""

import asyncio
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from django.conf import settings
from django.db import connection, transaction

from gateway import files, pipeline
from gateway.chat.database import DatabaseDownError, DatabaseThread
from gateway.models import File, Invocation
from gateway.rocketchat.rest import RefusedError, RestError

logger = logging.getLogger(__name__)

EVERY_S: Final = 2.0
ROUND_FILES: Final = 50
TRIES: Final = 3
TRY_AGAIN_S: Final = 1.0

_DUE: Final = """
SELECT i.id, i.agent_id, f.id, f.rocketchat_id, f.name
FROM invocations i JOIN messages q ON q.id = i.message_id
LEFT JOIN LATERAL (
    SELECT f.id, f.rocketchat_id, f.name FROM files f JOIN messages m ON m.id = f.message_id
    WHERE f.sha256 = '' AND f.failed_reason = '' AND m.deleted_at IS NULL
        AND (m.id = q.id OR (q.thread <> '' AND m.room_id = q.room_id AND (m.thread = q.thread OR m.rc_id = q.thread)))
) f ON true
WHERE i.files_until > now() AND i.agent_id = ANY(%s)
ORDER BY i.id, f.id LIMIT %s
"""


class Downloads(Protocol):
    async def download(self, *, file_id: str, name: str, most: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Due:
    """A file that a question waits for; without a file the question waits for nothing any more."""

    invocation_id: int
    agent_id: int
    file_id: int | None
    rocketchat_id: str
    name: str


class Fetcher:
    """`run` until cancelled; `wake` makes it look at once. `clients`: by agent, the accounts of this process."""

    def __init__(self, *, database: DatabaseThread) -> None:
        self._database = database
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self, clients: "Clients") -> None:
        while True:
            try:
                await self.round(clients())
            except DatabaseDownError:
                logger.info("files wait for the database")
            # Outermost: files that make trouble must not end the whole chat process, and every bot with it.
            except Exception:
                logger.exception("files could not be fetched")
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def round(self, clients: Mapping[int, Downloads]) -> None:
        """Fetch what open questions of these agents wait for, then let the questions go."""
        if not clients:
            return
        due = await self._database.run(partial(_due, agent_ids=list(clients)))
        for one in due:
            if one.file_id is not None:
                await self._fetch(one, file_id=one.file_id, chat=clients[one.agent_id])
        for invocation_id in {one.invocation_id for one in due}:
            await self._database.run(partial(_let_go, invocation_id=invocation_id))

    async def _fetch(self, due: Due, *, file_id: int, chat: Downloads) -> None:
        most = settings.NEXUS_FILE_MAX_MIB * 1024 * 1024
        reason = ""
        for _ in range(TRIES):
            try:
                data = await chat.download(file_id=due.rocketchat_id, name=due.name, most=most)
            except RefusedError as error:
                reason = f"the chat did not give it: {error}"
                break
            except RestError as error:
                reason = str(error)
                await asyncio.sleep(TRY_AGAIN_S)
            else:
                try:
                    await self._database.run(partial(_keep, file_id=file_id, data=data))
                except OSError as error:
                    reason = f"the host's disk did not take it: {error.strerror or error}"
                    break
                return
        logger.warning("file not fetched", extra={"file": file_id, "reason": reason})
        await self._database.run(partial(_fail, file_id=file_id, reason=reason))


class Clients(Protocol):
    def __call__(self) -> Mapping[int, Downloads]: ...


def _due(*, agent_ids: list[int]) -> list[Due]:
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [agent_ids, ROUND_FILES])
        return [Due(*row) for row in cursor.fetchall()]


def _keep(*, file_id: int, data: bytes) -> None:
    sha256, size = files.keep(io.BytesIO(data))
    File.objects.filter(pk=file_id, sha256="").update(sha256=sha256, size=size)


def _fail(*, file_id: int, reason: str) -> None:
    File.objects.filter(pk=file_id, sha256="").update(failed_reason=reason[:300])


def _let_go(*, invocation_id: int) -> None:
    """Every file is here or will not come."""
    with transaction.atomic(durable=True):
        if Invocation.objects.filter(pk=invocation_id, files_until__isnull=False).update(files_until=None):
            pipeline.start(invocation_ids=[invocation_id])
