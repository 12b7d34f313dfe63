"""Bridge protocol, versions 3 to 1: every frame between bridge and hub, as both ends read and write it.

Frames are JSON objects in WebSocket text messages; `type` says which. Decoding is strict: an unknown type, an unknown
field or a wrong value is a `BadFrame` that names what is wrong. docs/protocol.md lists the same frames in prose.
"""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

VERSIONS: Final = (3, 2, 1)
"""Protocol versions this code speaks, best first, so that hub and bridges need not change on one day. What version 2 has
beyond 1: `hub_version` in `welcome`; 3 beyond 2: the frame `policy`."""

POLICY_SINCE: Final = 3

MAX_FRAME_BYTES: Final = 64 * 1024
"""What a hub accepts in one frame; larger ones close the connection with 1009."""

MAX_CHUNKS_BYTES: Final = 32 * 1024
"""Size a bridge keeps one `chunks` frame under, JSON escapes included."""

MAX_PROMPT_FRAME_BYTES: Final = 8 * 1024 * 1024
"""What a bridge accepts in one frame: prompts are larger than anything a bridge sends."""

HEARTBEAT_S: Final = 10.0
PEER_DEAD_S: Final = 25.0
"""Silence after which either side takes the other for dead; two missed heartbeats and a bit."""

Seq = Annotated[int, Meta(ge=1, le=2**53)]
LastSeq = Annotated[int, Meta(ge=0, le=2**53)]
Fence = Annotated[int, Meta(ge=1, le=2**53)]
InvocationId = Annotated[int, Meta(ge=1, le=2**53)]
Slug = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{1,63}\Z")]
Short = Annotated[str, Meta(max_length=200)]
Sentence = Annotated[str, Meta(max_length=2_000)]
Count = Annotated[int, Meta(ge=0, le=100_000)]
TOOL_NAME: Final = r"^[\x21-\x7e]{1,64}\Z"
ToolPattern = Annotated[str, Meta(pattern=TOOL_NAME)]

ChunkKind = Literal[
    "session", "text", "thinking", "tool_call", "tool_result", "permission", "notice", "usage", "file", "done"
]
CliKind = Literal["claude", "codex", "gemini", "cursor", "hermes", "opencode", "acp", "pty", "echo"]
Verdict = Literal["deny", "local", "ask", "allow"]
"""Strictest first."""
Outcome = Literal["done", "failed", "cancelled", "interrupted"]
RunState = Literal["accepted", "running", "ended", "lost"]
ByeReason = Literal["replaced", "revoked", "slow", "upgrade_required", "shutting_down", "protocol_error", "silent"]


class Frame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of all frames."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what stands inside frames."""


class AgentOffer(Part, frozen=True):
    """One agent a bridge can run; it names no path but the working directory's last part."""

    slug: Slug
    cli_kind: CliKind
    cli_version: Short = ""
    workdir: Short = ""
    parallel: Annotated[int, Meta(ge=1, le=32)] = 1
    steers: bool = False


class OpenRun(Part, frozen=True):
    """A run whose `end` the hub has not acked. `lost` means its process is gone and nothing more will come."""

    invocation: InvocationId
    fence: Fence
    state: RunState
    last_seq: LastSeq


class Chunk(Part, frozen=True):
    """`payload` is the JSON text of one event (nexus_bridge.events); its bytes never change once spooled."""

    seq: Seq
    kind: ChunkKind
    payload: str


class Usage(Part, frozen=True):
    """Model usage of one turn, in model tokens and US dollars."""

    input_tokens: Annotated[int, Meta(ge=0)] = 0
    output_tokens: Annotated[int, Meta(ge=0)] = 0
    cached_tokens: Annotated[int, Meta(ge=0)] = 0
    cost_usd: Annotated[float, Meta(ge=0)] | None = None


class Load(Part, frozen=True):
    running: Annotated[int, Meta(ge=0, le=2**53)] = 0
    sessions: Annotated[int, Meta(ge=0, le=2**53)] = 0
    unacked_bytes: Annotated[int, Meta(ge=0, le=2**53)] = 0
    memory_mib: Annotated[int, Meta(ge=0, le=2**53)] = 0


class RuleCount(Part, frozen=True):
    """How many of an owner's rules say the same, and for which tools; never what stands in them."""

    rules: Count = 0
    tools: Annotated[list[ToolPattern], Meta(max_length=16)] = []


class Person(Part, frozen=True):
    id: Short
    username: Short
    name: Short = ""


class RoomName(Part, frozen=True):
    id: Short
    name: Short
    kind: Literal["channel", "private", "dm"]


class Attachment(Part, frozen=True):
    """A file the bridge may fetch at /bridge/files/<id> with the run's tools token."""

    id: Short
    name: Short
    size: Annotated[int, Meta(ge=0)]
    content_type: Short
    sha256: Short


class RunLimits(Part, frozen=True):
    """The bridge applies the smaller of these and its own."""

    wall_s: Annotated[float, Meta(gt=0)] = 3600.0
    idle_s: Annotated[float, Meta(gt=0)] = 600.0
    output_bytes: Annotated[int, Meta(ge=1024)] = 5 * 1024 * 1024


class HubLimits(Part, frozen=True):
    heartbeat_s: float = HEARTBEAT_S
    peer_dead_s: float = PEER_DEAD_S
    frame_bytes: int = MAX_FRAME_BYTES
    unacked_bytes: int = 256 * 1024


class Resume(Part, frozen=True):
    """Send this run's chunks again from `next_seq` on, with this fence."""

    invocation: InvocationId
    next_seq: Seq


# Bridge -> hub


class Hello(Frame, frozen=True, tag="hello"):
    """First frame of a connection, written after everything of the old connection is settled in the journal."""

    versions: Annotated[list[int], Meta(min_length=1, max_length=16)]
    client_version: Short
    agents: Annotated[list[AgentOffer], Meta(max_length=64)]
    journal: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    runs: Annotated[list[OpenRun], Meta(max_length=1024)] = []
    capabilities: Annotated[list[Short], Meta(max_length=64)] = []


class Accepted(Frame, frozen=True, tag="accepted"):
    """The run is in the journal, on disk; only then is anything started."""

    invocation: InvocationId
    fence: Fence


class Refused(Frame, frozen=True, tag="refused"):
    invocation: InvocationId
    fence: Fence
    reason: Short
    message: Sentence = ""


class Chunks(Frame, frozen=True, tag="chunks"):
    """A run of chunks with consecutive seqs."""

    invocation: InvocationId
    fence: Fence
    chunks: Annotated[list[Chunk], Meta(min_length=1, max_length=512)]


class End(Frame, frozen=True, tag="end"):
    """Takes the next seq; `sha256` is `output_digest` over all payloads in seq order."""

    invocation: InvocationId
    fence: Fence
    seq: Seq
    outcome: Outcome
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    reason: Short = ""
    message: Sentence = ""
    exit_code: int | None = None
    usage: Usage = Usage()


class Heartbeat(Frame, frozen=True, tag="heartbeat"):
    """Sent by the bridge every 10 s and echoed by the hub as it came."""

    at: float
    load: Load = Load()


class Policy(Frame, frozen=True, tag="policy"):
    """How strict the owner's rules for one agent are: for people who look after the team.

    Once for each agent of the `hello`, after a `welcome` of version 3 or later. `callers` and `rooms` count the names
    that it is limited to; 0 is whoever the hub lets through. A question is denied when nobody answers within `permission_s`.
    """

    agent: Slug
    default: Verdict = "ask"
    deny: RuleCount = RuleCount()
    local: RuleCount = RuleCount()
    ask: RuleCount = RuleCount()
    allow: RuleCount = RuleCount()
    callers: Count = 0
    rooms: Count = 0
    permission_s: Annotated[int, Meta(ge=1, le=86_400)] = 600


# Hub -> bridge


class Welcome(Frame, frozen=True, tag="welcome", omit_defaults=True):
    """Answer to `hello`. Runs that stand neither in `resume` nor in `drop` have nothing left to send.

    Fields that say nothing are left out: a bridge of version 1 would not take `hub_version`.
    """

    version: int
    session: Short
    limits: HubLimits = HubLimits()
    resume: list[Resume] = []
    drop: list[InvocationId] = []
    hub_version: Short = ""


class Prompt(Frame, frozen=True, tag="prompt"):
    """An offer. May come any number of times with the same fence; the journal answers repeats."""

    invocation: InvocationId
    fence: Fence
    agent: Slug
    asker: Person
    room: RoomName
    prompt: str
    session_key: Short
    attachments: list[Attachment] = []
    tools_token: Short = ""
    limits: RunLimits = RunLimits()


class Ack(Frame, frozen=True, tag="ack"):
    """Everything up to `seq` is committed on the hub's side."""

    invocation: InvocationId
    seq: LastSeq


class Rewind(Frame, frozen=True, tag="rewind"):
    invocation: InvocationId
    seq: Seq


class Cancel(Frame, frozen=True, tag="cancel"):
    invocation: InvocationId
    fence: Fence
    reason: Short = ""


class Decision(Frame, frozen=True, tag="decision"):
    invocation: InvocationId
    fence: Fence
    permission: Short
    allow: bool
    by: Short = ""
    note: Sentence = ""


class Steer(Frame, frozen=True, tag="steer"):
    """Words for a run that goes on. May come more than once; `id` tells repeats."""

    invocation: InvocationId
    fence: Fence
    id: InvocationId
    text: Annotated[str, Meta(max_length=8_000)]
    by: Short = ""


class Drop(Frame, frozen=True, tag="drop"):
    """Answer to a frame of a run that is over or held by another fence: kill it, forget it."""

    invocation: InvocationId
    reason: Short = ""


class Bye(Frame, frozen=True, tag="bye"):
    reason: ByeReason
    reconnect: bool
    message: Sentence = ""


# Both ways


class Error(Frame, frozen=True, tag="error"):
    """A frame was not understood. `about` is the frame's type, `code` one of ERROR_CODES."""

    code: Short
    about: Short = ""
    message: Sentence = ""


ERROR_CODES: Final = (
    "bad_json",
    "bad_frame",
    "bad_field",
    "unknown_type",
    "not_yours",
    "protocol_error",
    "rate_limited",
    "identity_mismatch",
)

FromBridge = Hello | Accepted | Refused | Chunks | End | Heartbeat | Policy | Error
FromHub = Welcome | Prompt | Ack | Rewind | Cancel | Decision | Steer | Drop | Bye | Heartbeat | Error

Decoded = TypeVar("Decoded")

_encoder = msgspec.json.Encoder()
_from_bridge: msgspec.json.Decoder[FromBridge] = msgspec.json.Decoder(FromBridge)
_from_hub: msgspec.json.Decoder[FromHub] = msgspec.json.Decoder(FromHub)
_head = msgspec.json.Decoder(dict[str, msgspec.Raw])


class BadFrame(ValueError):
    """What came is not a frame of this side; `error` is the frame to answer with."""

    def __init__(self, *, code: str, about: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.error = Error(code=code, about=about[:200], message=message[:2_000])


def encode(frame: Frame) -> str:
    """The text of a frame. Raises UnicodeEncodeError for a lone surrogate in a string."""
    return _encoder.encode(frame).decode()


def from_bridge(text: str | bytes) -> FromBridge:
    """Read what a bridge sent; raises BadFrame."""
    return _decode(_from_bridge, text)


def from_hub(text: str | bytes) -> FromHub:
    """Read what a hub sent; raises BadFrame."""
    return _decode(_from_hub, text)


def output_digest(payloads: Iterable[str]) -> str:
    """SHA-256 in hex over the UTF-8 bytes of all payloads, in seq order."""
    digest = hashlib.sha256()
    for payload in payloads:
        digest.update(payload.encode())
    return digest.hexdigest()


def agreed_version(*, offered: Iterable[int]) -> int | None:
    """The best version both ends speak, or None."""
    theirs = set(offered)
    return next((version for version in VERSIONS if version in theirs), None)


def _decode(decoder: "msgspec.json.Decoder[Decoded]", text: str | bytes) -> Decoded:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _bad_frame(text=text, error=error) from error


def _bad_frame(*, text: str | bytes, error: Exception) -> BadFrame:
    try:
        head = _head.decode(text)
        kind = msgspec.json.decode(head["type"], type=str)
    except KeyError:
        return BadFrame(code="bad_field", about="", message="bad_field: `type` is missing")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return BadFrame(code="bad_json", about="", message="a frame is one JSON object with a `type`")
    if "Invalid value" in str(error) and str(error).endswith("`$.type`"):
        return BadFrame(code="unknown_type", about=kind, message=f"unknown_type: {kind[:100]}")
    return BadFrame(code="bad_field", about=kind, message=f"bad_field: {error}")
