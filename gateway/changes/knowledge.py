"""Correcting and forgetting what the team knows: facts, landmarks, memories; and taking back a standing yes."""

import uuid
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.db.models.functions import Now

from composer import landmarks
from composer.memory import client, facts
from composer.memory.fact_words import MAX_VALUE_CHARS
from composer.models import Fact, Landmark, Memory
from gateway import audit, sql
from gateway.changes.errors import BadValueError, ConflictError, GoneError
from gateway.changes.texts import checked, checked_json
from gateway.models import Grant

LANDMARK_KINDS: Final = ("decision", "spec", "code", "question", "action")
FORGET_TIMEOUT_S: Final = 5.0


def correct_fact(*, fact_id: int, actor: str, value: Any, expires_at: datetime | None) -> None:
    """Raises ChangeError."""
    value = checked_json(value, field="value")
    with transaction.atomic():
        fact = Fact.objects.select_for_update(no_key=True).filter(pk=fact_id).first()
        if fact is None:
            raise GoneError(f"there is no fact {fact_id}")
        Fact.objects.filter(pk=fact_id).update(value=value, expires_at=expires_at, confidence=1.0, updated_at=Now())
        audit.record(actor=actor, action="fact_corrected", target=f"{fact.scope} {fact.key}")


def forget_fact(*, fact_id: int, actor: str) -> None:
    """Raises ChangeError."""
    with transaction.atomic():
        fact = Fact.objects.filter(pk=fact_id).first()
        if fact is None:
            raise GoneError(f"there is no fact {fact_id}")
        fact.delete()
        audit.record(actor=actor, action="fact_forgotten", target=f"{fact.scope} {fact.key}")


def change_landmark(*, landmark_id: int, actor: str, kind: str | None = None, is_pinned: bool | None = None) -> None:
    """Another kind; unpinned, or pinned again. Raises ChangeError."""
    if kind is not None and kind not in LANDMARK_KINDS:
        raise BadValueError(f"kind is one of {', '.join(LANDMARK_KINDS)}", field="kind")
    with transaction.atomic():
        landmark = Landmark.objects.select_for_update(no_key=True).filter(pk=landmark_id).first()
        if landmark is None:
            raise GoneError(f"there is no landmark {landmark_id}")
        is_moved = is_pinned is not None and is_pinned != (landmark.unpinned_at is None)
        if is_moved and is_pinned:
            Landmark.objects.filter(pk=landmark_id).update(unpinned_at=None)
        elif is_moved:
            landmarks.let_go(landmark_id=landmark_id, user_id=None)
        is_renamed = kind is not None and kind != landmark.kind
        if is_renamed:
            Landmark.objects.filter(pk=landmark_id).update(kind=kind)
        if is_moved or is_renamed:
            detail = {"kind": kind or landmark.kind, "is_pinned": is_pinned if is_pinned is not None else True}
            audit.record(actor=actor, action="landmark_changed", target=str(landmark.message_id), **detail)


def correct_memory(*, memory_id: uuid.UUID, actor: str, text: str) -> int:
    """Say what holds instead, as a fact of the memory's scope with its message as source. The fact's number.

    What was said stays what was said, and still finds its message; prompts carry the correction. Raises ChangeError.
    """
    text = checked(text, field="text", at_most=MAX_VALUE_CHARS)
    if not text:
        raise BadValueError("text says nothing; write what holds instead, or forget the memory", field="text")
    with transaction.atomic():
        memory = _memory(memory_id)
        learned = Fact.objects.filter(memory_id=memory_id).first()
        if learned is not None:
            correct_fact(fact_id=learned.pk, actor=actor, value=text, expires_at=learned.expires_at)
            return learned.pk
        message = str((memory.payload or {}).get("msg", ""))
        # Of the row's own word only the message is taken: where that is said now is in our own tables.
        places = sql.rows(
            "SELECT nexus_scope_of_room(room_id) FROM messages WHERE id = %s AND deleted_at IS NULL",
            [int(message) if message.isdigit() and len(message) < 19 else 0],
        )
        if not places:
            raise ConflictError(f"the message of memory {memory_id} is gone, and the memory will follow")
        try:
            fact_id, _ = facts.remember(scope=places[0][0], key="", value=text, message_id=int(message), user_id=None)
        except facts.TooManyFactsError as error:
            raise ConflictError(str(error)) from error
        audit.record(actor=actor, action="memory_corrected", target=str(memory_id), fact=fact_id)
    return fact_id


def forget_memory(*, memory_id: uuid.UUID, actor: str) -> None:
    """Have mem0-api delete all memories of this one's message; their table is its alone. Raises ChangeError."""
    message = (_memory(memory_id).payload or {}).get("msg")
    if message is None:
        raise ConflictError(f"memory {memory_id} comes from no message, so mem0-api can't be asked to delete it")
    try:
        client.call("DELETE", f"/memories?msg={message}", timeout_s=FORGET_TIMEOUT_S)
    except client.MemoryUnreachableError as error:
        raise ConflictError(f"mem0-api did not forget it: {error}; try again") from error
    with transaction.atomic():
        audit.record(actor=actor, action="memory_forgotten", target=str(memory_id), message=str(message))


def _memory(memory_id: uuid.UUID) -> Memory:
    memory = Memory.objects.filter(pk=memory_id).only("payload").first()
    if memory is None:
        raise GoneError(f"there is no memory {memory_id}")
    return memory


def take_back_grant(*, grant_id: int, actor: str) -> None:
    """Raises ChangeError."""
    with transaction.atomic():
        grant = Grant.objects.select_related("agent", "room").filter(pk=grant_id).first()
        if grant is None:
            raise GoneError(f"there is no grant {grant_id}")
        grant.delete()
        audit.record(actor=actor, action="grant_taken_back", target=f"{grant.agent.slug} {grant.tool}")
