"""An open question takes the next fitting reply: a plain yes or no of who may decide, or the answer to what was asked."""

import re
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
_ANY_OPEN: Final = (
    "SELECT 1 FROM approvals q JOIN invocations i ON i.id = q.invocation_id"
    " WHERE q.decision = '' AND q.expires_at > now() AND i.room_id = %s LIMIT 1"
)
_MENTIONS: Final = re.compile(r"\s*(?:@\S+\s*)+")


def take(
    *, room_id: int, thread: str, user_id: int, is_dm: bool, named: frozenset[int], text: str, at: datetime
) -> bool:
    """Whether this message was an answer; then it asks nobody anything.

    It must be said where the question is: in its thread, in the direct chat, or to its agent by name.
    """
    # Asked with every message; most rooms have no open question.
    if not sql.rows(_ANY_OPEN, [room_id]):
        return False
    open_here = approvals.open_ones().filter(invocation__room_id=room_id, created_at__lt=at)
    if not is_dm:
        in_thread = Q(invocation__thread=thread) | Q(invocation__message__rc_id=thread) if thread else Q(pk__in=())
        open_here = open_here.filter(in_thread | Q(invocation__agent__in=named))
    questions = list(open_here.order_by("pk")[:20])
    if not questions:
        return False
    user = User.objects.filter(pk=user_id, is_foreign_bot=False).first()
    return user is not None and any(_fits(one, user=user, text=_MENTIONS.sub("", text, count=1)) for one in questions)


def _fits(question: Approval, *, user: User, text: str) -> bool:
    """The first question that this can answer takes it."""
    agent, row = question.invocation.agent, question.invocation
    if question.kind == Asks.QUESTION:
        may_answer = user.pk in (question.asked_id, row.root_asker_id, agent.owner_id)
        return may_answer and bool(text.strip()) and approvals.answer(approval=question, user=user, text=text.strip())
    if not may_decide(agent=agent, user=user):
        return False
    words = text.strip().rstrip("!. ").lower()
    if words in _YES:
        return _decided(question, user=user, allow=True, note="")
    found = _NO.fullmatch(text.strip())
    return found is not None and _decided(question, user=user, allow=False, note=found[1].strip())


def _decided(question: Approval, *, user: User, allow: bool, note: str) -> bool:
    verdict = approvals.decide(
        invocation_id=question.invocation_id, user=user, allow=allow, note=note, approval_id=question.pk
    )
    return verdict == approvals.Verdict.DECIDED
