"""What the session wants done: plain data for whoever owns the processes and the socket."""

from dataclasses import dataclass, field

from nexus_bridge.errors import FinalError
from nexus_bridge.protocol import Outcome, Prompt, Usage


@dataclass(frozen=True, slots=True)
class Start:
    """Begin this turn; its acceptance is on disk. Answer with `spool`, `end` and `freed`, in this order."""

    prompt: Prompt
    cli_session: str | None


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask the CLI to stop the turn, then make it. Answer with `end` (this outcome) and `freed`."""

    invocation: int
    outcome: Outcome
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill the turn's whole tree at once. Answer with `freed` when nothing of it is left."""

    invocation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Decide:
    """A person answered this permission request."""

    invocation: int
    permission: str
    allow: bool
    by: str
    note: str


@dataclass(frozen=True, slots=True)
class Add:
    """A person adds this to the running turn; the same `id` counts once."""

    invocation: int
    id: int
    text: str
    by: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading this run's CLI: too much of what it said is not acked."""

    invocation: int


@dataclass(frozen=True, slots=True)
class Resume:
    invocation: int


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close this connection. With `error` there is no next one."""

    reason: str
    error: FinalError | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """What the person at the terminal should read."""

    text: str


Order = Start | Stop | Kill | Decide | Add | Pause | Resume | Disconnect | Tell


@dataclass(frozen=True, slots=True)
class Ending:
    """How a turn ended, as the runner saw it."""

    outcome: Outcome
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the owner's policy takes a prompt from this person or room not."""

    reason: str
    message: str
