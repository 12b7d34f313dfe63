"""The adapter contract: what the rest of the bridge may know of a CLI.

An adapter answers three questions: how to spawn, how to read the output, what to write. It holds no socket, clock or
process; all bytes pass through `feed` and all it wants to write is returned. One object serves one live process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol, runtime_checkable

from nexus_bridge.events import AnyEvent


@dataclass(frozen=True, slots=True)
class Capabilities:
    """All that others may ask about a CLI kind."""

    deltas: bool = False
    thinking: bool = False
    permissions: bool = False
    interrupt: bool = False
    resume: bool = False
    mcp_per_session: bool = False
    cost: bool = False
    steer: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """What the owner configured for one agent, and what the bridge found out about this session.

    `env` is what the owner set for this agent; `inherited` the bridge's own environment, of which the adapter takes
    only names on its allow-list.
    """

    slug: str
    command: Sequence[str]
    workdir: Path
    env: Mapping[str, str] = field(default_factory=dict)
    inherited: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    resume_id: str | None = None
    persona: str = ""
    mcp_url: str = ""
    mcp_token: str = ""


@dataclass(frozen=True, slots=True)
class Spawn:
    """How to start the process. `env` is complete, nothing is inherited beside it.

    `files` are written for this process alone (directory 0700, files 0600, gone with the process); "{files}" in an
    argument stands for their directory. `tty` says what kind of terminal a pty is: bytes as they are, or cooked lines.
    `quiet_ends_turn_s`: call `quiet()` after that long without output in an open turn; 0 for a CLI that says itself
    when it is done.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    transport: Literal["pipes", "pty"] = "pipes"
    close_stdin_after_turn: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    tty: Literal["raw", "lines"] = "raw"
    quiet_ends_turn_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One prompt for the CLI. `text` is data: the adapter breaks what its CLI would expand."""

    text: str
    files: Sequence[Path] = ()


@runtime_checkable
class Steerable(Protocol):
    """An adapter whose capabilities say `steer`."""

    def steer(self, text: str) -> bytes:
        """Give the CLI more words within the open turn; `text` is data, as in a turn."""


@runtime_checkable
class Counting(Protocol):
    """An adapter that reads lines: what it can't use is counted and passed over, the run goes on."""

    @property
    def noise(self) -> int:
        """Lines that were no JSON object, or too long."""

    @property
    def unknown(self) -> Mapping[str, int]:
        """Frames this version does not know, by name."""


class Adapter(Protocol):
    """One live CLI process, seen as bytes in and events out. Every `bytes` returned is to be written to stdin."""

    kind: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    def __init__(self, *, profile: Profile) -> None: ...

    @classmethod
    def version_argv(cls, command: Sequence[str]) -> Sequence[str]:
        """How to ask the program for its version."""

    def spawn(self) -> Spawn: ...

    def start(self) -> bytes:
        """What to write as soon as the process is there."""

    def turn(self, turn: Turn) -> bytes: ...

    def feed(self, data: bytes) -> list[AnyEvent]:
        """Read what the process wrote, split anywhere. A `Done` event ends the turn."""

    def quiet(self) -> list[AnyEvent]:
        """Nothing came for `quiet_ends_turn_s`: where that means the end of the turn, its `Done`."""

    def outgoing(self) -> bytes:
        """What the last `feed` made necessary to write (handshakes, protocol answers); empty once taken."""

    def answer(self, permission: str, *, allow: bool, note: str) -> bytes: ...

    def interrupt(self) -> bytes:
        """Ask the CLI to stop the turn; empty where it can't and a signal must do."""

    def close(self) -> bytes:
        """What to write before stdin is closed."""

    def exited(self, *, code: int, stderr_tail: str) -> list[AnyEvent]:
        """The process is gone: what that means for an open turn. Ends it with `Done` if one is open.

        `Done` with error_kind "session" means that the session to resume is forgotten and nothing of the turn ran:
        start a process without `resume_id` and give it the same turn, once.
        """
