"""How is a person forgotten? His words become tombstones, batch by batch, and whatever was made of them goes with them.

A tombstone stays one, whatever the chat says later; triggers take away summaries, vectors, landmarks, facts, and empty
`remembered_at`, so that memory follows. Interrupted, it is taken up again by the next pass.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final, LiteralString

from django.db import transaction
from django.db.models.functions import Now

from composer.memory import scopes, working
from composer.models import Forgetting
from gateway import sql
from gateway.invocations import OPEN, request_cancel
from gateway.models import FINAL, File, Invocation, User

logger = logging.getLogger(__name__)

BATCH: Final = 500
TIME_S: Final = 10.0

# An array, not IN: as a join the part with the limit may run once for each row, and then limits nothing.
_BURY: LiteralString = (
    "UPDATE messages SET text = '', deleted_at = now(), attachments = '[]', reactions = '{}' WHERE id = ANY(ARRAY("
    "SELECT id FROM messages WHERE user_id = %s AND deleted_at IS NULL AND (ts <= %s OR id <= %s) ORDER BY id LIMIT %s FOR UPDATE"
    ")) RETURNING id"
)
# Prompts of his questions, and those that hold a line or a fact of his.
_PROMPTS: LiteralString = (
    "DELETE FROM prompts p USING invocations i, messages q WHERE i.id = p.invocation_id AND q.id = i.message_id"
    " AND i.state = ANY(%s::text[]) AND ((q.user_id = %s AND q.deleted_at IS NOT NULL) OR EXISTS"
    " (SELECT 1 FROM jsonb_array_elements(p.sections) AS s, jsonb_array_elements(s->'sources') AS o"
    " JOIN messages m ON m.id = (CASE WHEN o->>'kind' IN ('message', 'landmark') THEN o->>'id'"
    " ELSE o->>'message' END)::bigint WHERE m.user_id = %s AND m.deleted_at IS NOT NULL)"
    " OR (p.created_at <= %s AND p.sections @? %s::jsonpath))"
)


def ask(*, user: User, until: datetime, last_message_id: int) -> None:
    """In the command's transaction: what he said about himself goes now, the rest in the background."""
    sql.execute("DELETE FROM facts WHERE scope = %s", [scopes.of_profile(user=user.rocketchat_id)])
    Forgetting.objects.get_or_create(user=user, asked_at=until, defaults={"last_message_id": last_message_id})


def work(*, time_s: float = TIME_S, clock: Callable[[], float] = time.monotonic) -> int:
    """Go on with what people asked for, for a while. How many messages became tombstones."""
    end = clock() + time_s
    count = 0
    for wish in Forgetting.objects.filter(done_at=None).select_related("user").order_by("pk"):
        while clock() < end:
            buried = _one_batch(wish)
            count += buried
            if not buried:
                _finish(wish)
                break
    return count


def _one_batch(wish: Forgetting) -> int:
    with transaction.atomic(durable=True):
        buried = [pk for (pk,) in sql.rows(_BURY, [wish.user_id, wish.asked_at, wish.last_message_id, BATCH])]
        File.objects.filter(message_id__in=buried).update(expires_at=Now())
        for row in Invocation.objects.filter(message_id__in=buried, state__in=OPEN).order_by("pk"):
            request_cancel(invocation_id=row.pk, reason="message_deleted")
        wish.message_count += len(buried)
        Forgetting.objects.filter(pk=wish.pk).update(message_count=wish.message_count)
    return len(buried)


def _finish(wish: Forgetting) -> None:
    person = wish.user
    profile = f'$[*].sources[*].scope ? (@ == "{scopes.of_profile(user=person.rocketchat_id)}")'
    with transaction.atomic(durable=True):
        sql.execute(_PROMPTS, [list(FINAL), person.pk, person.pk, wish.asked_at, profile])
        Forgetting.objects.filter(pk=wish.pk).update(done_at=Now())
    rooms = sql.rows("SELECT DISTINCT room_id FROM messages WHERE user_id = %s", [person.pk])
    for (room_id,) in rooms:
        working.forget(room_id=room_id)
    logger.info("a person is forgotten", extra={"user": person.pk, "messages": wish.message_count})
