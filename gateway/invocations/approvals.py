"""A CLI's permission request: the question as a card in the room, and the decision of somebody who may take it."""

from datetime import timedelta
from enum import StrEnum
from typing import Final

from django.db import transaction
from django.db.models.functions import Now

from gateway import nudges
from gateway.invocations import transitions, wording
from gateway.models import Approval, Invocation, NoticeKind, User
from nexus_bridge import events

ANSWER_S: Final = 600
"""Silence for this long is a no."""

MAX_PENDING: Final = 20
"""Questions of one run that may be open; more are not asked and so never allowed."""


class Verdict(StrEnum):
    """What became of an attempt to decide; the value is what the person is told."""

    DECIDED = "decided"
    NOT_ALLOWED = "only the agent's owner and the approvers its owner named may decide"
    NOTHING_OPEN = "nothing waits for a decision here"


def ask(*, invocation_id: int, permission: events.Permission) -> None:
    """Store the question and show it in the room. Asking the same again changes nothing."""
    open_count = Approval.objects.filter(invocation_id=invocation_id, decision="").count()
    if not permission.id or open_count >= MAX_PENDING:
        return
    _, is_new = Approval.objects.get_or_create(
        invocation_id=invocation_id,
        permission=_storable(permission.id)[:200],
        defaults={
            "tool": _storable(permission.name or permission.title or "a tool")[:200],
            "detail": _storable(permission.detail or permission.title),
            "expires_at": Now() + timedelta(seconds=ANSWER_S),
        },
    )
    if is_new:
        _show(invocation_id=invocation_id)


def decide(*, invocation_id: int, user: User, allow: bool, note: str = "", approval_id: int | None = None) -> Verdict:
    """Answer the oldest open question of this run (or the one named), by the right `user` has now."""
    with transaction.atomic():
        row = Invocation.objects.select_related("agent").filter(pk=invocation_id).first()
        if row is None:
            return Verdict.NOTHING_OPEN
        is_approver = row.agent.approvers.filter(pk=user.pk).exists()
        if user.pk != row.agent.owner_id and not is_approver:
            return Verdict.NOT_ALLOWED
        pending = Approval.objects.filter(invocation=row, decision="", expires_at__gt=Now())
        if approval_id is not None:
            pending = pending.filter(pk=approval_id)
        question = pending.order_by("pk").first()
        if question is None or not Approval.objects.filter(pk=question.pk, decision="").update(
            decision="allow" if allow else "deny", decided_by=user, decided_at=Now(), note=note[:2_000]
        ):
            return Verdict.NOTHING_OPEN
        _decided(row=row)
        return Verdict.DECIDED


def expire_due() -> int:
    """Questions nobody answered in time are denied; returns how many."""
    with transaction.atomic():
        due = Approval.objects.filter(decision="", expires_at__lte=Now()).select_for_update(skip_locked=True)
        questions = list(due.order_by("pk")[:200])
        for question in questions:
            Approval.objects.filter(pk=question.pk, decision="").update(decision="expired", decided_at=Now())
        for pk in {question.invocation_id for question in questions}:
            _decided(row=Invocation.objects.select_related("agent").get(pk=pk))
        return len(questions)


def _decided(*, row: Invocation) -> None:
    _show(invocation_id=row.pk)
    if row.agent.bridge_id is not None:
        nudges.hub(bridge_id=row.agent.bridge_id)


def _show(*, invocation_id: int) -> None:
    """One card per run with all its questions; each change edits it."""
    row = Invocation.objects.select_related("agent__owner").get(pk=invocation_id)
    questions = Approval.objects.filter(invocation=row).select_related("decided_by").order_by("pk")
    owner = row.agent.owner
    text = wording.questions(
        agent=row.agent.slug,
        owner=owner.username if owner is not None else "",
        questions=[
            (question.tool, question.detail, question.decision, _name(question.decided_by)) for question in questions
        ],
        minutes=ANSWER_S // 60,
    )
    transitions.tell(invocation=row, kind=NoticeKind.CARD, text=text)


def _storable(text: str) -> str:
    """What a CLI said may hold a NUL; no column of Postgres does."""
    return text.replace("\x00", "\ufffd")


def _name(user: User | None) -> str:
    return "" if user is None else user.username
