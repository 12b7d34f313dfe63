"""What `codex app-server` says of a thread, as events. Pure; knows nothing of what is written to it."""

from collections import Counter
from typing import Final

from nexus_bridge.adapters import codex_tools
from nexus_bridge.adapters.failures import STATUS_KINDS, kind_of_words
from nexus_bridge.adapters.lines import Frame, count_of, object_of, text_of
from nexus_bridge.events import AnyEvent, Done, ErrorKind, Notice, Text, Thinking, ToolResult, Usage

_NAMED: Final[dict[str, ErrorKind]] = {
    "unauthorized": "auth",
    "usageLimitExceeded": "rate_limit",
    "rateLimitExceeded": "rate_limit",
    "sessionBudgetExceeded": "rate_limit",
    "serverOverloaded": "overloaded",
    "internalServerError": "overloaded",
    "modelNotFound": "model",
    "contextWindowExceeded": "model",
    "badRequest": "model",
    "cyberPolicy": "model",
    "sandboxError": "permission",
    "tooManyDenials": "permission",
}
_SILENT: Final = frozenset(
    {
        *("configWarning", "thread/started", "thread/status/changed", "turn/started", "serverRequest/resolved"),
        *("mcpServer/startupStatus/updated", "account/rateLimits/updated", "account/updated", "turn/diff/updated"),
        *("item/reasoning/summaryPartAdded", "item/commandExecution/outputDelta", "item/fileChange/outputDelta"),
        *(
            "turn/plan/updated",
            "thread/name/updated",
            "remoteControl/status/changed",
            "skills/changed",
            "item/updated",
        ),
        *("item/mcpToolCall/progress", "item/fileChange/patchUpdated", "item/plan/delta", "thread/compacted"),
    }
)
_NO_TOOLS: Final = frozenset({"userMessage", "hookPrompt", "plan", "contextCompaction", "functionCallOutput"})


class CodexOutput:
    """`begin` a turn, `notification` for what comes; `Done` ends it."""

    def __init__(self) -> None:
        self.unknown: Counter[str] = Counter()
        self.turn_id = ""
        self.items: dict[str, Frame] = {}
        self._open_tools: set[str] = set()
        self._streamed: set[str] = set()
        self._warned: set[str] = set()
        self._usage = Usage()
        self._total = -1
        self._is_open = False

    @property
    def is_open(self) -> bool:
        return self._is_open

    def begin(self) -> None:
        self._is_open = True
        self.turn_id = ""
        self.items.clear()
        self._open_tools.clear()
        self._streamed.clear()
        self._usage = Usage()

    def notification(self, method: str, params: Frame) -> list[AnyEvent]:
        match method:
            case "item/agentMessage/delta":
                self._streamed.add(text_of(params, "itemId"))
                return [Text(delta=text_of(params, "delta"), message=text_of(params, "itemId"))]
            case "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta":
                self._streamed.add(text_of(params, "itemId"))
                return [Thinking(delta=text_of(params, "delta"))]
            case "item/started":
                return self._started(object_of(params, "item"))
            case "item/completed":
                return self._completed(object_of(params, "item"))
            case "thread/tokenUsage/updated":
                self._count(object_of(params, "tokenUsage"))
                return []
            case "turn/completed":
                return self._turn_completed(object_of(params, "turn"))
            case "error":
                return self._error(params)
            case "warning" | "guardianWarning" | "deprecationNotice":
                return self._warning(params)
            case _:
                if method not in _SILENT:
                    self.unknown[method[:60]] += 1
                return []

    # Items

    def _started(self, item: Frame) -> list[AnyEvent]:
        kind = text_of(item, "type")
        self.items[text_of(item, "id")] = item
        if kind in codex_tools.NAMES:
            self._open_tools.add(text_of(item, "id"))
            return [codex_tools.call_of(item)]
        if kind not in _NO_TOOLS and kind not in {"agentMessage", "reasoning"}:
            self.unknown[f"item {kind[:40]}"] += 1
        return []

    def _completed(self, item: Frame) -> list[AnyEvent]:
        kind, identity = text_of(item, "type"), text_of(item, "id")
        if kind in codex_tools.NAMES:
            said = [] if identity in self._open_tools else self._started(item)
            self._open_tools.discard(identity)
            return [*said, codex_tools.result_of(item)]
        if kind == "agentMessage" and identity not in self._streamed and text_of(item, "text"):
            return [Text(delta=text_of(item, "text"), message=identity)]
        if kind == "contextCompaction":
            return [Notice(text="Codex shortened its own memory of this session.")]
        return []

    # What it reports

    def _count(self, usage: Frame) -> None:
        """The thread's total only grows with new model calls; the same report twice counts once."""
        total, last = object_of(usage, "total"), object_of(usage, "last")
        seen = count_of(total, "totalTokens")
        if seen == self._total:
            return
        self._total = seen
        self._usage = Usage(
            input_tokens=self._usage.input_tokens + count_of(last, "inputTokens"),
            output_tokens=self._usage.output_tokens + count_of(last, "outputTokens"),
            cached_tokens=self._usage.cached_tokens + count_of(last, "cachedInputTokens"),
        )

    def _error(self, params: Frame) -> list[AnyEvent]:
        """Only `turn/completed` is final; what is tried again is told."""
        if params.get("willRetry") is not True:
            return []
        return [Notice(level="warning", text=f"{text_of(params, 'error', 'message')[:300]} (trying again)")]

    def _warning(self, params: Frame) -> list[AnyEvent]:
        """Each once: some come with every turn."""
        words = text_of(params, "message") or text_of(params, "summary")
        if not words or words in self._warned or len(self._warned) >= 50:
            return []
        self._warned.add(words)
        return [Notice(text=words[:500])]

    # The end of a turn

    def _turn_completed(self, turn: Frame) -> list[AnyEvent]:
        match text_of(turn, "status"):
            case "completed":
                return self.end(Done(status="ok"))
            case "interrupted":
                return self.end(Done(status="interrupted"))
            case _:
                return self.end(failure(object_of(turn, "error")))

    def end(self, done: Done) -> list[AnyEvent]:
        """Tools that never reported end with the turn."""
        if not self._is_open:
            return []
        self._is_open = False
        left: list[AnyEvent] = [ToolResult(id=identity, ok=False) for identity in sorted(self._open_tools)]
        self._open_tools.clear()
        usage: list[AnyEvent] = [self._usage] if self._usage != Usage() else []
        return [*left, *usage, done]


def failure(error: Frame) -> Done:
    message = text_of(error, "message") or "Codex gave no reason."
    info = error.get("codexErrorInfo")
    named = _NAMED.get(info) if isinstance(info, str) else None
    statuses = [count_of(one, "httpStatusCode") for one in object_of(error, "codexErrorInfo").values()]
    by_status = next((found for status in statuses if (found := STATUS_KINDS.get(status))), None)
    kind: ErrorKind = named or by_status or kind_of_words(message) or "unknown"
    return Done(status="error", error_kind=kind, message=message)
