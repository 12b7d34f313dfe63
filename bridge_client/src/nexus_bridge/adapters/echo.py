"""The echo agent, the specimen adapter: a real process that speaks JSON lines and repeats what it was given."""

import sys
from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec

from nexus_bridge import echo_cli, events
from nexus_bridge.adapters.base import Capabilities, Profile, Spawn, Turn
from nexus_bridge.adapters.lines import Frame, JsonLines
from nexus_bridge.environment import clean_env
from nexus_bridge.events import AnyEvent, Done, Notice

_EVENTS: Final[dict[str, type[AnyEvent]]] = {
    "session": events.Session,
    "text": events.Text,
    "thinking": events.Thinking,
    "tool_call": events.ToolCall,
    "tool_result": events.ToolResult,
    "permission": events.Permission,
    "notice": events.Notice,
    "usage": events.Usage,
    "done": events.Done,
}
_FORGOTTEN = "No session with this id"


class EchoAdapter:
    """Options: `scripted` = "true" plays the directives of echo_cli, `pace_ms` is the pause between pieces."""

    kind: ClassVar[str] = "echo"
    capabilities: ClassVar[Capabilities] = Capabilities(
        deltas=True, thinking=True, permissions=True, interrupt=True, resume=True, steer=True
    )

    def __init__(self, *, profile: Profile) -> None:
        self._profile = profile
        self._lines = JsonLines()
        self._is_open = False

    @classmethod
    def version_argv(cls, command: Sequence[str]) -> Sequence[str]:
        return [*(command or _own_command()), "--version"]

    def spawn(self) -> Spawn:
        argv = [*(self._profile.command or _own_command())]
        options = self._profile.options
        if options.get("scripted") == "true":
            argv.append("--scripted")
        if pace := options.get("pace_ms"):
            argv += ["--pace-ms", pace]
        if self._profile.resume_id:
            argv += ["--resume", self._profile.resume_id]
        env = clean_env(inherited=self._profile.inherited, extra=self._profile.env)
        return Spawn(argv=argv, env=env, cwd=self._profile.workdir)

    def start(self) -> bytes:
        return b""

    def turn(self, turn: Turn) -> bytes:
        self._is_open = True
        return _line(type="turn", text=turn.text, files=[str(path) for path in turn.files])

    def feed(self, data: bytes) -> list[AnyEvent]:
        said = [event for frame in self._lines.feed(data) if (event := _event(frame)) is not None]
        if any(isinstance(event, Done) for event in said):
            self._is_open = False
        return said

    def quiet(self) -> list[AnyEvent]:
        return []

    def outgoing(self) -> bytes:
        return b""

    def answer(self, permission: str, *, allow: bool, note: str) -> bytes:
        return _line(type="answer", id=permission, allow=allow, note=note)

    def steer(self, text: str) -> bytes:
        return _line(type="steer", text=text)

    def interrupt(self) -> bytes:
        return _line(type="interrupt")

    def close(self) -> bytes:
        return b""

    def exited(self, *, code: int, stderr_tail: str) -> list[AnyEvent]:
        if not self._is_open:
            return []
        self._is_open = False
        if _FORGOTTEN in stderr_tail and self._profile.resume_id:
            return [Done(status="error", error_kind="session", message=_FORGOTTEN)]
        why = stderr_tail.strip().splitlines()[-1:] or [f"exit code {code}"]
        return [Done(status="error", error_kind="crash", message=f"The echo program ended in its turn: {why[0]}")]


def _own_command() -> list[str]:
    return [sys.executable, "-I", "-S", "-B", echo_cli.__file__]


def _line(**fields: object) -> bytes:
    return msgspec.json.encode(fields) + b"\n"


def _event(frame: Frame) -> AnyEvent | None:
    kind = frame.pop("type", "")
    if (event_type := _EVENTS.get(kind)) is None:
        return None
    try:
        return msgspec.convert(frame, event_type)
    except msgspec.ValidationError:
        return Notice(level="warning", text=f"The echo program said something that is no {kind}.")
