"""What does an agent get to see? Claim a row, gather what the team knows in eight steps, store the prompt."""

import logging
import secrets
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from composer import asked, compaction, outline, prompt, tools
from composer.asked import Asked
from composer.memory import profiles, project, recall, scopes, working
from composer.memory.lines import Line, in_order
from composer.models import Prompt
from gateway import invocations, pipeline
from gateway.invocations import Claim
from gateway.models import Invocation
from gateway.room_lock import room_lock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A prompt that is ready to be stored."""

    rendered: prompt.Rendered
    left_out: list[dict[str, object]]
    budget: int


class ComposeError(RuntimeError):
    """No prompt can be made for this row, now or later; the text is a sentence for the room."""


def compose(*, invocation_id: int, use_room_lock: bool = True) -> int | None:
    """Claim the agent's next row and compose it. Returns its id, or None when there was nothing to do.

    The holder of the room lock, after letting go, starts the chain of the room's next claimable row: whoever found the
    lock taken has gone away. The sweep passes `use_room_lock=False`.
    """
    if not use_room_lock:
        return _claim_and_compose(invocation_id=invocation_id)
    room_id = Invocation.objects.filter(pk=invocation_id).values_list("room_id", flat=True).first()
    if room_id is None:
        return None
    with room_lock(room_id=room_id) as is_held:
        if not is_held:
            return None
        composed_id = _claim_and_compose(invocation_id=invocation_id)
    follower = invocations.next_in_room(room_id=room_id)
    if follower is not None and follower != invocation_id and composed_id is not None:
        pipeline.start(invocation_ids=[follower])
    return composed_id


def _claim_and_compose(*, invocation_id: int) -> int | None:
    claim = invocations.claim_next(invocation_id=invocation_id)
    if claim is None:
        return None
    try:
        drawn = draw(invocation_id=claim.invocation_id)
    except ComposeError as error:
        with transaction.atomic(durable=True):
            invocations.compose_failed(
                invocation_id=claim.invocation_id, fence=claim.fence, reason="compose_failed", detail=str(error)
            )
        return None
    return claim.invocation_id if hand_over(claim=claim, drawn=drawn) else None


def draw(*, invocation_id: int) -> Drawn:
    """The prompt of this row, from what is true now. Writes nothing but, when the talk is long, a summary."""
    who = asked.read(invocation_id=invocation_id)
    talk_scope = scopes.of_talk(room=who.room)
    pending = recall.start(query=who.question.text, scope=talk_scope)
    window = _talk(who)
    speakers = [line.user_id for line in reversed(window) if line.user_id]
    gathered = outline.Gathered(
        asked=who,
        window=window,
        profiles=profiles.read(room=who.room, asker=who.root, speaker_ids=speakers),
        project=project.read(room=who.room, talk_scope=talk_scope, asker=who.root),
        landmarks=compaction.landmarks(room_id=who.room.pk),
        summaries=compaction.summaries(room_id=who.room.pk),
        tools=tools.allowed(room_id=who.room.pk),
        recalled=pending.take(room_id=who.room.pk, before=who.question),
    )
    total = who.agent.prompt_budget or settings.NEXUS_PROMPT_BUDGET
    sections, left_out = outline.fit(gathered, total=total)
    rendered = prompt.render(sections, letters=_letters)
    logger.debug("prompt drawn", extra={"invocation": invocation_id, "text": rendered.text})
    return Drawn(rendered, left_out, total)


def hand_over(*, claim: Claim, drawn: Drawn) -> bool:
    """Store the prompt and move the row, both or neither. False: somebody else owns the row now."""
    with transaction.atomic(durable=True):
        if not invocations.composed(invocation_id=claim.invocation_id, fence=claim.fence):
            logger.info("composed for nothing", extra={"invocation": claim.invocation_id, "fence": claim.fence})
            return False
        row = Prompt(
            invocation_id=claim.invocation_id,
            fence=claim.fence,
            text=drawn.rendered.text,
            sections=drawn.rendered.sections,
            left_out=drawn.left_out,
            token_count=drawn.rendered.token_count,
            budget=drawn.budget,
            created_at=Now(),
        )
        # A row that waited is composed afresh; the older prompt was never given to anybody.
        Prompt.objects.bulk_create(
            [row],
            update_conflicts=True,
            unique_fields=["invocation"],
            update_fields=["fence", "text", "sections", "left_out", "token_count", "budget", "created_at"],
        )
    return True


def _talk(who: Asked) -> list[Line]:
    """The room's window, and in a thread the thread's own last lines, which the window may have passed."""
    limit = settings.NEXUS_WORKING_MEMORY
    lines = working.window(room_id=who.room.pk, before=who.question, limit=limit)
    root = who.invocation.thread
    if not root:
        return lines
    return in_order([*lines, *working.thread(room_id=who.room.pk, root=root, before=who.question, limit=limit // 4)])


def _letters(length: int) -> str:
    return "".join(secrets.choice(prompt.MARK_LETTERS) for _ in range(length))
