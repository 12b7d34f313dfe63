"""Opening rows: somebody asks an agent by a message."""

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import LiteralString

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from gateway import pipeline, sql
from gateway.invocations import rights, transitions
from gateway.models import Agent, Invocation, Message, Room, User
from gateway.watch import figures, traces

logger = logging.getLogger(__name__)

_INSERT: LiteralString = """
INSERT INTO invocations (message_id, agent_id, attempt, retry_of_id, room_id, thread, session_key, asker_user_id,
    asker_agent_id, root_asker_id, hop, wait_until, state, reason, detail, fence, crashes, bridge_session, journal,
    last_seq, output_sha256, cancel_to, cancel_reason, input_tokens, output_tokens, cached_tokens)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'queued', '', '', 0, 0, '', '', 0, '', '', '', 0, 0, 0)
ON CONFLICT (message_id, agent_id, purpose, attempt) DO NOTHING RETURNING id"""


def _session_key(*, rid: str, thread: str) -> str:
    """One CLI session per agent and room or thread."""
    return f"{rid}:{thread}" if thread else rid


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who asks which agent by which message, where and why. `rid` is the chat's own id of the room."""

    message_id: int
    agent: Agent
    room_id: int
    rid: str
    thread: str
    root_asker_id: int
    is_foreign_bot: bool = False
    asker_agent: Agent | None = None
    hop: int = 0
    attempt: int = 1
    retry_of_id: int | None = None
    is_member: bool = False
    """The asker is known to be in the room."""


def open_row(asking: Asking) -> int | None:
    """Open a row inside the message's own transaction; None when there is one already for this attempt.

    Rights are checked first: who may not ask gets a row that failed with the reason, so that the room hears it.
    """
    began_at = time.time()
    pk = _insert(asking)
    if pk is None:
        return None
    refusal = rights.refusal(
        agent=asking.agent,
        asker_id=asking.root_asker_id,
        is_foreign_bot=asking.is_foreign_bot,
        room_id=asking.room_id,
        writer=asking.asker_agent,
        is_member=asking.is_member,
    )
    if refusal is not None:
        transitions.fail_unsent(invocation_id=pk, reason="not_allowed", detail=refusal)
    else:
        pipeline.start(invocation_ids=[pk], room_id=asking.room_id)
    transaction.on_commit(partial(_opened, pk, asking.agent.slug, began_at), robust=True)  # behind the chain's start
    return pk


def open_invocation(
    *,
    message: Message,
    room: Room,
    agent: Agent,
    root_asker: User,
    asker_agent: Agent | None = None,
    hop: int = 0,
    retry_of: Invocation | None = None,
    thread: str | None = None,
) -> Invocation | None:
    """The same, where the rows are at hand."""
    pk = open_row(
        Asking(
            message_id=message.pk,
            agent=agent,
            room_id=room.pk,
            rid=room.rid,
            thread=message.thread if thread is None else thread,
            root_asker_id=root_asker.pk,
            is_foreign_bot=root_asker.is_foreign_bot,
            asker_agent=asker_agent,
            hop=hop,
            attempt=1 if retry_of is None else retry_of.attempt + 1,
            retry_of_id=None if retry_of is None else retry_of.pk,
        )
    )
    return None if pk is None else Invocation.objects.select_related("message", "room", "agent").get(pk=pk)


def _opened(invocation_id: int, slug: str, began_at: float) -> None:
    figures.QUESTIONS.inc()
    logger.info("invocation opened", extra={"invocation": invocation_id, "agent": slug})
    traces.record("ingest", invocation_id=invocation_id, began_at=began_at)


def open_again(*, row: Invocation) -> Invocation | None:
    """A new attempt at the question of a final row, for the person at its root; None when there is one already."""
    return open_invocation(
        message=row.message,
        room=row.room,
        agent=row.agent,
        root_asker=row.root_asker,
        retry_of=row,
        thread=row.thread,
    )


def _insert(asking: Asking) -> int | None:
    """The new row's number. One statement: get_or_create takes four, on the way of every question."""
    asker_id, writer_id = asking.root_asker_id, asking.asker_agent.pk if asking.asker_agent is not None else None
    found = sql.rows(
        _INSERT,
        [
            *(asking.message_id, asking.agent.pk, asking.attempt, asking.retry_of_id, asking.room_id, asking.thread),
            _session_key(rid=asking.rid, thread=asking.thread),
            *(asker_id if writer_id is None else None, writer_id, asker_id, asking.hop),
            timezone.now() + timedelta(seconds=settings.NEXUS_WAIT_S),
        ],
    )
    return found[0][0] if found else None
