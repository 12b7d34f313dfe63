"""`!pin`, `!unpin`, `!pins`, `!decisions` and 📌: what a room keeps word for word."""

import re
from typing import Final

from composer import landmarks
from composer.landmarks import Pin
from composer.models import KINDS, Landmark
from gateway import links
from gateway.commands.registry import Order, Signed, command, reaction
from gateway.models import Message

MAX_LISTED: Final = 15
MAX_EXCERPT_CHARS: Final = 160

_LINKED: Final = re.compile(
    r"\[[^\]\n]*\]\(\S*?(?:[?&]msg=|/m/)(?P<a>[\w.-]{1,64})\)|\S*(?:[?&]msg=|/m/)(?P<b>[\w.-]{1,64})"
)
_COMMAND_WORD: Final = re.compile(rf"\s*(?:@\S+\s+)*!pin\s+(?:(?:{'|'.join(KINDS)})\s+)?", re.IGNORECASE)


@command(
    "pin",
    usage="[decision|spec|code|question|action] [text or link to a message]",
    help="keeps a message word for word: the one it names, its own text, or the last one said here",
)
def pin(order: Order) -> str:
    kind, text = _kind_and_rest(order.command.text)
    message_id, problem = _target(order, text)
    if message_id is None:
        return problem
    number = landmarks.pin(message_id=message_id, room_id=order.place.room_id, kind=kind, user_id=order.place.user_id)
    return f"Pinned as {_described(number)}. `!unpin {number}` takes it away again." if number else _NOT_THERE


@command("unpin", usage="number", help="lets a pinned message be an ordinary one again")
def unpin(order: Order) -> str:
    linked = _linked(order.command.text)
    message_id = _message_of(linked, room_id=order.place.room_id) if linked else None
    if order.command.number is None and message_id is None:
        return "Say which: `!unpin 12`. `!pins` lists what is pinned here."
    gone = landmarks.unpin(
        room_id=order.place.room_id,
        user_id=order.place.user_id,
        landmark_id=order.command.number,
        message_id=message_id,
    )
    return f"No longer pinned: {_line(gone)}" if gone else "That is not pinned here. `!pins` lists what is."


@command("decisions", usage="[all]", help="lists what was decided here; `all` with what has been replaced")
def decisions(order: Order) -> str:
    is_all = order.command.text.casefold() == "all"
    return _list(order, kinds=("decision",), title="Decisions of this room", with_superseded=is_all)


@command("pins", help="lists all that is pinned here")
def pins(order: Order) -> str:
    return _list(order, kinds=KINDS, title="Pinned in this room", with_superseded=False)


@reaction("pin")
def pin_by_sign(signed: Signed) -> None:
    room_id = Message.objects.values_list("room_id", flat=True).get(pk=signed.message_id)
    landmarks.pin(message_id=signed.message_id, room_id=room_id, user_id=signed.user.pk)


_NOT_THERE: Final = "There is no such message in this room."


def _kind_and_rest(text: str) -> tuple[str, str]:
    first, _, rest = text.partition(" ")
    # "decision: …" is the message's own text; only the bare word says of which kind it is.
    return (first.casefold(), rest.strip()) if first.casefold() in KINDS else ("", text.strip())


def _target(order: Order, text: str) -> tuple[int | None, str]:
    """The message that is meant, or a sentence that says why none is."""
    room_id = order.place.room_id
    linked = _linked(text)
    if linked:
        return _message_of(linked, room_id=room_id), _NOT_THERE
    if order.command.number is not None and not text:
        again = Landmark.objects.filter(pk=order.command.number, message__room_id=room_id).first()
        return (again.message_id if again else None), "No landmark of this room has that number."
    if text:
        return order.place.message_id, ""
    place = order.place
    last = landmarks.last_said(room_id=room_id, thread=place.thread, before_id=place.message_id)
    return last, "Nothing was said here yet that could be pinned."


def _linked(text: str) -> str:
    found = _LINKED.search(text)
    return (found["a"] or found["b"]) if found else ""


def _message_of(rc_id: str, *, room_id: int) -> int | None:
    return Message.objects.filter(rc_id=rc_id, room_id=room_id).values_list("pk", flat=True).first()


def _described(number: int) -> str:
    row = Landmark.objects.select_related("message").get(pk=number)
    return f"{row.kind} `#{number}`: {_excerpt(row.message.text)}"


def _list(order: Order, *, kinds: tuple[str, ...], title: str, with_superseded: bool) -> str:
    found = landmarks.live(
        room_id=order.place.room_id, kinds=kinds, limit=MAX_LISTED + 1, with_superseded=with_superseded
    )
    if not found:
        return (
            "Nothing is pinned here yet. Write `decision: …`, set 📌 on a message, or say `!pin`;"
            " agents then see it in every prompt of this room."
        )
    lines = [_line(one, is_kind_told=len(kinds) > 1) for one in found[:MAX_LISTED]]
    more = ["… and older ones."] if len(found) > MAX_LISTED else []
    return "\n".join([f"{title}, newest first:", *lines, *more])


def _line(one: Pin, *, is_kind_told: bool = True) -> str:
    told = f"{one.kind}, " if is_kind_told else ""
    replaced = f" (replaced by `#{one.superseded_by}`)" if one.superseded_by else ""
    day = links.to_message(rc_id=one.rc_id, label=f"{one.at:%Y-%m-%d}")
    return f"`#{one.id}` {told}{day} {one.speaker}: {_excerpt(one.text)}{replaced}"


def _excerpt(text: str) -> str:
    """One line, without what the chat would show as a fence or a link's quote."""
    line = " ".join(_COMMAND_WORD.sub("", text).replace("`", "'").split())
    return line if len(line) <= MAX_EXCERPT_CHARS else f"{line[:MAX_EXCERPT_CHARS]}…"
