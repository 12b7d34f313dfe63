"""What an ACP agent's updates mean, as events. Pure; one turn after another, tools that never report are closed.

Agents differ: a tool may begin with its permission request, end without a word, or be told in five steps. Here each is
one call and one result.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from nexus_bridge.adapters.acp_tools import (
    detail_of,
    kind_of_call,
    name_of,
    output_of,
    own_name_of,
    paths_of,
    shown_input,
    title_of,
)
from nexus_bridge.adapters.lines import Frame, count_of, list_of, number_of, object_of, text_of
from nexus_bridge.events import (
    AnyEvent,
    Done,
    Option,
    Permission,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)

_SILENT: Final = frozenset(
    {
        *("user_message_chunk", "plan", "plan_update", "available_commands_update", "current_mode_update"),
        *("session_info_update", "config_option_update"),
    }
)
_OWN_ID: Final = re.compile(r"(edit-approval|perm-check)-\d+")
_OPTION_KINDS: Final = ("allow_once", "allow_always", "reject_once", "reject_always")


@dataclass(slots=True)
class _Call:
    """One tool call as far as it was told; `frame` is everything so far, merged."""

    frame: Frame
    is_told: bool = False
    is_over: bool = False
    decision: bool | None = None


@dataclass(slots=True)
class _Question:
    request: object
    call: str
    options: list[Option] = field(default_factory=list)


class AcpOutput:
    """`begin` a turn, `update` and `permission` for what comes, `end` for its end."""

    def __init__(self) -> None:
        self.unknown: Counter[str] = Counter()
        self.text = ""
        self._calls: dict[str, _Call] = {}
        self._questions: dict[str, _Question] = {}
        self._segment = 0
        self._is_segment_new = True
        self._cost_total = 0.0
        self._cost: float | None = None

    def begin(self) -> None:
        self._calls.clear()
        self._questions.clear()
        self.text = ""
        self._cost = None
        self._new_segment()

    # Updates

    def update(self, update: Frame) -> list[AnyEvent]:
        match text_of(update, "sessionUpdate"):
            case "agent_message_chunk":
                return self._message(update)
            case "agent_thought_chunk":
                thought = text_of(update, "content", "text")
                return [*self._close_denied(), Thinking(delta=thought)] if thought else []
            case "tool_call":
                return [*self._close_denied(), *self._tool(update, is_first=True)]
            case "tool_call_update":
                return self._tool(update, is_first=False)
            case "usage_update":
                self._cost_so_far(update)
                return []
            case kind:
                if kind not in _SILENT:
                    self.unknown[kind[:40]] += 1
                return []

    def _message(self, update: Frame) -> list[AnyEvent]:
        said = text_of(update, "content", "text")
        if self._is_segment_new:
            said = said.lstrip("\n")
        if not said:
            return []
        self._is_segment_new = False
        self.text += said
        message = text_of(update, "messageId") or f"m{self._segment}"
        return [*self._close_denied(), Text(delta=said, message=message)]

    def _new_segment(self) -> None:
        """What is said after a tool call is a new message, not a continuation."""
        self._segment += 1
        self._is_segment_new = True

    # Tools

    def _tool(self, update: Frame, *, is_first: bool) -> list[AnyEvent]:
        identity = text_of(update, "toolCallId")
        call = self._calls.setdefault(identity, _Call(frame={}))
        if call.is_over:
            return []
        known = {key: value for key, value in update.items() if value not in (None, [], {}, "")}
        call.frame = {**call.frame, **known}
        status = text_of(update, "status")
        # Some announce a tool before they know what it is given; the next word of it says more.
        said = [] if is_first and status == "pending" else self._tell(identity, call)
        if status not in {"completed", "failed"}:
            return said
        call.is_over = True
        is_denied = call.decision is False
        is_ok = status == "completed" and not is_denied
        result = ToolResult(id=identity, ok=is_ok, output=output_of(update), denied=is_denied)
        return [*said, result]

    def _tell(self, identity: str, call: _Call) -> list[AnyEvent]:
        if call.is_told:
            return []
        call.is_told = True
        self._new_segment()
        frame = call.frame
        return [
            ToolCall(
                id=identity,
                name=name_of(frame),
                tool=kind_of_call(frame),
                title=title_of(frame),
                input=shown_input(frame),
            )
        ]

    def _close_denied(self) -> list[AnyEvent]:
        """Some agents say nothing more of a tool that was refused; when they go on, it is over."""
        return [
            self._over(identity, call, is_ok=False)
            for identity, call in self._calls.items()
            if call.decision is False and not call.is_over
        ]

    def _over(self, identity: str, call: _Call, *, is_ok: bool) -> ToolResult:
        call.is_over = True
        return ToolResult(id=identity, ok=is_ok, denied=call.decision is False)

    # Questions

    def permission(self, frame: Frame) -> list[AnyEvent]:
        """The agent waits for an answer to this request."""
        params = object_of(frame, "params")
        asked = object_of(params, "toolCall")
        identity = self._call_of(asked)
        call = self._calls.setdefault(identity, _Call(frame={}))
        call.frame = {**asked, **call.frame, **{key: asked[key] for key in ("rawInput", "content") if asked.get(key)}}
        said = self._tell(identity, call)
        # The request may name no more than the call: what was announced of it is then all that rules and people see.
        whole = {**call.frame, **{key: value for key, value in asked.items() if value}}
        question = str(frame.get("id"))
        options = [found for one in list_of(params, "options") if (found := _option(one)) is not None]
        self._questions[question] = _Question(request=frame.get("id"), call=identity, options=options)
        return [
            *said,
            Permission(
                id=question,
                tool_call=identity,
                name=own_name_of(asked) or own_name_of(call.frame) or name_of(whole),
                tool=kind_of_call(whole),
                title=title_of(whole),
                detail=detail_of(whole),
                paths=sorted({*paths_of(call.frame), *paths_of(whole)}),
                options=options,
            ),
        ]

    def _call_of(self, asked: Frame) -> str:
        """Hermes asks under an id of its own for what it has announced under another."""
        identity = text_of(asked, "toolCallId")
        if identity in self._calls or not _OWN_ID.fullmatch(identity):
            return identity
        kind = text_of(asked, "kind")
        alike = [one for one, call in self._calls.items() if not call.is_over and text_of(call.frame, "kind") == kind]
        return alike[-1] if alike else identity

    def decide(self, question: str, *, allow: bool) -> tuple[object, str] | None:
        """The request's id and the option to choose (empty: none fits, so it is cancelled); None when it is over."""
        asked = self._questions.pop(question, None)
        if asked is None:
            return None
        self._calls[asked.call].decision = allow
        wanted = ("allow_once", "allow_always") if allow else ("reject_once", "reject_always")
        # A person said yes to this once; only a kind says what an option means, ids differ between agents.
        return asked.request, next((one.id for kind in wanted[:1] for one in asked.options if one.kind == kind), "")

    def open_questions(self) -> list[object]:
        """The requests that wait; they are over with this."""
        waiting = [asked.request for asked in self._questions.values()]
        self._questions.clear()
        return waiting

    # The end of a turn

    def end(self, done: Done, *, result: Frame) -> list[AnyEvent]:
        left: list[AnyEvent] = []
        for identity, call in self._calls.items():
            if not call.is_over:
                is_ok = call.decision is True and done.status == "ok"
                left += [*self._tell(identity, call), self._over(identity, call, is_ok=is_ok)]
        self._questions.clear()
        usage = self._usage(result)
        return [*left, *([usage] if usage is not None else []), done]

    def has_usage(self, result: Frame) -> bool:
        return bool(object_of(result, "usage") or object_of(result, "_meta", "quota", "token_count"))

    def _usage(self, result: Frame) -> Usage | None:
        found = object_of(result, "usage")
        quota = object_of(result, "_meta", "quota", "token_count")
        if not found and not quota:
            return None if self._cost is None else Usage(cost_usd=self._cost)
        cached = count_of(found, "cachedReadTokens")
        return Usage(
            input_tokens=count_of(found, "inputTokens") + cached or count_of(quota, "input_tokens"),
            output_tokens=count_of(found, "outputTokens") or count_of(quota, "output_tokens"),
            cached_tokens=cached,
            cost_usd=self._cost,
        )

    def _cost_so_far(self, update: Frame) -> None:
        """The session's total; a free model's total of nothing is no figure."""
        total = number_of(update, "cost", "amount")
        if total:
            self._cost = (self._cost or 0.0) + max(0.0, total - self._cost_total)
            self._cost_total = total


def _option(option: Frame) -> Option | None:
    kind = text_of(option, "kind")
    if kind not in _OPTION_KINDS:
        return None
    return Option(id=text_of(option, "optionId"), name=text_of(option, "name"), kind=kind)  # type: ignore[arg-type]
