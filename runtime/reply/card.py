"""The card that shows what an agent is doing, and the line that closes its answer: tools, time, model tokens, cost."""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from nexus_bridge.events import ToolCall
from runtime.reply.cleaning import clean
from runtime.reply.markup import harmless
from runtime.reply.splitting import PART_LIMIT, Splitter, closed, fence_after, units

TITLE_LIMIT: Final = 80
MAX_SENTENCE_PARTS: Final = 20
"""More than the longest question of a CLI takes; of a longer text the middle is left out."""

HEAD_UNITS: Final = 1_700
TAIL_CHARS: Final = 1_500
LEFT_OUT: Final = "_… the middle is left out here, it is too long for one message …_"
WORKING: Final = "⏳ working…"
PREPARING: Final = "⏳ getting ready…"
SHOWN_TOOLS: Final = 4
"""Finished tool calls that the card lists; earlier ones are counted only."""

RESULTS: Final = {"ok": "✔", "failed": "✖", "denied": "⛔"}


@dataclass(frozen=True, slots=True)
class Spent:
    """What a finished run took; zero or None: not known."""

    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = None


def one_line(text: str, *, limit: int = TITLE_LIMIT) -> str:
    """Words of others inside a line of ours: no markup, no mention, no line break, not long."""
    line = " ".join(clean(text[: limit * 8]).split())
    line = line.translate({ord(sign): None for sign in "`*~|"})
    return harmless(line if len(line) <= limit else line[: limit - 1].rstrip() + "…")


def sentences(text: str, *, called: Collection[str] = ()) -> list[str]:
    """A text of ours as it is posted, all of it, in as many messages as it takes. It mentions nobody but who is `called`."""
    safe = harmless(clean(text), called=called).strip()
    if units(safe) <= PART_LIMIT:
        return [safe]
    splitter = Splitter()
    splitter.feed(safe)
    last = splitter.last()
    parts = [*splitter.parts, last] if last else splitter.parts
    return parts if len(parts) <= MAX_SENTENCE_PARTS else [sentence(text)]


def sentence(text: str) -> str:
    """A text of ours as it is posted: the words of others in it mention nobody, and it fits into one message.

    Of one that is too long the head and the end stay: the newest question of a card stands at its end.
    """
    safe = harmless(clean(text)).strip()
    if units(safe) <= PART_LIMIT:
        return safe
    head = Splitter(limit=HEAD_UNITS)
    head.feed(safe)
    at = safe.find("\n", len(safe) - TAIL_CHARS)
    cut = at + 1 if at >= 0 else len(safe) - TAIL_CHARS
    fence = fence_after(safe[:cut].removesuffix("\n"), fence=None)
    tail = closed(("" if fence is None else f"{fence}\n") + safe[cut:])
    return f"{head.parts[0]}\n\n{LEFT_OUT}\n\n{tail}"


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is at. `finished`: the newest lines of `tool_result`; `asks`: the tool that waits for a yes."""

    call: ToolCall | None = None
    finished: tuple[str, ...] = ()
    finished_count: int = 0
    tool_count: int = 0
    note: str = ""
    asks: str = ""


def live_card(*, work: Work, elapsed_s: float) -> str:
    """State and time in the first line, then the tools folded into a line each, what is at work or waited for last."""
    counted = _counted(tool_count=work.tool_count, elapsed_s=elapsed_s)
    head = f"⏳ {one_line(work.note)}" if work.note else WORKING
    lines = [f"{head} ({counted})" if counted else head]
    if (left := work.finished_count - len(work.finished)) > 0:
        lines.append(f"… {_tools(left)} before")
    lines += work.finished
    if work.asks:
        lines.append(_waits(work.asks))
    elif work.call is not None:
        lines.append(f"🔧 {_what(work.call)} …")
    return "\n".join(lines)


def tool_line(*, work: Work, elapsed_s: float) -> str:
    """The same in one line, to stand below what was said so far; empty while no tool is at work."""
    counted = _counted(tool_count=work.tool_count, elapsed_s=elapsed_s)
    if work.asks:
        line = _waits(work.asks)
    elif work.call is not None:
        line = f"🔧 {_what(work.call)} …"
    else:
        return ""
    return f"{line} ({counted})" if counted else line


def tool_result(*, call: ToolCall, result: str) -> str:
    """`✔ Bash: make test`; `result` is a word of RESULTS."""
    return f"{RESULTS[result]} {_what(call)}"


def preparing(*, elapsed_s: float) -> str:
    """Before the CLI has it: the prompt is built, or the bridge has not answered yet."""
    coarse = _coarse(elapsed_s)
    return f"{PREPARING} ({duration(coarse)})" if coarse else PREPARING


def _waits(tool: str) -> str:
    return f"✋ waits for a yes to {one_line(tool, limit=40)}"


def _what(call: ToolCall) -> str:
    title = one_line(call.title or call.input)
    name = one_line(call.name, limit=40) or "tool"
    return f"{name}: {title}" if title and title != name else name


def footer(*, spent: Spent, tool_count: int) -> str:
    """`_12 s · 3 tools · 1,204 tokens in, 310 out · $0.0123_`; empty when nothing is known."""
    facts = []
    if spent.seconds > 0:
        facts.append(duration(spent.seconds))
    if tool_count:
        facts.append(_tools(tool_count))
    if spent.input_tokens or spent.output_tokens:
        facts.append(f"{spent.input_tokens:,} tokens in, {spent.output_tokens:,} out")
    if spent.cost_usd:
        facts.append(f"${_money(spent.cost_usd)}")
    return f"_{' · '.join(facts)}_" if facts else ""


def duration(seconds: float) -> str:
    if seconds < 10 and not float(seconds).is_integer():
        return f"{max(seconds, 0.1):.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _counted(*, tool_count: int, elapsed_s: float) -> str:
    facts = [_tools(tool_count)] if tool_count else []
    if (coarse := _coarse(elapsed_s)) > 0:
        facts.append(duration(coarse))
    return ", ".join(facts)


def _coarse(elapsed_s: float) -> int:
    """In steps, so that a clock alone does not edit the message every second."""
    step = 5 if elapsed_s < 30 else 15 if elapsed_s < 120 else 60
    rounded = int(elapsed_s // step) * step
    return rounded if rounded >= 10 else 0


def _tools(count: int) -> str:
    return "1 tool" if count == 1 else f"{count} tools"


def _money(cost: Decimal) -> str:
    return f"{cost:.2f}" if cost >= 1 else f"{cost:.4f}".rstrip("0").ljust(4, "0")
