"""What a room sees of an invocation: the events so far, folded into the texts of its chat messages."""

import re
from collections import deque
from dataclasses import dataclass
from typing import Final

import msgspec

from nexus_bridge import events
from nexus_bridge.masking import Masking, Secrets
from runtime.reply.card import SHOWN_TOOLS, Spent, Work, footer, live_card, one_line, tool_line, tool_result
from runtime.reply.cleaning import Cleaner
from runtime.reply.markup import Markup, Names
from runtime.reply.splitting import PART_LIMIT, Splitter, closed, fence_after, units

MAX_PARTS: Final = 6
"""The last of them shows the end of what did not fit, so that a room is never flooded."""

TAIL_UNITS: Final = 3_000
RECENT_LIMIT: Final = 16_000
"""Characters of the newest text kept for that tail; older ones are in full parts or left out."""

NOTHING_SAID: Final = "I finished without saying anything."
ONLY_FILES: Final = "I have no more to say than what these files hold."
WHOLE_LIMIT: Final = 5_000_000
"""Characters kept for the file with the whole answer; bridges send no more than that of one run."""
MAX_HEADINGS: Final = 12
MARKS: Final = {"interrupted": "cut off here", "cancelled": "stopped here", "failed": "failed here"}


_HEADING: Final = re.compile(r"^#{1,3} +(\S.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ending:
    """How the row ended: its final state and what the run took."""

    state: str
    spent: Spent


class Reply:
    """Feed the events of one invocation in their order; ask for the live or the final texts at any time.

    Texts of full parts never change when more events come, except the last of MAX_PARTS.
    """

    def __init__(self, *, names: Names | None = None, secrets: Secrets | None = None, limit: int = PART_LIMIT) -> None:
        self.tool_count = 0
        self.file_count = 0
        self._whole: list[str] = []
        self._whole_chars = 0
        self._markup = Markup(names=names or Names())
        self._secrets = secrets or Secrets()
        self._cleaner = Masking(Cleaner(), secrets=self._secrets)
        self._splitter = Splitter(limit=limit)
        self._limit = limit
        self._message = ""
        self._is_paragraph_due = False
        self._has_text = False
        self._tools: dict[str, events.ToolCall] = {}
        self._finished: deque[str] = deque(maxlen=SHOWN_TOOLS)
        self._finished_count = 0
        self._asks = ""
        self._note = ""
        self._recent = _Recent()

    @property
    def has_text(self) -> bool:
        """Whether the agent has said anything that can be seen."""
        return self._has_text

    @property
    def is_cut(self) -> bool:
        """The messages don't show all of it."""
        return len(self._splitter.parts) >= MAX_PARTS

    @property
    def whole(self) -> str:
        """Everything that was said, as the agent wrote it."""
        return "".join(self._whole)

    @property
    def mentions(self) -> tuple[str, ...]:
        """Names in the text so far that hand over, in their order; whole once `final` was asked for."""
        return self._markup.mentions

    def feed(self, event: events.AnyEvent) -> None:
        match event:
            case events.Text():
                self._on_text(event)
            case events.ToolCall():
                # Nothing said later goes on what was said before: what was held back is judged now.
                self._say(self._cleaner.finish())
                event = msgspec.structs.replace(event, title=self._secrets.masked(event.title))
                self.tool_count += event.id not in self._tools
                self._tools[event.id] = event
                self._is_paragraph_due = True
            case events.ToolResult():
                self._on_result(event)
            case events.File():
                self.file_count += 1
            case events.Permission():
                self._asks = event.name or self._secrets.masked(event.title) or "a tool"
            case events.Notice():
                self._asks = ""
                if event.level != "info":
                    self._note = self._secrets.masked(event.text)
            case events.Done():
                self._on_done(event)

    def live(self, *, elapsed_s: float) -> list[str]:
        """The texts while it runs; before the first word one text, the card."""
        work = Work(
            call=next(reversed(self._tools.values()), None),
            finished=tuple(self._finished),
            finished_count=self._finished_count,
            tool_count=self.tool_count,
            note=self._note,
            asks=self._asks,
        )
        if not self._has_text:
            return [live_card(work=work, elapsed_s=elapsed_s)]
        parts = self._parts(tail=self._markup.peek(more=self._cleaner.peek()))
        if line := tool_line(work=work, elapsed_s=elapsed_s):
            parts[-1] += f"\n\n_{line}_"
        return parts

    def final(self, *, ending: Ending, whole_name: str = "") -> list[str]:
        """The texts that stay. None for a row that ended badly before it said a word: its sentence is a notice.

        `whole_name`: the file that holds all of an answer that is cut.
        """
        self._say(self._cleaner.finish())
        self._take(self._markup.finish())
        mark = MARKS.get(ending.state)
        if not self._has_text and ending.state != "done":
            return []
        nothing = ONLY_FILES if self.file_count else NOTHING_SAID
        parts = self._parts(tail="", whole_name=whole_name) if self._has_text else [nothing]
        if mark is not None:
            parts[-1] += f"\n\n✂ _{mark}_"
        closing = footer(spent=ending.spent, tool_count=self.tool_count)
        if closing:
            parts[-1] += f"\n\n{closing}"
        return parts

    def _on_text(self, event: events.Text) -> None:
        is_new = self._is_paragraph_due or bool(event.message and event.message != self._message)
        if is_new:
            self._say(self._cleaner.finish())
        text = self._cleaner.feed(event.delta)
        if is_new and self._has_text:
            self._take(self._markup.paragraph())
            text = text.lstrip("\n")
            self._keep("\n\n")
        self._is_paragraph_due = False
        self._message = event.message or self._message
        self._note = self._asks = ""
        self._say(text)

    def _say(self, text: str) -> None:
        self._keep(text)
        self._take(self._markup.feed(text))
        self._has_text = self._has_text or bool(text.strip())

    def _on_result(self, event: events.ToolResult) -> None:
        call = self._tools.pop(event.id, None)
        self._asks = ""
        self._is_paragraph_due = True
        if call is not None:
            result = "denied" if event.denied else "ok" if event.ok else "failed"
            self._finished_count += 1
            self._finished.append(tool_result(call=call, result=result))

    def _on_done(self, event: events.Done) -> None:
        self._tools.clear()
        self._asks = ""
        if not self._has_text and event.text.strip():
            self._on_text(events.Text(delta=event.text))

    def _keep(self, text: str) -> None:
        if self._whole_chars < WHOLE_LIMIT:
            self._whole_chars += len(text)
            self._whole.append(text)

    def _take(self, text: str) -> None:
        if text:
            self._splitter.feed(text)
            self._recent.feed(text)

    def _parts(self, *, tail: str, whole_name: str = "") -> list[str]:
        full = self._splitter.parts
        if len(full) >= MAX_PARTS:
            last = self._recent.shown(tail=tail, left_out=self._left_out())
            if whole_name:
                last = f"{self._summary(whole_name)}\n\n{last}"
            return [*full[: MAX_PARTS - 1], last]
        last = self._splitter.last(tail=tail)
        return [*full, last] if last else list(full)

    def _summary(self, whole_name: str) -> str:
        """Where the whole answer is, how long it is, and which headings it has."""
        whole = self.whole
        lines = f"{whole.count(chr(10)) + 1:,} lines, {len(whole):,} characters"
        titles = list(dict.fromkeys(one_line(title) for title in _HEADING.findall(whole)))
        summary = f"📎 *The whole answer is in `{whole_name}`* ({lines})."
        if titles:
            more = f" … and {len(titles) - MAX_HEADINGS} more" if len(titles) > MAX_HEADINGS else ""
            summary += f" It is about: {' · '.join(titles[:MAX_HEADINGS])}{more}."
        return summary

    def _left_out(self) -> int:
        return self._recent.total - sum(units(part) for part in self._splitter.parts[: MAX_PARTS - 1]) - TAIL_UNITS


class _Recent:
    """The newest text, with the fence that is open where it begins."""

    def __init__(self) -> None:
        self.total = 0
        self._text = ""
        self._fence: str | None = None

    def feed(self, text: str) -> None:
        self.total += units(text)
        self._text += text
        if len(self._text) > RECENT_LIMIT:
            self._drop(len(self._text) - RECENT_LIMIT // 2)

    def shown(self, *, tail: str, left_out: int) -> str:
        text, fence = self._text, self._fence
        while units(text) > TAIL_UNITS:
            at = text.find("\n", len(text) - TAIL_UNITS)
            cut = at + 1 if 0 <= at < len(text) - TAIL_UNITS // 2 else len(text) - TAIL_UNITS // 2
            fence = fence_after(text[:cut].removesuffix("\n"), fence=fence)
            text = text[cut:]
        note = f"_… about {max(left_out, 0):,} characters left out …_\n\n"
        reopened = "" if fence is None else f"{fence}\n"
        return closed(note + reopened + text + tail).rstrip()

    def _drop(self, count: int) -> None:
        at = self._text.find("\n", count)
        cut = count if at < 0 else at + 1
        self._fence = fence_after(self._text[:cut].removesuffix("\n"), fence=self._fence)
        self._text = self._text[cut:]
