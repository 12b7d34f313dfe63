"""`!catchup`: what somebody has missed in this room, from the rows alone."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from composer.models import Landmark, Summary
from gateway.commands.registry import Order, command
from gateway.models import FINAL, Invocation, Message, Notice, Purpose
from runtime.reply import duration, one_line

_SPAN: Final = re.compile(r"(\d{1,3})\s*([mhd])", re.IGNORECASE)
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_LONGEST: Final = timedelta(days=14)
_DEFAULT: Final = timedelta(days=1)
_PAUSE: Final = timedelta(minutes=5)
"""Somebody who wrote later than this before asking has not been away: his words before that count."""

_MAX_MESSAGES: Final = 5_000
_LISTED: Final = 5
_LINE_CHARS: Final = 160


@command("catchup", usage="[3h | 2d]", help="tells what you have missed here since you last wrote")
def catchup(order: Order) -> str:
    since = _since(order)
    if since is None:
        return "I know `!catchup`, and spans like `!catchup 3h` or `!catchup 2d`."
    said = _said(order, since=since)
    span = duration((order.now - since).total_seconds())
    if not said:
        return f"Nothing was said here in the last {span}."
    blocks = [
        _who_wrote(said, span=span),
        _block("What it was about", _summaries(order, since=since)),
        _block("Pinned", _pinned(order, since=since)),
        _block("You were mentioned", _mentions(said, username=order.user.username)),
        _block("Asked of agents", _questions(order, since=since)),
    ]
    return "\n\n".join(block for block in blocks if block)


def _since(order: Order) -> datetime | None:
    """What the person says, else when he last wrote here, else a day ago."""
    if word := order.command.text.strip() or ("" if order.command.number is None else str(order.command.number)):
        found = _SPAN.fullmatch(word)
        return order.now - min(int(found[1]) * _UNITS[found[2].lower()], _LONGEST) if found else None
    own = Message.objects.filter(room_id=order.place.room_id, user=order.user, ts__lt=order.now - _PAUSE)
    last = own.order_by("-ts").values_list("ts", flat=True).first()
    return order.now - _DEFAULT if last is None else max(last, order.now - _LONGEST)


def _said(order: Order, *, since: datetime) -> Sequence[Message]:
    rows = Message.objects.filter(
        room_id=order.place.room_id, ts__gt=since, deleted_at=None, system_type="", pk__lt=order.place.message_id
    ).exclude(user=order.user)
    # What commands were answered, and places in the queue, are no talk that somebody has missed.
    rows = rows.exclude(rc_id__in=Notice.objects.filter(room_id=order.place.room_id).values("chat_id"))
    if order.place.thread:
        rows = rows.filter(thread=order.place.thread)
    return list(rows.select_related("user", "agent").order_by("-ts", "-pk")[:_MAX_MESSAGES])


def _who_wrote(said: Sequence[Message], *, span: str) -> str:
    counts = Counter(_writer(message) for message in said)
    names = ", ".join(f"{name} {count}" for name, count in counts.most_common(8))
    amount = f"{len(said)} messages" if len(said) != 1 else "1 message"
    if len(said) == _MAX_MESSAGES:
        amount = f"more than {amount}"
    return f"**{amount}** in the last {span}: {names}."


def _summaries(order: Order, *, since: datetime) -> list[str]:
    rows = Summary.objects.filter(
        room_id=order.place.room_id, thread=order.place.thread, last_message__ts__gt=since
    ).exclude(tier="day")
    return [_line(text, limit=400) for text in rows.order_by("-last_message__ts").values_list("text", flat=True)[:3]]


def _pinned(order: Order, *, since: datetime) -> list[str]:
    rows = Landmark.objects.filter(
        message__room_id=order.place.room_id, created_at__gt=since, unpinned_at=None, superseded_by=None
    )
    rows = rows.select_related("message").order_by("-created_at")[:_LISTED]
    return [_of_kind(row.kind, _line(row.message.text)) for row in rows]


def _of_kind(kind: str, text: str) -> str:
    """A message that begins with the word is not told twice of what kind it is."""
    return text if text.casefold().startswith(f"{kind}:") else f"{kind}: {text}"


def _mentions(said: Sequence[Message], *, username: str) -> list[str]:
    named = re.compile(rf"@{re.escape(username)}(?![0-9A-Za-z_-])", re.IGNORECASE)
    found = [message for message in said if named.search(message.text)][:_LISTED]
    return [f"{_writer(message)}: {_line(message.text)}" for message in found]


def _questions(order: Order, *, since: datetime) -> list[str]:
    rows = Invocation.objects.filter(
        room_id=order.place.room_id, purpose=Purpose.ANSWER, opened_at__gt=since, message__deleted_at=None
    )
    if order.place.thread:
        rows = rows.filter(thread=order.place.thread)
    rows = rows.select_related("message", "agent", "root_asker").order_by("-pk")
    return [
        f"{row.root_asker.username} → {row.agent.slug} ({row.state if row.state in FINAL else 'open'}):"
        f" {_line(row.message.text)}"
        for row in rows[:_LISTED]
    ]


def _block(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"*{title}*", *(f"- {line}" for line in lines)]) if lines else ""


def _line(text: str, *, limit: int = _LINE_CHARS) -> str:
    return one_line(text, limit=limit) or "(no text)"


def _writer(message: Message) -> str:
    if message.agent is not None:
        return message.agent.slug
    return message.user.username if message.user is not None else "somebody"
