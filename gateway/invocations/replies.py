"""An open question takes the next fitting reply: a plain yes or no of who may decide, or the answer to what was asked."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.db.models import Q

from gateway import sql
from gateway.invocations import approvals
from gateway.invocations.rights import may_decide
from gateway.models import Approval, Asks, User

_YES: Final = frozenset(
    {"yes", "y", "ok", "okay", "allow", "approve", "approved", "go", "go ahead", "do it", "sure", "yes please", "+1"}
)
_NO: Final = re.compile(r"(?:no|nope|n|deny|denied|reject|don'?t|-1)\b[\s,.:;!-]*(.*)", re.IGNORECASE | re.DOTALL)
_WITH_OPEN: Final = (
    "SELECT DISTINCT i.room_id FROM approvals q JOIN invocations i ON i.id = q.invocation_id"
    " WHERE q.decision = '' AND q.expires_at > now() AND i.room_id = ANY(%s::bigint[])"
)
_MENTIONS: Final = re.compile(r"\s*(?:@\S+\s*)+")


def rooms_that_wait(*, room_ids: Sequence[int]) -> sql.Ask[frozenset[int]]:
    """Those with an open question. Asked with every message; most rooms have none."""
    return sql.Ask(_WITH_OPEN, [room_ids], lambda rows: frozenset(pk for (pk,) in rows))


def take(
    *, room_id: int, thread: str, user_id: int, is_dm: bool, named: frozenset[int], text: str, at: datetime
) -> str | None:
    """None unless this message was an answer; else it asks nobody anything, and the text is what to say to its giver.

    It must be said where the question is: in its thread, in the direct chat, or to its agent by name.
    """
    # A yes counts only for a command that its giver can have read.
    is_shown = Q(kind=Asks.QUESTION, created_at__lt=at) | Q(card__posted_at__lt=at)
    open_here = approvals.open_ones().filter(is_shown, invocation__room_id=room_id)
    if not is_dm:
        in_thread = Q(invocation__thread=thread) | Q(invocation__message__rc_id=thread) if thread else Q(pk__in=())
        open_here = open_here.filter(in_thread | Q(invocation__agent__in=named))
    questions = list(open_here.order_by("pk")[:20])
    user = User.objects.filter(pk=user_id, is_foreign_bot=False).first() if questions else None
    return None if user is None else _give(questions, user=user, text=_MENTIONS.sub("", text, count=1).strip())


def _give(questions: list[Approval], *, user: User, text: str) -> str | None:
    """To the first question that this can answer; a decision only where no other one can be meant."""
    decision = _decision(text)
    to_decide = [
        one for one in questions if one.kind != Asks.QUESTION and may_decide(agent=one.invocation.agent, user=user)
    ]
    for one in questions:
        if one.kind == Asks.QUESTION:
            if _is_answered(one, user=user, text=text):
                return ""
        elif decision is not None and one in to_decide:
            if len(to_decide) > 1:
                return approvals.say_which(to_decide, word="approve" if decision[0] else "deny")
            if _is_decided(one, user=user, allow=decision[0], note=decision[1]):
                return ""
    return None


def _decision(text: str) -> tuple[bool, str] | None:
    """Yes or no, and a no's reason."""
    if text.rstrip("!. ").lower() in _YES:
        return True, ""
    found = _NO.fullmatch(text)
    return None if found is None else (False, found[1].strip())


def _is_answered(question: Approval, *, user: User, text: str) -> bool:
    row = question.invocation
    may_answer = user.pk in (question.asked_id, row.root_asker_id, row.agent.owner_id)
    return may_answer and bool(text) and approvals.answer(approval=question, user=user, text=text)


def _is_decided(question: Approval, *, user: User, allow: bool, note: str) -> bool:
    verdict = approvals.decide(
        invocation_id=question.invocation_id, user=user, allow=allow, note=note, approval_id=question.pk
    )
    return verdict == approvals.Verdict.DECIDED
