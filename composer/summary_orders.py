"""How is an agent of the host asked for a summary, what does it get to read, and what did it say?

Nobody waits: the row goes its way through lanes and bridge like any other, and a later round takes what came of it.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, LiteralString

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from composer import budget, prompt
from composer.asked import Asked
from composer.budget import Budget
from composer.memory.lines import SPOKEN, Line, select
from composer.models import SummaryOrder
from composer.prompt import Section, Speakers, Threads
from composer.summarizer import Summarizer, SummarizerError
from gateway import invocations, sql
from gateway.models import FINAL, Agent, Message, State
from nexus_bridge import events

MAX_OPEN: Final = 1
"""Orders that the host's agents may have at a time: people's questions want their lanes too."""

REST: Final = timedelta(minutes=10)
"""An agent that has just failed over a summary is left alone for so long."""

LINE_SHARE: Final = 0.1
"""No single line of the talk may take more of the budget."""

MAX_TEXT_CHARS: Final = 20_000

_TEXT: LiteralString = "SELECT payload FROM chunks WHERE invocation_id = %s AND kind = 'text' ORDER BY seq LIMIT 5000"


class NotYetError(Exception):
    """An agent is at it, or will be: look again in a later round."""


def summarizers(*, tier: str) -> list[Summarizer]:
    """The agent that the settings name, if they name one, for what is made in the background."""
    slug = settings.NEXUS_SUMMARIZER_AGENT
    return [AgentSummarizer(slug=slug, tier=tier)] if slug else []


class AgentSummarizer:
    """One of the host's agents. Raises NotYetError, too, until it has answered for this very stretch."""

    def __init__(self, *, slug: str, tier: str) -> None:
        self.name = slug
        self._tier = tier

    def summarize(self, lines: Sequence[Line], *, room: int) -> str:
        found = SummaryOrder.objects.select_related("invocation").filter(
            tier=self._tier, first_message_id=lines[0].id, last_message_id=lines[-1].id
        )
        order = found.first()
        if order is not None and order.fingerprint != _fingerprint(lines):
            # The talk has changed since: what was said of it is of no use.
            invocations.request_cancel(
                invocation_id=order.invocation_id, reason="stopped", detail="what it summarised has changed"
            )
            order.delete()
            order = None
        if order is None:
            self._order(lines, room=room)
            raise NotYetError
        row = order.invocation
        if row.state not in FINAL:
            raise NotYetError
        if row.state != State.DONE:
            raise SummarizerError(f"its run {row.pk} was {row.state}: {row.reason}")
        return budget.clip(_said(row.pk), room=room)

    def _order(self, lines: Sequence[Line], *, room: int) -> None:
        with transaction.atomic():
            agent = Agent.objects.online().filter(slug=self.name, owner=None).first()
            if agent is None:
                raise SummarizerError("it is no agent of the host that is online")
            if _open_count() >= MAX_OPEN:
                raise NotYetError
            if (trouble := _last_trouble(agent)) is not None:
                raise SummarizerError(f"it rests after a failure: {trouble}")
            row = invocations.open_summary(agent=agent, message=Message.objects.get(pk=lines[-1].id))
            SummaryOrder.objects.create(
                invocation=row,
                tier=self._tier,
                first_message_id=lines[0].id,
                last_message_id=lines[-1].id,
                message_ids=[line.id for line in lines],
                fingerprint=_fingerprint(lines),
                token_count=room,
            )


def sections(*, asked: Asked, total: int) -> list[Section]:
    """What the agent gets to read: the order, and as much of the end of the talk as its budget holds.

    Raises:
        SummarizerError: the talk is not what it was when the summary was ordered.
    """
    order = SummaryOrder.objects.filter(invocation_id=asked.invocation_id).first()
    if order is None:
        raise SummarizerError("what was to be summarised is gone")
    lines = select(f"m.id = ANY(%s::bigint[]) AND {SPOKEN} ORDER BY m.ts, m.id", [order.message_ids])
    if _fingerprint(lines) != order.fingerprint:
        raise SummarizerError("what was to be summarised has changed")
    head = Section("", prompt.summary_order(invocation_id=asked.invocation_id, words=order.token_count * 2 // 3))
    return [head, _talk(lines, total=total, room=total - prompt.cost(head))]


def _talk(lines: Sequence[Line], *, total: int, room: int) -> Section:
    speakers, threads = Speakers(), Threads(frozenset(line.thread for line in lines))
    longest = Budget(total).share(LINE_SHARE)
    pieces = {line.id: _piece(line, speakers=speakers, room=longest) for line in lines}
    start = budget.newest(lines, room=room, cost=lambda line: pieces[line.id].tokens)
    while True:
        talk = prompt.dated(lines[start:], threads=threads, as_piece=lambda line: pieces[line.id])
        section = Section("Talk", talk)
        if prompt.cost(section) <= room or not talk:
            return section
        # The headers of many quiet days take room as well.
        start += max(1, (len(lines) - start) // 10)


def _piece(line: Line, *, speakers: Speakers, room: int) -> prompt.Piece:
    piece = prompt.piece_of(line, speakers=speakers)
    return (
        piece if piece.tokens <= room else prompt.piece(piece.name, budget.clip(piece.text, room=room), piece.source)
    )


def _open_count() -> int:
    return SummaryOrder.objects.exclude(invocation__state__in=FINAL).count()


def _last_trouble(agent: Agent) -> str | None:
    last = SummaryOrder.objects.filter(invocation__agent=agent).order_by("-pk")
    row = last.filter(invocation__ended_at__gt=Now() - REST).exclude(invocation__state=State.DONE).first()
    is_newest = row is not None and row.pk == last.values_list("pk", flat=True).first()
    return f"{row.invocation.state} {row.invocation.reason}" if row is not None and is_newest else None


def _said(invocation_id: int) -> str:
    """All that the run said, its paragraphs apart."""
    texts: list[str] = []
    message = ""
    for (payload,) in sql.rows(_TEXT, [invocation_id]):
        event = events.decode(payload)
        if isinstance(event, events.Text):
            texts.append("\n" if texts and event.message != message else "")
            texts.append(event.delta)
            message = event.message
    return "".join(texts)[:MAX_TEXT_CHARS]


def _fingerprint(lines: Sequence[Line]) -> str:
    return hashlib.sha256(repr([(line.id, line.revision) for line in lines]).encode()).hexdigest()
