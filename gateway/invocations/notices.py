"""What is the room told of a row while it has no answer: that it waits, what its end was, what went wrong on the way?"""

import hashlib
from typing import Final

from django.conf import settings
from django.db.models import F

from gateway import nudges
from gateway.models import Invocation, Notice, NoticeKind, Purpose

MAX_WARNINGS: Final = 10
"""Lines of one run's; more would be noise."""


def tell(*, invocation: Invocation, kind: NoticeKind, text: str) -> None:
    """Leave the room a sentence about this row. Of a summary it hears nothing.

    There is one of each kind, and telling it again edits it; warnings stand below each other.
    """
    if invocation.purpose != Purpose.ANSWER:
        return
    chat_id = chat_message_id(f"notice:{invocation.pk}:{kind}")
    notice, is_new = Notice.objects.get_or_create(
        invocation=invocation,
        kind=kind,
        defaults={
            "room_id": invocation.room_id,
            "agent_id": invocation.agent_id,
            "thread": invocation.thread,
            "text": text,
            "chat_id": chat_id,
        },
    )
    if kind == NoticeKind.WARNING and not is_new:
        is_said = f"\n{text}\n" in f"\n{notice.text}\n"
        text = notice.text if is_said or notice.text.count("\n") >= MAX_WARNINGS else f"{notice.text}\n{text}".strip()
    if not is_new and notice.text != text:
        Notice.objects.filter(pk=notice.pk).update(text=text, revision=F("revision") + 1)
    nudges.chat(agent_id=invocation.agent_id, room_id=invocation.room_id, invocation_id=invocation.pk)


def take_back(*, invocation_id: int, kinds: tuple[NoticeKind, ...]) -> None:
    """An empty text tells the poster to delete the sentence from the room."""
    rows = Notice.objects.filter(invocation_id=invocation_id, kind__in=kinds).exclude(text="")
    if rows.update(text="", revision=F("revision") + 1):
        agent_id = Invocation.objects.values_list("agent_id", flat=True).get(pk=invocation_id)
        nudges.chat(agent_id=agent_id, invocation_id=invocation_id)


def chat_message_id(seed: str) -> str:
    """Our own 17-character id for a chat message: the same seed always posts the same message."""
    alphabet = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz"
    number = int.from_bytes(hashlib.sha256(f"{settings.NEXUS_FIELD_KEY[:8]}:{seed}".encode()).digest())
    letters = []
    for _ in range(17):
        number, digit = divmod(number, len(alphabet))
        letters.append(alphabet[digit])
    return "".join(letters)
