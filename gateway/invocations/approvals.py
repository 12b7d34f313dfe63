"""Questions of a run: each a card in the room, and the decision of somebody who may take it. Silence is a no."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from gateway import audit, nudges, redaction
from gateway.invocations import cards, grants
from gateway.invocations.grants import Span
from gateway.invocations.patience import answer_s
from gateway.invocations.rights import may_decide
from gateway.models import FINAL, Agent, Approval, Asks, Invocation, Purpose, User
from nexus_bridge import events
from nexus_bridge.strip import visible

"""Silence for this long is a no."""

MAX_PENDING: Final = 20
"""Questions of one run that may be open; more are not asked and so never allowed."""


class Verdict(StrEnum):
    """What became of an attempt to decide; the value is what the person is told."""

    DECIDED = "decided"
    NOT_ALLOWED = "only the agent's owner and the approvers its owner named may decide"
    NOTHING_OPEN = "nothing waits for a decision here"


def ask(*, invocation_id: int, permission: events.Permission) -> None:
    """Store a CLI's question and show it in the room. Asking the same again changes nothing."""
    if permission.id:
        ask_once(
            invocation_id=invocation_id,
            permission=permission.id,
            tool=permission.name or permission.title or "a tool",
            tool_kind=permission.tool,
            detail=permission.detail or permission.title,
        )


def ask_once(
    *,
    invocation_id: int,
    permission: str,
    tool: str,
    detail: str,
    tool_kind: str = "other",
    kind: Asks = Asks.PERMISSION,
    asked: User | None = None,
) -> Approval | None:
    """The question with this key, asked now unless it was before; None when too many are open."""
    found = Approval.objects.filter(invocation_id=invocation_id, permission=_storable(permission)[:200]).first()
    if found is not None:
        return found
    if Approval.objects.filter(invocation_id=invocation_id, decision="").count() >= MAX_PENDING:
        return None
    agent = Agent.objects.select_related("bridge").get(invocations=invocation_id)
    wait = timedelta(seconds=answer_s(agent=agent, kind=kind))
    question, is_new = Approval.objects.select_related("invocation__agent__owner").get_or_create(
        invocation_id=invocation_id,
        permission=_storable(permission)[:200],
        defaults={
            "kind": kind,
            "tool": _storable(visible(tool))[:200],
            "tool_kind": tool_kind[:20],
            "detail": _storable(visible(detail)),
            "asked": asked,
            "expires_at": Now() + wait,
        },
    )
    if is_new:
        _begin(question)
    return question


def _begin(question: Approval) -> None:
    if question.invocation.purpose != Purpose.ANSWER:
        _store(question, decision="deny", by=None, note="a summary takes no tools")
        return
    grant = None if question.kind == Asks.QUESTION else grants.covering(approval=question)
    if grant is None:
        cards.show(approval=question)
    else:
        _store(question, decision="allow", by=grant.granted_by, span="by a standing yes")


def decide(
    *,
    invocation_id: int,
    user: User,
    allow: bool,
    note: str = "",
    approval_id: int | None = None,
    span: Span | None = None,
) -> Verdict:
    """Answer the oldest open question of this run (or the one named), by the right `user` has now."""
    with transaction.atomic():
        row = Invocation.objects.select_related("agent").filter(pk=invocation_id).first()
        if row is None:
            return Verdict.NOTHING_OPEN
        if not may_decide(agent=row.agent, user=user):
            return Verdict.NOT_ALLOWED
        pending = open_ones().filter(invocation=row).exclude(kind=Asks.QUESTION)
        if approval_id is not None:
            pending = pending.filter(pk=approval_id)
        question = pending.order_by("pk").first()
        words = "" if span is None else span.words
        if question is None or not _store(
            question, decision="allow" if allow else "deny", by=user, note=note, span=words
        ):
            return Verdict.NOTHING_OPEN
        if allow and span is not None:
            grants.give(approval=question, user=user, span=span)
        return Verdict.DECIDED


def answer(*, approval: Approval, user: User, text: str) -> bool:
    """What somebody says to a question of an agent; false when it was answered already."""
    with transaction.atomic():
        return approval.kind == Asks.QUESTION and _store(approval, decision="allow", by=user, note=text)


def open_ones() -> "QuerySet[Approval]":
    """Questions that wait for somebody."""
    return Approval.objects.filter(decision="", expires_at__gt=Now()).select_related("invocation__agent__owner")


def expire_due() -> int:
    """Questions nobody answered in time, or whose run is over, are denied; returns how many."""
    with transaction.atomic():
        is_due = Q(expires_at__lte=Now()) | Q(invocation__state__in=list(FINAL))
        due = Approval.objects.filter(is_due, decision="").select_related("invocation__agent__owner")
        questions = list(due.select_for_update(of=("self",), skip_locked=True).order_by("pk")[:200])
        for question in questions:
            is_over = question.invocation.state in FINAL
            _store(question, decision="expired", by=None, note="the run was over" if is_over else "")
        return len(questions)


def _store(question: Approval, *, decision: str, by: User | None, note: str = "", span: str = "") -> bool:
    """The one place where a question gets its answer, and only its first."""
    fields = {"decision": decision, "decided_by": by, "note": _storable(note)[:2_000], "span": span}
    if not Approval.objects.filter(pk=question.pk, decision="").update(decided_at=Now(), **fields):
        return False
    for name, value in fields.items():
        setattr(question, name, value)
    actor = "nobody" if by is None else by.username
    row = question.invocation
    audit.record(
        actor=actor,
        action=f"{question.kind}_{decision}",
        target=f"invocation:{row.pk}",
        tool=question.tool,
        agent=row.agent.slug,
        span=span,
    )
    if question.card_id is not None:
        cards.show(approval=question)
    if row.agent.bridge_id is not None and question.kind == Asks.PERMISSION:
        nudges.hub(bridge_id=row.agent.bridge_id)
    return True


def say_which(found: Sequence[Approval], *, word: str) -> str:
    """To who decided without saying about what: a yes must not land on another command than the one he has read."""
    choices = ", ".join(f"`!{word} {one.pk}` ({one.invocation.agent.slug}: {one.tool})" for one in found)
    return f"Several questions wait for a decision; say which: {choices}."


def _storable(text: str) -> str:
    """What a CLI said may hold a NUL, which no column of Postgres does, and a secret, which no card does."""
    return redaction.masked(text.replace("\x00", "\ufffd"))
