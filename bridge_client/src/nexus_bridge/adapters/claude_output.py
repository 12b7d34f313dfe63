"""What Claude Code's stream-json output means, as events. Pure; knows nothing of what is written to it.

The same words come several times (as deltas, as finished blocks, in the result); here they are said once. Frames of
unknown type are counted and passed over: a newer version must not break a turn.
"""

from collections import Counter
from typing import Final

from nexus_bridge.adapters.claude_tools import detail_of, kind_of_tool, paths_of, shown_input, title_of
from nexus_bridge.adapters.failures import telling_line
from nexus_bridge.adapters.lines import Frame, JsonLines, count_of, list_of, number_of, object_of, text_of
from nexus_bridge.events import (
    AnyEvent,
    Done,
    ErrorKind,
    Notice,
    Option,
    Permission,
    Session,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)

FORGOTTEN: Final = "No conversation found with session ID"
MAX_NOISE_NOTICES: Final = 3
"""Per turn; what else is no JSON is only counted."""

_ERROR_KINDS: Final[dict[str, ErrorKind]] = {
    "authentication_failed": "auth",
    "billing_error": "auth",
    "rate_limit": "rate_limit",
    "overloaded": "overloaded",
    "server_error": "overloaded",
    "model_not_found": "model",
    "invalid_request": "model",
    "max_output_tokens": "model",
}
_STATUS_KINDS: Final[dict[int, ErrorKind]] = {
    401: "auth",
    403: "auth",
    404: "model",
    429: "rate_limit",
    500: "overloaded",
    503: "overloaded",
    529: "overloaded",
}
_LIMITS: Final = ("error_max_turns", "error_max_budget_usd")
_OPTIONS: Final = [
    Option(id="allow", name="Allow once", kind="allow_once"),
    Option(id="deny", name="Deny", kind="reject_once"),
]


class ClaudeOutput:
    """`begin` a turn, `feed` what comes; a `Done` ends it. What comes between turns is not lost but means little."""

    def __init__(self, *, is_resumed: bool) -> None:
        self._lines = JsonLines()
        self._is_resumed = is_resumed
        self._is_open = False
        self._is_interrupting = False
        self._is_hopeless = False
        self._owed_results = 0
        self._added_turns = 0
        self._cost_total = 0.0
        self._streamed: set[str] = set()
        self._streaming = ""
        self._whole_texts = 0
        self._open_tools: set[str] = set()
        self._questions: dict[str, Frame] = {}
        self._denied: set[str] = set()
        self._unanswerable: list[tuple[str, str]] = []
        self._error = ""
        self._noise_told = 0
        self.unknown: Counter[str] = Counter()

    @property
    def noise(self) -> int:
        """Lines that were no JSON object, or too long."""
        return self._lines.unread

    def begin(self) -> None:
        self._is_open = True
        self._is_interrupting = self._is_hopeless = False
        self._added_turns = 0
        self._streamed.clear()
        self._streaming = ""
        self._open_tools.clear()
        self._denied.clear()
        self._error = ""
        self._noise_told = 0

    def steered(self) -> None:
        """One more user frame was sent: one more result comes before the turn is over."""
        self._added_turns += 1

    def interrupting(self) -> None:
        self._is_interrupting = True

    def feed(self, data: bytes) -> list[AnyEvent]:
        said: list[AnyEvent] = []
        for frame in self._lines.feed(data):
            said += self._noise_notices()
            said += self._read(frame)
        return said + self._noise_notices()

    def take_question(self, request: str, *, is_allowed: bool) -> Frame | None:
        """The input Claude asked about; None once it is answered or withdrawn."""
        asked = self._questions.pop(request, None)
        if asked is None:
            return None
        if not is_allowed:
            self._denied.add(text_of(asked, "tool_use_id"))
        return object_of(asked, "input")

    def take_unanswerable(self) -> list[tuple[str, str]]:
        taken, self._unanswerable = self._unanswerable, []
        return taken

    def take_hopeless(self) -> bool:
        """Once true after a turn was ended here while Claude itself still tries."""
        taken, self._is_hopeless = self._is_hopeless, False
        return taken

    def exited(self, *, code: int, stderr_tail: str) -> list[AnyEvent]:
        said = [event for frame in self._lines.finish() for event in self._read(frame)]
        if not self._is_open:
            return said
        if FORGOTTEN in stderr_tail and self._is_resumed:
            return [*said, *self._end(Done(status="error", error_kind="session", message=FORGOTTEN))]
        if self._is_interrupting:
            return [*said, *self._end(Done(status="interrupted"))]
        why = telling_line(stderr_tail.strip() or self._lines.last_noise)
        message = f"Claude Code ended in the middle of its turn (exit code {code}). {why}".rstrip()
        kind = _kind_of_text(why) or "crash"
        return [*said, *self._end(Done(status="error", error_kind=kind, message=message))]

    # One frame

    def _read(self, frame: Frame) -> list[AnyEvent]:
        kind = text_of(frame, "type")
        if self._owed_results and kind != "result":
            return self._during_old_turn(frame, kind)
        match kind:
            case "stream_event":
                return self._stream_event(frame)
            case "assistant":
                return self._assistant(frame)
            case "user":
                return self._tool_results(frame)
            case "system":
                return self._system(frame)
            case "control_request":
                return self._control_request(frame)
            case "control_cancel_request":
                self._questions.pop(text_of(frame, "request_id"), None)
                return []
            case "result":
                return self._result(frame)
            case "control_response" | "keep_alive":
                return []
            case _:
                self.unknown[kind[:40]] += 1
                return []

    def _during_old_turn(self, frame: Frame, kind: str) -> list[AnyEvent]:
        """The rest of a turn that was ended early belongs to nobody; its questions are declined."""
        if kind == "control_request":
            self._unanswerable.append((text_of(frame, "request_id"), "The turn is over."))
        return []

    def _system(self, frame: Frame) -> list[AnyEvent]:
        match text_of(frame, "subtype"):
            case "init":
                tools = [tool for tool in list_of(frame, "tools") if isinstance(tool, str)]
                return [Session(id=text_of(frame, "session_id"), model=text_of(frame, "model"), tools=tools)]
            case "api_retry":
                return self._retry(frame)
            case "compact_boundary":
                return [Notice(text="Claude shortened its own memory of this session.")]
            case "status" | "thinking_tokens" | "permission_denied" | "hook_started" | "hook_response":
                return []
            case other:
                self.unknown[f"system/{other[:40]}"] += 1
                return []

    def _retry(self, frame: Frame) -> list[AnyEvent]:
        error, status = text_of(frame, "error"), count_of(frame, "error_status")
        kind = _kind(error=error, status=status)
        if kind == "auth" and self._is_open:
            # Ten tries with a wrong key take three minutes, and the last says what the first did.
            self._is_hopeless = True
            self._owed_results += 1
            message = f"The model API does not accept this agent's credentials ({status or error})."
            return self._end(Done(status="error", error_kind="auth", message=message))
        attempt, most = count_of(frame, "attempt"), count_of(frame, "max_retries")
        what = " ".join(filter(None, [str(status or ""), error]))
        return [Notice(level="warning", text=f"The model API answered {what}; trying again ({attempt} of {most}).")]

    def _stream_event(self, frame: Frame) -> list[AnyEvent]:
        if frame.get("parent_tool_use_id"):
            return []  # a subagent thinks aloud; its result comes as a tool result
        event = object_of(frame, "event")
        match text_of(event, "type"):
            case "message_start":
                self._streaming = text_of(event, "message", "id")
            case "content_block_delta":
                return self._delta(event)
        return []

    def _delta(self, event: Frame) -> list[AnyEvent]:
        if text := text_of(event, "delta", "text"):
            self._streamed.add(self._streaming)
            return [Text(delta=text, message=f"{self._streaming}.{count_of(event, 'index')}")]
        if thought := text_of(event, "delta", "thinking"):
            self._streamed.add(self._streaming)
            return [Thinking(delta=thought)]
        return []

    def _assistant(self, frame: Frame) -> list[AnyEvent]:
        if error := text_of(frame, "error"):
            self._error = error  # the words come again in the result
            return []
        message = text_of(frame, "message", "id")
        is_ours = not frame.get("parent_tool_use_id")
        said: list[AnyEvent] = []
        for block in list_of(frame, "message", "content"):
            match text_of(block, "type"):
                case "tool_use":
                    said.append(self._tool_call(block))
                case "text" if is_ours and message not in self._streamed:
                    self._whole_texts += 1
                    said.append(Text(delta=text_of(block, "text"), message=f"{message}.{self._whole_texts}"))
                case "thinking" if is_ours and message not in self._streamed:
                    said.append(Thinking(delta=text_of(block, "thinking")))
        return said

    def _tool_call(self, block: Frame) -> ToolCall:
        name, given = text_of(block, "name"), object_of(block, "input")
        identity = text_of(block, "id")
        self._open_tools.add(identity)
        return ToolCall(
            id=identity,
            name=name,
            tool=kind_of_tool(name),
            title=title_of(name, given),
            input=shown_input(name, given),
        )

    def _tool_results(self, frame: Frame) -> list[AnyEvent]:
        refused = {
            text_of(meta, "id")
            for meta in list_of(frame, "tool_result_meta")
            if text_of(meta, "permission_decision", "decision") == "reject"
        }
        said: list[AnyEvent] = []
        for block in list_of(frame, "message", "content"):
            if text_of(block, "type") != "tool_result":
                continue
            identity = text_of(block, "tool_use_id")
            self._open_tools.discard(identity)
            is_denied = identity in refused or identity in self._denied
            is_ok = block.get("is_error") is not True and not is_denied
            said.append(ToolResult(id=identity, ok=is_ok, output=_output(block), denied=is_denied))
        return said

    def _control_request(self, frame: Frame) -> list[AnyEvent]:
        request = object_of(frame, "request")
        identity = text_of(frame, "request_id")
        name, given = text_of(request, "tool_name"), object_of(request, "input")
        if text_of(request, "subtype") != "can_use_tool" or not name:
            self._unanswerable.append((identity, "Not supported here."))
            return []
        self._questions[identity] = request
        return [
            Permission(
                id=identity,
                tool_call=text_of(request, "tool_use_id"),
                name=name,
                tool=kind_of_tool(name),
                title=title_of(name, given),
                paths=paths_of(given),
                detail=detail_of(name, given),
                options=_OPTIONS,
            )
        ]

    # The end of a turn

    def _result(self, frame: Frame) -> list[AnyEvent]:
        usage = self._usage(frame)
        if self._owed_results:
            self._owed_results -= 1
            return []
        if not self._is_open:
            return []  # a background task of an earlier turn; its room has its answer already
        done = self._verdict(frame)
        if self._added_turns and done.status == "ok":
            self._added_turns -= 1
            return [usage]
        return [usage, *self._end(done)]

    def _usage(self, frame: Frame) -> Usage:
        counts = object_of(frame, "usage")
        cached = count_of(counts, "cache_read_input_tokens")
        fresh = count_of(counts, "input_tokens") + count_of(counts, "cache_creation_input_tokens")
        written = count_of(counts, "output_tokens")
        return Usage(
            input_tokens=fresh + cached,
            output_tokens=written,
            cached_tokens=cached,
            cost_usd=self._cost(frame, fresh=count_of(counts, "input_tokens"), written=written),
        )

    def _cost(self, frame: Frame, *, fresh: int, written: int) -> float | None:
        """Of this turn. The frame has the session's total, which a resumed process may or may not have kept."""
        total = number_of(frame, "total_cost_usd")
        if total is None:
            return None
        before, self._cost_total = self._cost_total, total
        if self._is_resumed:
            self._is_resumed = False
            models = object_of(frame, "modelUsage").values()
            counted = sum(count_of(model, "inputTokens") + count_of(model, "outputTokens") for model in models)
            if counted != fresh + written:
                return None  # the total holds earlier turns we know nothing of
        return max(0.0, round(total - before, 9))

    def _verdict(self, frame: Frame) -> Done:
        subtype, words = text_of(frame, "subtype"), text_of(frame, "result")
        errors = [error for error in list_of(frame, "errors") if isinstance(error, str)]
        why = words or "; ".join(errors)
        if frame.get("is_error") is not True and subtype == "success":
            return Done(status="ok", text=words)
        if any(FORGOTTEN in error for error in errors):
            return Done(status="error", error_kind="session", message=FORGOTTEN)
        if self._is_interrupting or text_of(frame, "terminal_reason").startswith("aborted"):
            return Done(status="interrupted")
        if subtype in _LIMITS:
            return Done(status="limit", message=why)
        status = count_of(frame, "api_error_status")
        kind = _STATUS_KINDS.get(status) or _kind_of_text(why) or _kind(error=self._error, status=status) or "unknown"
        return Done(status="error", error_kind=kind, message=why or f"Claude Code failed ({subtype}).")

    def _end(self, done: Done) -> list[AnyEvent]:
        """Tools that never reported end with the turn, questions are void."""
        self._is_open = False
        self._questions.clear()
        left: list[AnyEvent] = [ToolResult(id=identity, ok=False) for identity in sorted(self._open_tools)]
        self._open_tools.clear()
        return [*left, done]

    def _noise_notices(self) -> list[AnyEvent]:
        """For each line, and at its place: however the output is cut, it becomes the same events."""
        lines = self._lines.take_noise()
        if not self._is_open:
            return []
        told = lines[: MAX_NOISE_NOTICES - self._noise_told]
        self._noise_told += len(told)
        return [Notice(text=f"Claude Code said something that is no event: {line[:200]}") for line in told]


def _kind(*, error: str, status: int) -> ErrorKind:
    return _STATUS_KINDS.get(status) or _ERROR_KINDS.get(error) or ("unknown" if error or status else "")


def _kind_of_text(text: str) -> ErrorKind:
    if "/login" in text or "API key" in text:
        return "auth"
    return "network" if "ECONN" in text or "Connection" in text else ""


def _output(block: Frame) -> str:
    content = block.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(text_of(part, "text") for part in list_of(block, "content") if text_of(part, "text"))
