"""What the poster does next for one reply: decided from what was said, what stands in the chat, and the time."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway import redaction
from gateway.models import FINAL, State
from runtime.reply import Ending, Names, Reply, preparing

CARD_AFTER_S: Final = 1.5
"""A run that says nothing for this long shows that it is at work; most answers come sooner and need no card."""

PREPARING_AFTER_S: Final = 3.0
"""The same before the bridge has it: that rarely takes so long."""

EYES: Final = "eyes"

FINAL_PACE_S: Final = 1.0
CHECKS: Final = 3
"""How often a text that the chat shows otherwise is set right; then the chat changes it on purpose and wins."""

LIVE_PACES: Final = ((30.0, 1.0), (120.0, 2.0))
SLOW_PACE_S: Final = 4.0
"""Each edit costs the chat server a write, a parse and a message to every member: a long run is shown less often."""

CARD_TICK_S: Final = 5.0


@dataclass(slots=True)
class Part:
    """One chat message of a reply. `digest` is of the text the chat holds as far as we know."""

    number: int
    chat_id: str
    digest: str = ""
    is_posted: bool = False
    is_confirmed: bool = False
    is_gone: bool = False
    is_recorded: bool = False
    is_stuck: bool = False
    check_count: int = 0
    revision: int = 0
    text: str = ""
    ts: int = 0
    updated: int = 0

    def holds(self, text: str) -> bool:
        return self.is_posted and self.digest == digest(text)


@dataclass(slots=True)
class LiveReply:
    """One unsettled invocation, as the poster knows it. Times are of the poster's clock."""

    invocation_id: int
    room_id: int
    rid: str
    thread: str
    is_quiet: bool
    wants_eyes: bool
    question: str
    chat_id_of: Callable[[int], str]
    started_at: float
    names: Names
    reply: Reply
    is_sent_anew: bool = False
    state: str = State.RUNNING
    ending: Ending | None = None
    parts: list[Part] = field(default_factory=list)
    last_seq: int = 0
    has_said: bool = False
    are_files_posted: bool = False
    last_at: float = float("-inf")
    _final: list[str] | None = None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL and self.ending is not None

    @property
    def has_files(self) -> bool:
        return (self.reply.file_count > 0 or self.reply.is_cut) and not self.are_files_posted

    def part(self, number: int) -> Part:
        while len(self.parts) <= number:
            self.parts.append(Part(number=len(self.parts), chat_id=self.chat_id_of(len(self.parts))))
        return self.parts[number]

    def runs_now(self, *, started_at: float) -> None:
        """The bridge has taken it. A card that stands already goes on counting from its beginning."""
        if not any(part.is_posted for part in self.parts):
            self.started_at = started_at

    def read_anew(self) -> None:
        """All output comes a second time: what was made of the first is void, the messages in the chat stay."""
        self.reply = Reply(names=self.names, secrets=redaction.secrets())
        self.last_seq = 0

    def wanted(self) -> list[str]:
        """The final texts; of a row that has ended only."""
        if self._final is None:
            if self.ending is None:
                raise ValueError("the invocation has not ended")
            self._final = self.reply.final(ending=self.ending, whole_name=f"answer-{self.invocation_id}.md")
        return self._final


@dataclass(frozen=True, slots=True)
class Send:
    part: Part
    text: str
    is_said: bool


@dataclass(frozen=True, slots=True)
class Edit:
    part: Part
    text: str
    is_said: bool


@dataclass(frozen=True, slots=True)
class React:
    """Put a sign on the question."""

    emoji: str


@dataclass(frozen=True, slots=True)
class Check:
    """Read the message back and compare."""

    part: Part
    text: str


@dataclass(frozen=True, slots=True)
class Remove:
    part: Part


@dataclass(frozen=True, slots=True)
class PostFiles:
    """The text stands: bring the files that belong to it."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Everything stands in the chat: record it as said."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do before `until`, or before something new is known."""

    until: float | None = None


Act = Send | Edit | React | Check | Remove | PostFiles | Settle | Rest


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def next_act(row: LiveReply, *, now: float, last_at: float) -> Act:
    """`last_at` is when this account last wrote into the room."""
    if row.is_final:
        return _final_act(row, now=now, ready_at=last_at + FINAL_PACE_S)
    if row.wants_eyes and row.state == State.RUNNING:
        return React(EYES)
    if row.is_quiet:
        return Rest()
    if not row.reply.has_text:
        return _card_act(row, now=now, last_at=last_at)
    return _live_act(row, now=now, ready_at=last_at + _pace(now - row.started_at))


def _final_act(row: LiveReply, *, now: float, ready_at: float) -> Act:
    wanted = row.wanted()
    for number, text in enumerate(wanted):
        part = row.part(number)
        if part.is_gone:
            continue
        if not part.is_posted:
            return Send(part, text, is_said=True)
        if not part.holds(text):
            return Edit(part, text, is_said=True) if now >= ready_at else Rest(ready_at)
        if not part.is_confirmed:
            return Check(part, text)
    for part in row.parts[len(wanted) :]:
        if part.is_posted and not part.is_gone:
            return Remove(part)
    return PostFiles() if row.has_files else Settle()


def _card_act(row: LiveReply, *, now: float, last_at: float) -> Act:
    part = row.part(0)
    first_after = CARD_AFTER_S if row.state == State.RUNNING else PREPARING_AFTER_S
    due_at = row.started_at + first_after if not part.is_posted else last_at + FINAL_PACE_S
    if part.is_gone:
        return Rest()
    if now < due_at:
        return Rest(due_at)
    elapsed_s = now - row.started_at
    is_running = row.state == State.RUNNING
    card = row.reply.live(elapsed_s=elapsed_s)[0] if is_running else preparing(elapsed_s=elapsed_s)
    if not part.is_posted:
        return Send(part, card, is_said=False)
    if not part.holds(card) and not part.is_stuck:
        return Edit(part, card, is_said=False)
    return Rest(now + CARD_TICK_S)


def _live_act(row: LiveReply, *, now: float, ready_at: float) -> Act:
    if row.has_said and now < ready_at:
        return Rest(ready_at)
    for number, text in enumerate(row.reply.live(elapsed_s=now - row.started_at)):
        part = row.part(number)
        if part.is_gone or part.is_stuck or part.holds(text):
            continue
        if part.is_posted:
            return Edit(part, text, is_said=True)
        return Send(part, text, is_said=True)
    return Rest(now + CARD_TICK_S)


def _pace(elapsed_s: float) -> float:
    return next((pace for until, pace in LIVE_PACES if elapsed_s < until), SLOW_PACE_S)
