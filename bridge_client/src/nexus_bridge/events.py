"""What an agent's CLI says, as one event model; a chunk's payload is the JSON of one event.

Adapters make events, the bridge sends them as chunks, the hub's `runtime/reply.py` turns them into chat. The kind of a
chunk is the event's tag; unknown fields are ignored on reading, so that a newer bridge may say more.
"""

from typing import Any, Literal

import msgspec

ErrorKind = Literal[
    "",
    "auth",
    "rate_limit",
    "overloaded",
    "model",
    "network",
    "permission",
    "needs_input",
    "empty_output",
    "crash",
    "timeout",
    "session",
    "unknown",
]
"""Why a turn failed. `session`: the CLI forgot the session it was to resume and did nothing; start it afresh.

`needs_input`: it waits for keys or a line that nobody types. `empty_output`: it ended well and printed nothing.
"""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """Base of all events."""


class Session(Event, frozen=True, tag="session"):
    """The CLI's own session has this id; a later turn may resume it."""

    id: str
    model: str = ""
    tools: list[str] = []


class Text(Event, frozen=True, tag="text"):
    """A piece of the answer. Another `message` id than before starts a new paragraph of the reply."""

    delta: str
    message: str = ""


class Thinking(Event, frozen=True, tag="thinking"):
    delta: str


class ToolCall(Event, frozen=True, tag="tool_call"):
    """`tool` is what the adapter makes of the CLI's name: read, edit, execute, search, fetch, mcp or other."""

    id: str
    name: str
    tool: str = "other"
    title: str = ""
    input: str = ""


class ToolResult(Event, frozen=True, tag="tool_result"):
    id: str
    ok: bool
    output: str = ""
    denied: bool = False


class Option(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    kind: Literal["allow_once", "allow_always", "reject_once", "reject_always"]


class Permission(Event, frozen=True, tag="permission"):
    """The CLI asks before it acts and waits for an answer. `detail` is the whole command or diff.

    `tool` is what kind of tool it is, as for a call; `paths` the files it is about, where the CLI says.
    """

    id: str
    tool_call: str = ""
    name: str = ""
    tool: str = "other"
    title: str = ""
    detail: str = ""
    paths: list[str] = []
    options: list[Option] = []


class Notice(Event, frozen=True, tag="notice"):
    level: Literal["info", "warning", "error"] = "info"
    text: str = ""


class Usage(Event, frozen=True, tag="usage"):
    """Of this turn alone, also where the CLI reports running totals."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None


class File(Event, frozen=True, tag="file"):
    id: str
    name: str
    size: int
    content_type: str = ""


class Done(Event, frozen=True, tag="done"):
    """The turn is over. `text` is the whole answer where the CLI repeats it, else empty."""

    status: Literal["ok", "error", "interrupted", "limit"]
    error_kind: ErrorKind = ""
    text: str = ""
    message: str = ""


AnyEvent = Session | Text | Thinking | ToolCall | ToolResult | Permission | Notice | Usage | File | Done

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def kind_of(event: Event) -> str:
    """The chunk kind an event travels as."""
    tag: Any = type(event).__struct_config__.tag
    return str(tag)


def encode(event: Event) -> str:
    """The payload of an event's chunk."""
    return _encoder.encode(event).decode()


def decode(payload: str | bytes) -> AnyEvent | None:
    """The event of a payload, or None for one this version does not know."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return _done_of_newer(payload)


def _done_of_newer(payload: str | bytes) -> Done | None:
    """A turn that failed in a way only a newer bridge has a name for has failed all the same."""
    try:
        fields = msgspec.json.decode(payload)
        if not isinstance(fields, dict) or fields.get("kind") != "done":
            return None
        return msgspec.convert({**fields, "error_kind": "unknown"}, Done)
    except (msgspec.DecodeError, RecursionError):
        return None
