"""A finished reply becomes messages of its room, like everyone's: stored by the poster, in the poster's transaction."""

from datetime import datetime
from functools import partial

from composer.memory import working
from gateway import nudges, pipeline
from gateway.models import Invocation, Message


def store_reply(*, invocation: Invocation, rc_id: str, text: str, ts: datetime, updated_at: datetime) -> Message:
    """Store one posted final part; again changes nothing. The listener may have stored an earlier version before."""
    row, is_new = Message.objects.select_for_update().get_or_create(
        rc_id=rc_id,
        defaults={
            "room_id": invocation.room_id,
            "agent_id": invocation.agent_id,
            "text": text,
            "thread": invocation.thread,
            "ts": ts,
            "rc_updated_at": updated_at,
        },
    )
    if not is_new and row.deleted_at is None:
        row.text = text
        row.rc_updated_at = max(row.rc_updated_at, updated_at)
        # Only the final text is worth remembering; what the listener saw on the way was marked as dealt with.
        row.remembered_at = None
        row.save(update_fields=["text", "rc_updated_at", "remembered_at"])
    row.agent = invocation.agent
    nudges.later(act=partial(working.append, room_id=invocation.room_id, messages=[row]))
    pipeline.remember()
    return row
