"""What `codex exec --json` says in its one turn, as events: whole messages, tools, totals of the thread."""

from collections import Counter
from typing import Final

from nexus_bridge.adapters import codex_tools
from nexus_bridge.adapters.codex_output import failure
from nexus_bridge.adapters.failures import ended_in_turn
from nexus_bridge.adapters.lines import Frame, JsonLines, count_of, object_of, text_of
from nexus_bridge.events import AnyEvent, Done, Notice, Session, Text, Thinking, ToolResult, Usage

_FORGOTTEN: Final = ("no rollout found", "session not found", "thread not found", "No saved session")


class CodexExec:
    """`begin`, `feed`; ends with its turn's event, or with the process."""

    def __init__(self, *, is_resumed: bool) -> None:
        self._lines = JsonLines()
        self._is_resumed = is_resumed
        self._is_open = False
        self._is_interrupting = False
        self._open_tools: set[str] = set()
        self._has_begun = False
        self.unknown: Counter[str] = Counter()

    @property
    def noise(self) -> int:
        """Lines that were no JSON object, or too long."""
        return self._lines.unread

    def begin(self) -> None:
        self._is_open = True

    def interrupting(self) -> None:
        self._is_interrupting = True

    def feed(self, data: bytes) -> list[AnyEvent]:
        return [event for frame in self._lines.feed(data) for event in self._read(frame)]

    def exited(self, *, code: int, stderr_tail: str) -> list[AnyEvent]:
        said = [event for frame in self._lines.finish() for event in self._read(frame)]
        if not self._is_open:
            return said
        is_asked, lower = self._is_interrupting, stderr_tail.lower()
        is_new = self._is_resumed and not self._has_begun and not is_asked
        if is_new and any(words.lower() in lower for words in _FORGOTTEN):
            return [*said, *self._end(Done(status="error", error_kind="session", message="Codex forgot the session."))]
        words = stderr_tail.strip() or self._lines.last_noise
        return [*said, *self._end(ended_in_turn("Codex", code=code, words=words, is_asked=is_asked))]

    def _read(self, frame: Frame) -> list[AnyEvent]:
        match text_of(frame, "type"):
            case "thread.started":
                return [Session(id=text_of(frame, "thread_id"))]
            case "turn.started":
                self._has_begun = True
                return []
            case "item.started":
                return self._started(object_of(frame, "item"))
            case "item.completed":
                return self._completed(object_of(frame, "item"))
            case "turn.completed":
                return [*self._usage(object_of(frame, "usage")), *self._end(Done(status="ok"))]
            case "turn.failed":
                return self._end(failure(object_of(frame, "error")))
            case "error":  # a retry; only turn.failed is final
                return [Notice(level="warning", text=text_of(frame, "message")[:500])]
            case "item.updated":
                return []
            case other:
                self.unknown[other[:40]] += 1
                return []

    def _started(self, item: Frame) -> list[AnyEvent]:
        if text_of(item, "type") not in codex_tools.NAMES:
            return []
        self._open_tools.add(text_of(item, "id"))
        return [codex_tools.call_of(item)]

    def _completed(self, item: Frame) -> list[AnyEvent]:
        kind, identity = text_of(item, "type"), text_of(item, "id")
        if kind in codex_tools.NAMES:
            said = [] if identity in self._open_tools else self._started(item)
            self._open_tools.discard(identity)
            return [*said, codex_tools.result_of(item)]
        match kind:
            case "agent_message":
                return [Text(delta=text_of(item, "text"), message=identity)]
            case "reasoning":
                return [Thinking(delta=text_of(item, "text"))]
            case "error":  # a warning: the turn goes on
                return [Notice(level="warning", text=text_of(item, "message")[:500])]
            case "todo_list":
                return []
            case _:
                self.unknown[f"item {kind[:40]}"] += 1
                return []

    def _usage(self, usage: Frame) -> list[AnyEvent]:
        """Totals of the whole thread: of a resumed one nobody here knows what was before."""
        if self._is_resumed:
            return []
        return [
            Usage(
                input_tokens=count_of(usage, "input_tokens"),
                output_tokens=count_of(usage, "output_tokens"),
                cached_tokens=count_of(usage, "cached_input_tokens"),
            )
        ]

    def _end(self, done: Done) -> list[AnyEvent]:
        if not self._is_open:
            return []
        self._is_open = False
        left: list[AnyEvent] = [ToolResult(id=identity, ok=False) for identity in sorted(self._open_tools)]
        self._open_tools.clear()
        return [*left, done]
