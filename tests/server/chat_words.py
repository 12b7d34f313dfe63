"""What the chat says in tests: message documents and typed messages of the usual people."""

import itertools
import time
from typing import Any

from gateway.rocketchat import events
from gateway.rocketchat.events import ChatMessage

_numbers = itertools.count(1)


def document(text: str = "hello", *, rid: str = "rid-backend", by: str = "bob", **fields: Any) -> dict[str, Any]:
    """A message as DDP carries it; `mentions` may be given as usernames."""
    now = int(time.time() * 1000)
    number = next(_numbers)
    names = fields.pop("mentions", ())
    return {
        "_id": f"chat{number:013d}",
        "rid": rid,
        "msg": text,
        "ts": {"$date": now},
        "_updatedAt": {"$date": now},
        "u": {"_id": f"uid-{by}", "username": by, "name": by.title()},
        "mentions": [name if isinstance(name, dict) else _mention(name) for name in names],
        "channels": [],
        "urls": [],
    } | fields


def _mention(name: str) -> dict[str, str]:
    return {"_id": f"uid-{name}", "username": name, "type": "user"}


def said(text: str = "hello", **fields: Any) -> ChatMessage:
    return events.message(document(text, **fields))


def edited(message: dict[str, Any], text: str, *, after_ms: int = 1_000, **fields: Any) -> dict[str, Any]:
    at = {"$date": message["_updatedAt"]["$date"] + after_ms}
    return message | {"msg": text, "_updatedAt": at, "editedAt": at, "editedBy": message["u"]} | fields
