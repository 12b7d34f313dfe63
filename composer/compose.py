"""What does an agent get to see? Claim a row, gather what the team knows in eight steps, store the prompt."""

import logging
import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from django.conf import settings
from django.db import transaction

from composer import asked, compaction, outline, prompt, summary_orders, tools
from composer.asked import Asked
from composer.memory import profiles, project, recall, scopes, working
from composer.memory.lines import Line, in_order
from composer.retrieval import search
from composer.retrieval.rooms import Look, searched
from composer.summarizer import SummarizerError
from gateway import invocations, pipeline, sql
from gateway.invocations import Claim
from gateway.models import Purpose
from gateway.room_lock import room_lock
from gateway.watch import traces
from gateway.watch.about import about_invocation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A prompt that is ready to be stored."""

    rendered: prompt.Rendered
    left_out: list[dict[str, object]]
    budget: int
    token_percent: int = 100

    @property
    def token_count(self) -> int:
        """In the tokens of the agent's own model, as its budget is."""
        return -(-self.rendered.token_count * self.token_percent // 100)


class ComposeError(RuntimeError):
    """No prompt can be made for this row, now or later; the text is a sentence for the room."""


class Turn:
    """One worker's turn at a room: `compose`, and when the chain has gone on, `let_go`.

    The holder of the room lock, after letting go, starts the chain of the room's next claimable row: whoever found the
    lock taken has gone away.
    """

    def __init__(self, *, invocation_id: int, room_id: int | None = None) -> None:
        self._invocation_id = invocation_id
        self._asked_in = room_id
        self._room_id: int | None = None
        self._composed_id: int | None = None
        self._lock = ExitStack()

    def compose(self) -> int | None:
        """Claim the agent's next row and compose it. Returns its id, or None when there was nothing to do."""
        room_id = self._asked_in or _room_of(self._invocation_id)
        if room_id is None or not self._lock.enter_context(room_lock(room_id=room_id)):
            return None
        self._room_id = room_id
        self._composed_id = claim_and_compose(invocation_id=self._invocation_id, room_id=room_id)
        return self._composed_id

    def let_go(self) -> None:
        self._lock.close()
        if self._room_id is None:
            return
        if self._composed_id is not None:
            # Here and not before: whoever waits for the answer does not wait for a line in a log.
            logger.info("composed", extra={"invocation": self._composed_id})
        follower = invocations.next_in_room(room_id=self._room_id)
        # A row that this worker has just failed to claim is left to whoever stands in its way, and to the sweep.
        if follower is not None and (self._composed_id is not None or follower != self._invocation_id):
            pipeline.start(invocation_ids=[follower])


def compose(*, invocation_id: int) -> int | None:
    """A whole turn, for who has no chain to go on with."""
    turn = Turn(invocation_id=invocation_id)
    try:
        return turn.compose()
    finally:
        turn.let_go()


def _room_of(invocation_id: int) -> int | None:
    rows = sql.rows("SELECT room_id FROM invocations WHERE id = %s", [invocation_id])
    return rows[0][0] if rows else None


def claim_and_compose(*, invocation_id: int, room_id: int | None = None) -> int | None:
    """Without the room lock, which only saves work: the sweep goes past it."""
    first = _First()
    claim = invocations.claim_next(invocation_id=invocation_id, room_id=room_id, first=first)
    if claim is None:
        return None
    with about_invocation(claim.invocation_id), traces.span("compose", invocation_id=claim.invocation_id):
        return _compose_claimed(claim, first)


class _First:
    """Who asks what, what changed in the room and what was said there last: every prompt begins with it, so that it is
    read while its row is claimed.
    """

    asking: sql.Ask[Asked]
    look: Look
    _held: working.Held | None = None

    def asks(self, *, invocation_id: int, room_id: int) -> Sequence[sql.Ask[Any]]:
        self.asking, self.look = asked.ask(invocation_id=invocation_id), searched.look(room_id=room_id)
        return (self.asking, self.look.changed, self.look.names)

    def meanwhile(self, *, room_id: int) -> None:
        self._held = working.held(room_id=room_id)

    def held(self, *, room_id: int) -> working.Held:
        if self._held is None or self._held.room_id != room_id:
            return working.held(room_id=room_id)
        return self._held


def _compose_claimed(claim: Claim, first: _First) -> int | None:
    try:
        drawn = _draw(first)
    except ComposeError as error:
        with transaction.atomic(durable=True):
            invocations.compose_failed(
                invocation_id=claim.invocation_id, fence=claim.fence, reason="compose_failed", detail=str(error)
            )
        return None
    if not hand_over(claim=claim, drawn=drawn):
        return None
    return claim.invocation_id


def draw(*, invocation_id: int, room_id: int) -> Drawn:
    """The prompt of this row of this room, from what is true now. Writes nothing but, when the talk is long, a summary."""
    first = _First()
    sql.together(*first.asks(invocation_id=invocation_id, room_id=room_id))
    return _draw(first)


def _draw(first: _First) -> Drawn:
    who = first.asking.answer()
    if who.is_gone:
        raise ComposeError("its question was deleted")
    if who.purpose == Purpose.SUMMARY:
        return _draw_order(who)
    # Letters know little that the words do not: they are asked only where the words find too little.
    pending = _ask_memory(who) if recall.knows_meanings() else None
    total = _total(who)
    sections, left_out = outline.fit(_gather(who, pending, first, total=total), total=total)
    return _drawn(who, sections, left_out)


def _draw_order(who: Asked) -> Drawn:
    """What an agent of the host gets that is to summarise."""
    try:
        return _drawn(who, summary_orders.sections(asked=who, total=_total(who)), [])
    except SummarizerError as error:
        raise ComposeError(str(error)) from error


def _drawn(who: Asked, sections: Sequence[prompt.Section], left_out: list[dict[str, object]]) -> Drawn:
    rendered = prompt.render(sections, letters=_letters)
    logger.debug("prompt drawn", extra={"invocation": who.invocation_id, "text": rendered.text})
    return Drawn(rendered, left_out, budget=_allowed(who), token_percent=who.token_percent)


def _allowed(who: Asked) -> int:
    """Tokens as the agent's own model counts them."""
    return who.budget or settings.NEXUS_PROMPT_BUDGET


def _total(who: Asked) -> int:
    """The same in tokens of our estimate."""
    return _allowed(who) * 100 // who.token_percent


def hand_over(*, claim: Claim, drawn: Drawn) -> bool:
    """Store the prompt and move the row, both or neither. False: somebody else owns the row now."""
    is_ours = invocations.composed(
        invocation_id=claim.invocation_id,
        fence=claim.fence,
        store=_STORE,
        values=[
            claim.fence,
            drawn.rendered.text,
            msgspec.json.encode(drawn.rendered.sections).decode(),
            msgspec.json.encode(drawn.left_out).decode(),
            drawn.token_count,
            drawn.budget,
        ],
    )
    if not is_ours:
        logger.info("composed for nothing", extra={"invocation": claim.invocation_id, "fence": claim.fence})
    return is_ours


# A row that waited is composed afresh; the older prompt was never given to anybody.
_STORE: Final = (
    "INSERT INTO prompts (invocation_id, fence, text, sections, left_out, token_count, budget)"
    " SELECT id, %s, %s, %s::jsonb, %s::jsonb, %s, %s FROM moved ON CONFLICT (invocation_id) DO UPDATE SET"
    " fence = excluded.fence, text = excluded.text, sections = excluded.sections, left_out = excluded.left_out,"
    " token_count = excluded.token_count, budget = excluded.budget, created_at = now()"
)


def _gather(who: Asked, pending: recall.Pending | None, first: _First, *, total: int) -> outline.Gathered:
    limit = settings.NEXUS_WORKING_MEMORY
    window = working.Window(held=first.held(room_id=who.room_id), before=who.before, limit=limit)
    # Who asks in a thread speaks of its own last lines, which the room's window may have passed.
    own = working.thread(room_id=who.room_id, root=who.thread, before=who.before, limit=limit // 4)
    people = profiles.read(asked=who, speaker_ids=_speakers(in_order([*window.believed, *own])))
    known = project.read(asked=who, talk_scope=_scope(who))
    pinned = compaction.landmarks(room_id=who.room_id, question=who.text)
    in_short = compaction.summaries(room_id=who.room_id, thread=who.thread, before=who.before)
    usable = tools.allowed(room_id=who.room_id)
    with sql.under_way(window.proof, people, known, pinned, in_short, usable):
        heard = recall.Heard({}) if pending is None else pending.hear(own_id=who.question.id)
        found = search.search(asked=who, tokens=total, remembered=heard.scores, look=first.look)
    if pending is None and found.is_all and found.searched > limit:
        heard = _ask_memory(who).hear(own_id=who.question.id)
        found = search.search(asked=who, tokens=total, remembered=heard.scores)
    said = window.lines()
    talk = in_order([*said, *own]) if own else said
    if said is not window.believed:
        people = profiles.read(asked=who, speaker_ids=_speakers(talk))
    return outline.Gathered(
        asked=who,
        window=talk,
        profiles=people.answer(),
        project=known.answer(),
        landmarks=pinned.answer(),
        summaries=in_short.answer(),
        tools=usable.answer(),
        recalled=recall.Recalled(found.lines, heard.trouble, heard.is_late),
    )


def _ask_memory(who: Asked) -> recall.Pending:
    return recall.start(query=who.text, scope=_scope(who))


def _scope(who: Asked) -> str:
    return scopes.of_talk(room_id=who.room_id, rid=who.rid, kind=who.kind)


def _speakers(lines: Sequence[Line]) -> list[int]:
    """Users, who spoke last first."""
    return [line.user_id for line in reversed(lines) if line.user_id]


def _letters(length: int) -> str:
    return "".join(secrets.choice(prompt.MARK_LETTERS) for _ in range(length))
