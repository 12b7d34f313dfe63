"""A finished reply as messages of its room, like everyone's."""

from collections.abc import Iterable
from typing import Protocol

from gateway.models import Invocation, Message
from gateway.rocketchat.events import moment


class SaidPart(Protocol):
    @property
    def chat_id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def ts(self) -> int: ...
    @property
    def updated(self) -> int: ...


def store_messages(*, row: Invocation, parts: Iterable[SaidPart]) -> list[Message]:
    stored = []
    for part in parts:
        message, _ = Message.objects.update_or_create(
            rc_id=part.chat_id,
            defaults={"text": part.text, "rc_updated_at": moment(part.updated)},
            create_defaults={
                "room": row.room,
                "agent": row.agent,
                "text": part.text,
                "thread": row.thread,
                "ts": moment(part.ts),
                "rc_updated_at": moment(part.updated),
            },
        )
        stored.append(message)
    return stored
