"""The card of one question: what is asked, how risky it is, who may decide; edited to say who did."""

from typing import Final

from django.db.models import F

from gateway import nudges
from gateway.invocations import risk
from gateway.invocations.notices import chat_message_id
from gateway.invocations.patience import ANSWER_S, answer_s, in_words
from gateway.models import Agent, Approval, Asks, Notice, NoticeKind

BREAK: Final = "\N{ZERO WIDTH SPACE}"
MAX_DECIDED_CHARS: Final = 600
"""Of what was decided the card keeps this much; whole it stands in the audit's row."""


def show(*, approval: Approval) -> None:
    """Bring the card to what the question is now."""
    row = approval.invocation
    text = _text(approval)
    if approval.card_id is None:
        notice, _ = Notice.objects.get_or_create(
            chat_id=chat_message_id(f"card:{approval.pk}"),
            defaults={
                "invocation": row,
                "room_id": row.room_id,
                "agent_id": row.agent_id,
                "kind": NoticeKind.CARD,
                "thread": row.thread,
                "text": text,
            },
        )
        Approval.objects.filter(pk=approval.pk).update(card=notice)
        approval.card = notice
    else:
        Notice.objects.filter(pk=approval.card_id).exclude(text=text).update(text=text, revision=F("revision") + 1)
    nudges.chat(agent_id=row.agent_id, room_id=row.room_id, invocation_id=row.pk)


def _text(approval: Approval) -> str:
    if approval.kind == Asks.QUESTION:
        return _question(approval)
    return _decided(approval) if approval.decision else _open(approval)


def _open(approval: Approval) -> str:
    agent = approval.invocation.agent
    level, why = risk.level(tool_kind=approval.tool_kind, detail=approval.detail)
    because = f": {why}" if why else ""
    number = approval.pk
    wait = in_words(answer_s(agent=agent, kind=approval.kind))
    how = (
        f"{deciders(agent)} decides: ✅ or `!approve {number}` (or `!approve {number} for 1h`, `… always here`), "
        f"❌ or `!deny {number} reason`. No answer within {wait} is a no."
    )
    head = f"**{agent.slug} asks to use {approval.tool}** (risk {level}{because})"
    return "\n".join([head, fenced(approval.detail), how])


def _decided(approval: Approval) -> str:
    by = "" if approval.decided_by is None else f" by {approval.decided_by.username}"
    span = f" {approval.span}" if approval.span else ""
    note = f": {approval.note}" if approval.note else ""
    what = {
        "allow": f"allowed{by}{span}",
        "deny": f"denied{by}{note}",
        "expired": f"not asked any more{note}" if note else "denied: nobody answered in time",
    }[approval.decision]
    detail = approval.detail
    cut = detail if len(detail) <= MAX_DECIDED_CHARS else f"{detail[:MAX_DECIDED_CHARS]}…"
    return f"**{approval.tool}** – {what}\n{fenced(cut)}"


def _question(approval: Approval) -> str:
    agent = approval.invocation.agent
    name = f"@{approval.asked.username}: " if approval.asked is not None else ""
    if approval.decision == "allow":
        by = "" if approval.decided_by is None else approval.decided_by.username
        return f"**{agent.slug} asked:** {approval.detail}\n**{by} answered:** {approval.note}"
    if approval.decision:
        return f"**{agent.slug} asked:** {approval.detail}\nNobody answered."
    return (
        f"{name}**{agent.slug} asks:** {approval.detail}\n"
        f"Answer in this thread, or with `@{agent.slug} …`. It waits {in_words(ANSWER_S)}."
    )


def deciders(agent: Agent) -> str:
    return ", ".join(f"@{name}" for name in _names_of_deciders(agent)) or "An admin"


def called(*, notice_id: int) -> frozenset[str]:
    """Whom a card waits for: the only people whom a sentence of ours mentions so that the chat tells them."""
    question = (
        Approval.objects.filter(card_id=notice_id, decision="")
        .select_related("asked", "invocation__agent__owner")
        .first()
    )
    if question is None:
        return frozenset()
    if question.kind == Asks.QUESTION:
        return frozenset([question.asked.username] if question.asked is not None else [])
    return frozenset(_names_of_deciders(question.invocation.agent))


def _names_of_deciders(agent: Agent) -> list[str]:
    names = [agent.owner.username] if agent.owner is not None else []
    names += agent.approvers.order_by("username").values_list("username", flat=True)[:5]
    return list(dict.fromkeys(names))


def fenced(text: str) -> str:
    """In a code block that the text itself can't end: the chat knows fences of three backticks only."""
    broken = text.replace("```", f"`{BREAK}`{BREAK}`")
    return f"```\n{broken}\n```" if text else ""
