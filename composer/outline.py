"""What goes into a prompt and what stays out? Sections, their shares of the budget, compaction above the line.

Pure but for the summary that compaction stores.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from composer import budget, compaction, prompt
from composer.asked import Asked
from composer.budget import Budget
from composer.compaction import Compacted, Pinned
from composer.memory.lines import Line, as_said
from composer.memory.profiles import Known
from composer.memory.recall import Recalled
from composer.prompt import Piece, Section, Speakers, Threads
from composer.tools import Tool

# Shares of the budget. What a section does not use is free for the talk.
QUESTION_SHARE = 0.35
PERSONA_SHARE = 0.12
TOOLS_SHARE = 0.06
FACTS_SHARE = 0.10
LANDMARKS_SHARE = 0.15
SUMMARIES_SHARE = 0.08
SUMMARIES_FROM = 2_000
"""Of a budget up to here they get only what is left over: in a small prompt the messages themselves are worth more."""

SUMMARIES_TITLE_TOKENS = 12

RECENT_SHARE = 0.1
"""Of the last messages, in a room that has more to tell than fits. What was recalled takes the rest, and gives back."""

TALK_AFTER_COMPACTION = 0.35
"""Well below the line, so that the next compaction is many messages away."""

LINE_SHARE = 0.2
"""No single line of the talk may take more."""

TITLE_TOKENS = 4

MIN_TOTAL = 500
"""Below this a prompt could not even say who asks what; a smaller budget is read as this one."""

LeftOut = list[dict[str, object]]
Place = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Gathered:
    asked: Asked
    window: Sequence[Line]
    profiles: Sequence[Known]
    project: Sequence[Known]
    landmarks: Sequence[Pinned]
    summaries: Sequence[Compacted]
    tools: Sequence[Tool]
    recalled: Recalled


def fit(gathered: Gathered, *, total: int) -> tuple[list[Section], LeftOut]:
    """The sections in the order of the prompt, never more than `total` tokens, and what was left out and why."""
    return _Outline(gathered, Budget(max(total, MIN_TOTAL))).fit()


class _Outline:
    """One prompt in the making: fixed parts first, then the talk in what they leave."""

    def __init__(self, gathered: Gathered, allowance: Budget) -> None:
        self._it = gathered
        self._total = allowance.total
        self._line = allowance.line
        self._head = self._header()
        # Shares are of what the header leaves, so that they hold in small budgets too.
        self._budget = Budget(allowance.total - prompt.cost(self._head))
        self._speakers = Speakers()
        self._threads = Threads(frozenset(line.thread for line in (*gathered.window, *gathered.recalled.lines)))
        self._left_out: LeftOut = []
        self._pieces: dict[int, Piece] = {}
        self._shown: set[int] = {gathered.asked.question.id}

    def fit(self) -> tuple[list[Section], LeftOut]:
        head = [self._head, self._persona(), *self._facts(), self._landmarks()]
        tools, question = self._tools(), self._question()
        fixed = sum(prompt.cost(section) for section in (*head, tools, question))
        talk = [line for line in self._it.window if line.id not in self._shown]
        for summary in self._it.summaries:
            talk = summary.uncovered(talk)
        talk, fresh = self._compacted(talk, room=self._line - fixed)
        summaries = [*fresh, *self._it.summaries]
        last = self._last(talk, room=self._line - fixed)
        self._shown |= {line.id for line in last}
        fixed += prompt.cost(self._recent_section(last))
        recalled = self._recalled(room=self._total - fixed - self._kept_for(summaries))
        told = self._summaries(summaries, room=self._total - fixed - prompt.cost(recalled))
        rest = self._total - fixed - prompt.cost(recalled) - prompt.cost(told)
        return [*head, told, recalled, tools, self._recent(talk, last=last, room=rest), question], self._left_out

    # Fixed parts

    def _header(self) -> Section:
        return Section("", prompt.header(self._it.asked))

    def _persona(self) -> Section:
        text = prompt.prose(self._it.asked.persona)
        return Section("You", (), budget.clip(text, room=self._budget.share(PERSONA_SHARE)) if text else "")

    def _facts(self) -> list[Section]:
        room = self._budget.share(FACTS_SHARE)
        sections = []
        for title, known in (("People", self._it.profiles), ("Known", self._it.project)):
            kept, left = budget.take([_fact(fact) for fact in known], room=room, cost=_tokens)
            self._note("facts", len(left), "share of the budget")
            section = Section(title, kept)
            room -= prompt.cost(section)
            sections.append(section)
        return sections

    def _landmarks(self) -> Section:
        pieces = {
            pinned.line.id: self._piece(pinned.line, kind="landmark")
            for pinned in self._it.landmarks
            if pinned.line.id not in self._shown
        }
        kept, left = budget.take(
            list(pieces), room=self._budget.share(LANDMARKS_SHARE), cost=lambda pk: pieces[pk].tokens
        )
        self._note("landmarks", len(left), "share of the budget, newest first")
        self._shown |= set(kept)
        return Section("Pinned", [pieces[pk] for pk in reversed(kept)])

    def _tools(self) -> Section:
        pieces = [_tool(tool) for tool in self._it.tools]
        kept, left = budget.take(pieces, room=self._budget.share(TOOLS_SHARE), cost=_tokens)
        self._note("tools", len(left), "share of the budget")
        return Section("Tools of this room", kept)

    def _question(self) -> Section:
        piece = prompt.piece_of(self._it.asked.question, speakers=self._speakers)
        whole = prompt.plain(self._it.asked.text)
        text = budget.clip(whole, room=self._budget.share(QUESTION_SHARE))
        if text != whole:
            self._note("question", 1, "longer than its share of the budget: cut in the middle")
        return Section("Question", [prompt.piece(piece.name, text, piece.source)])

    # Talk, recalled and summarised

    def _last(self, talk: Sequence[Line], *, room: int) -> list[Line]:
        """The end of the talk that stays whatever else is found: all of it, if nothing older bears on the question."""
        here = {line.id for line in talk} | self._shown
        places: set[Place] = set()
        if any(line.id not in here for line in self._it.recalled.lines):
            room = min(room, self._budget.share(RECENT_SHARE))
        elif not self._newest(talk, room=room - TITLE_TOKENS, places=places)[1]:
            return list(talk)
        else:
            room = min(room, self._budget.share(RECENT_SHARE))
        places.clear()
        # Who asks in a thread speaks of what was said there.
        thread = self._it.asked.thread
        own = [line for line in talk if thread and thread in (line.thread, line.rc_id)]
        first, _ = self._newest(own, room=room - TITLE_TOKENS, places=places)
        known = {line.id for line in first}
        room -= sum(self._line_cost(line) for line in first) + TITLE_TOKENS
        rest, _ = self._newest([line for line in talk if line.id not in known], room=room, places=places)
        known |= {line.id for line in rest}
        return [line for line in talk if line.id in known]

    def _recalled(self, *, room: int) -> Section:
        it = self._it.recalled
        if it.trouble:
            self._note("recall", 1, it.trouble)
        trouble = [prompt.memory_trouble()] if it.trouble and not it.is_late else []
        room -= TITLE_TOKENS + sum(one.tokens for one in trouble)
        if room < 0:
            return Section("Recalled", ())
        kept: list[Line] = []
        places: set[Place] = set()
        candidates = [line for line in it.lines if line.id not in self._shown]
        for line in candidates:
            if room < prompt.LINE_OVERHEAD:
                break
            price = self._line_cost(line) + self._header_cost(line, places)
            if price <= room:
                room -= price
                places.add(self._threads.place(line))
                kept.append(line)
        self._note("recalled", len(candidates) - len(kept), "budget, best first")
        self._shown |= {line.id for line in kept}
        kept.sort(key=as_said)
        return Section("Recalled", [*trouble, *prompt.dated(kept, threads=self._threads, as_piece=self._piece)])

    def _newest(self, lines: Sequence[Line], *, room: int, places: set[Place]) -> tuple[list[Line], int]:
        """The end of these lines that fits with its headers, and how many were too old for it."""
        start = len(lines)
        while start > 0:
            line = lines[start - 1]
            price = self._line_cost(line) + self._header_cost(line, places)
            if price > room:
                break
            room -= price
            places.add(self._threads.place(line))
            start -= 1
        return list(lines[start:]), start

    def _header_cost(self, line: Line, places: Container[Place]) -> int:
        place = self._threads.place(line)
        if place in places:
            return 0
        return prompt.HEADER_TOKENS if place[1] else prompt.DAY_TOKENS

    def _compacted(self, talk: list[Line], *, room: int) -> tuple[list[Line], list[Compacted]]:
        """Above the line the older part becomes a summary; if that fails, or it is short, it is left out."""
        cost = self._line_cost
        if sum(cost(line) for line in talk) <= room:
            return talk, []
        kept_room = max(min(room, self._budget.share(TALK_AFTER_COMPACTION)), 0)
        start = budget.newest(talk, room=kept_room, cost=cost)
        older, talk = talk[:start], talk[start:]
        summary = compaction.summarize(
            room_id=self._it.asked.room_id, lines=older, room=self._budget.share(SUMMARIES_SHARE) // 2
        )
        if summary is None:
            self._note("talk", len(older), "above the budget's line, and no summary could be made: oldest first")
        return talk, [summary] if summary is not None else []

    def _kept_for(self, summaries: Sequence[Compacted]) -> int:
        """What summaries get for sure; in a small prompt only what is left over."""
        if not summaries:
            return 0
        return int(max(0, self._budget.total - SUMMARIES_FROM) * SUMMARIES_SHARE)

    def _summaries(self, summaries: Sequence[Compacted], *, room: int) -> Section:
        told = [_summary(summary) for summary in summaries]
        room = min(room, self._budget.share(SUMMARIES_SHARE)) - SUMMARIES_TITLE_TOKENS
        kept, left = budget.take(told, room=room, cost=lambda pieces: sum(map(_tokens, pieces)))
        self._note("summaries", len(left), "share of the budget, newest first")
        return Section("Earlier, in short", [piece for pieces in reversed(kept) for piece in pieces])

    def _recent(self, talk: Sequence[Line], *, last: Sequence[Line], room: int) -> Section:
        """The end of the talk, and what else of it fits into the room that nobody used, newest first."""
        known = {line.id for line in last}
        more = [line for line in talk if line.id not in known and line.id not in self._shown]
        places = {self._threads.place(line) for line in last}
        added, left_count = self._newest(more, room=room - TITLE_TOKENS, places=places)
        self._note("talk", left_count, "budget: oldest first")
        known |= {line.id for line in added}
        return self._recent_section([line for line in talk if line.id in known])

    def _recent_section(self, lines: Sequence[Line]) -> Section:
        return Section("Recent", prompt.dated(lines, threads=self._threads, as_piece=self._piece))

    # Small ones

    def _piece(self, line: Line, kind: str = "message") -> Piece:
        piece = self._pieces.get(line.id)
        if piece is None:
            piece = prompt.piece_of(line, speakers=self._speakers, kind=kind)
            room = self._budget.share(LINE_SHARE)
            if piece.tokens > room:
                piece = prompt.piece(piece.name, budget.clip(piece.text, room=room), piece.source)
            self._pieces[line.id] = piece
        return piece

    def _line_cost(self, line: Line) -> int:
        return self._piece(line).tokens

    def _note(self, what: str, count: int, why: str) -> None:
        if count:
            self._left_out.append({"what": what, "count": count, "why": why})


def _tokens(piece: Piece) -> int:
    return piece.tokens


def _fact(fact: Known) -> Piece:
    source = {"kind": "fact", "id": fact.id, "scope": fact.scope, "message": fact.source_message_id}
    return prompt.piece(prompt.label(fact.about), prompt.plain(fact.value), source)


def _tool(tool: Tool) -> Piece:
    note = " (asks first)" if tool.needs_approval else ""
    name = prompt.label(f"{tool.server}.{tool.name}")
    return prompt.piece(name, f"{prompt.plain(tool.description)[:300]}{note}".strip(), {"kind": "tool", "id": name})


def _summary(summary: Compacted) -> list[Piece]:
    """Line by line: it names its speakers at the start of its lines, and what somebody typed must not begin one."""
    lines = [line for raw in summary.text.split("\n") if (line := prompt.plain(raw))]
    source = {"kind": "summary", "id": summary.id, "messages": summary.message_count}
    return [prompt.piece("summary", line, source if number == 0 else None) for number, line in enumerate(lines)]
