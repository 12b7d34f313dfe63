"""`!why`: what did a reply stand on?"""

import re
from collections.abc import Sequence
from typing import Any, Final

from django.conf import settings
from django.db.models import Q

from composer.models import Prompt, Summary
from gateway import links
from gateway.commands.registry import Order, command
from gateway.models import Invocation, Message, Purpose
from runtime.models import ReplyPart

MAX_LINKS: Final = 8
"""Per section; the rest is a number."""

_WORDS: Final = {
    "message": "messages",
    "landmark": "messages",
    "fact": "facts",
    "summary": "summaries",
    "tool": "tools",
}
_LINK: Final = re.compile(r"(?:[?&]msg=|/m/)([\w.-]{1,64})")


@command("why", usage="[@agent | number | link to a reply]", help="shows what the last reply here stood on")
def why(order: Order) -> str:
    row = _row(order)
    if row is None:
        return "No reply of that kind is known here. `!why` is about the last one of this room or thread."
    prompt = Prompt.objects.filter(invocation=row).first()
    if prompt is None:
        return f"Run `{row.pk}` of {row.agent.slug} has no prompt: {_no_prompt(row)}"
    asked = links.to_message(rc_id=row.message.rc_id, label="the question")
    head = (
        f"Run `{row.pk}`: {row.agent.slug} was given {prompt.token_count:,} of {prompt.budget:,} tokens for {asked}"
        f" at {prompt.created_at:%Y-%m-%d %H:%M} UTC."
    )
    lines = [_section(section, room_id=row.room_id) for section in prompt.sections if section.get("title")]
    lines += [_left_out(entry) for entry in prompt.left_out]
    return "\n".join([head, *lines])


def _row(order: Order) -> Invocation | None:
    """Only runs of this very room: a receipt names what was read there."""
    linked = _LINK.search(order.command.text)
    here = Invocation.objects.filter(room_id=order.place.room_id, purpose=Purpose.ANSWER)
    rows = here if linked else order.scope()
    if linked:
        parts = ReplyPart.objects.filter(chat_id=linked[1]).values("invocation_id")
        rows = rows.filter(Q(pk__in=parts) | Q(message__rc_id=linked[1]))
    elif order.command.number is None:
        rows = rows.filter(prompt__isnull=False)
    return rows.select_related("agent", "message").order_by("-pk").first()


def _no_prompt(row: Invocation) -> str:
    if row.composed_at is None:
        return f"it is {row.state}{f' ({row.reason})' if row.reason else ''} and was never composed."
    return (
        f"prompts are kept for {settings.NEXUS_KEEP_PROMPTS_DAYS:g} days, and go when somebody whose words they held is"
        " forgotten."
    )


def _section(section: dict[str, Any], *, room_id: int) -> str:
    sources: list[dict[str, Any]] = section.get("sources") or []
    told = [f"*{section['title']}*: {section.get('token_count', 0):,} tokens"]
    for kind in dict.fromkeys(_WORDS.get(str(source.get("kind")), "sources") for source in sources):
        of_kind = [source for source in sources if _WORDS.get(str(source.get("kind")), "sources") == kind]
        told.append(
            f"{len(of_kind)} {kind if len(of_kind) > 1 else _one(kind)}{_named(kind, of_kind, room_id=room_id)}"
        )
    return ", ".join(told)


def _named(kind: str, sources: Sequence[dict[str, Any]], *, room_id: int) -> str:
    if kind == "facts":
        return " " + " ".join(f"`#{source['id']}`" for source in sources[:MAX_LINKS])
    if kind == "summaries":
        return _spans([source["id"] for source in sources], room_id=room_id)
    if kind != "messages":
        return ""
    ids = [source["id"] for source in sources]
    # A message that was deleted meanwhile has no address any more.
    rows = Message.objects.filter(pk__in=ids[-MAX_LINKS:], room_id=room_id, deleted_at=None)
    names = rows.select_related("user", "agent").order_by("ts", "pk")
    told = [links.to_message(rc_id=row.rc_id, label=f"{_speaker(row)} {row.ts:%m-%d %H:%M}") for row in names]
    return f": {'… ' if len(ids) > MAX_LINKS else ''}{' '.join(told)}" if told else ""


def _spans(ids: Sequence[int], *, room_id: int) -> str:
    """From where to where each summary goes; one that an edit took away is not there any more."""
    rows = Summary.objects.filter(pk__in=ids[:MAX_LINKS], room_id=room_id).order_by("first_message__ts")
    told = [
        f"{_link(row.first_message)} to {_link(row.last_message)}"
        for row in rows.select_related("first_message", "last_message")
    ]
    return f": {', '.join(told)}" if told else ""


def _link(row: Message) -> str:
    return links.to_message(rc_id=row.rc_id, label=f"{row.ts:%m-%d %H:%M}")


def _speaker(row: Message) -> str:
    return row.user.username if row.user is not None else row.agent.slug if row.agent is not None else ""


def _left_out(entry: dict[str, Any]) -> str:
    return f"_Left out_: {entry.get('what')} ({entry.get('count')}), {entry.get('why')}"


def _one(kind: str) -> str:
    return "summary" if kind == "summaries" else kind.removesuffix("s")
