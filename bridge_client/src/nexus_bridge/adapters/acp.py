"""Any agent that speaks the Agent Client Protocol (version 1) on its pipes; what is special about one is data.

Options: `model`, `mode` (an id the agent offers), `auth_method`. Anything else belongs into `command`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from nexus_bridge.adapters.acp_answers import kind_of, model_of, words_of
from nexus_bridge.adapters.acp_output import AcpOutput
from nexus_bridge.adapters.base import Capabilities, Profile, Spawn, Turn
from nexus_bridge.adapters.failures import ended_in_turn, kind_of_words
from nexus_bridge.adapters.lines import Frame, JsonLines, list_of, object_of, text_of
from nexus_bridge.adapters.prompt_text import break_syntax
from nexus_bridge.adapters.rpc import NOT_FOUND, Rpc
from nexus_bridge.environment import clean_env
from nexus_bridge.events import AnyEvent, Done, Notice, Permission, Session

OWN_TOOLS: Final = ("mcp__nexus__", "mcp_nexus_", "mcp.nexus.")
"""Names under which agents know the tools of this hub; the hub itself asks people about them where it must."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """What one agent does its own way."""

    title: str = "The agent"
    program: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    auth_by_variable: Mapping[str, str] = field(default_factory=dict)
    takes_http_mcp: bool = False
    """Takes tools over HTTP although it does not say so."""
    is_failure: re.Pattern[str] | None = None
    """A whole answer like this, with no usage reported, is an error message."""
    acknowledged: tuple[str, ...] = ()
    """Requests of its own, by prefix, that stall the turn unless they are answered."""


class AcpAdapter:
    """The handshake, then one prompt at a time; what the agent says is read by AcpOutput."""

    kind: ClassVar[str] = "acp"
    capabilities: ClassVar[Capabilities] = Capabilities(
        deltas=True,
        thinking=True,
        permissions=True,
        interrupt=True,
        resume=True,
        mcp_per_session=True,
        cost=True,
    )
    quirks: ClassVar[Quirks] = Quirks()

    def __init__(self, *, profile: Profile) -> None:
        self._profile = profile
        self._rpc = Rpc(extra={"jsonrpc": "2.0"})
        self._lines = JsonLines()
        self._output = AcpOutput()
        self._session = ""
        self._is_loading = False
        self._prompt: str | None = None
        self._is_open = False
        self._is_interrupting = False
        self._capabilities: Frame = {}
        self._to_set: list[tuple[str, Frame]] = []

    @classmethod
    def version_argv(cls, command: Sequence[str]) -> Sequence[str]:
        program = [*(command or cls.quirks.program)][:1]
        return [*program, "--version"] if program else []

    def spawn(self) -> Spawn:
        profile, quirks = self._profile, self.quirks
        argv = [*(profile.command or quirks.program)]
        argv += [argument for argument in quirks.arguments if argument not in argv]
        env = clean_env(inherited=profile.inherited, names=quirks.names, extra={**quirks.settings, **profile.env})
        return Spawn(argv=argv, env=env, cwd=profile.workdir)

    def start(self) -> bytes:
        can = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
        asked = {"protocolVersion": 1, "clientCapabilities": can, "clientInfo": {"name": "nexus", "version": "1"}}
        return self._rpc.request("initialize", asked)

    def turn(self, turn: Turn) -> bytes:
        self._is_open = True
        self._is_interrupting = False
        self._output.begin()
        self._prompt = break_syntax("\n".join([turn.text, *(f"Attached file: {path}" for path in turn.files)]))
        self._prompt_when_ready()
        return self._rpc.take()

    def feed(self, data: bytes) -> list[AnyEvent]:
        said: list[AnyEvent] = []
        for frame in self._lines.feed(data):
            said += self._read(frame)
        return said

    def quiet(self) -> list[AnyEvent]:
        return []

    def outgoing(self) -> bytes:
        return self._rpc.take()

    def answer(self, permission: str, *, allow: bool, note: str) -> bytes:
        """The protocol has no place for the note."""
        decided = self._output.decide(permission, allow=allow)
        if decided is None:
            return b""
        request, option = decided
        outcome: Frame = {"outcome": "selected", "optionId": option} if option else {"outcome": "cancelled"}
        return self._rpc.response(request, {"outcome": outcome})

    def interrupt(self) -> bytes:
        """Before the prompt was given there is nothing to cancel: a signal ends the process."""
        self._is_interrupting = True
        if not self._session or self._prompt is not None:
            return b""
        for request in self._output.open_questions():
            self._rpc.later(self._rpc.response(request, {"outcome": {"outcome": "cancelled"}}))
        return self._rpc.take() + self._rpc.notification("session/cancel", {"sessionId": self._session})

    def close(self) -> bytes:
        return b""

    def exited(self, *, code: int, stderr_tail: str) -> list[AnyEvent]:
        said = [event for frame in self._lines.finish() for event in self._read(frame)]
        words = stderr_tail.strip() or self._lines.last_noise
        is_asked = self._is_interrupting
        return [*said, *self._end(ended_in_turn(self.quirks.title, code=code, words=words, is_asked=is_asked))]

    @property
    def noise(self) -> int:
        return self._lines.unread

    @property
    def unknown(self) -> Mapping[str, int]:
        return self._output.unknown

    # Frames

    def _read(self, frame: Frame) -> list[AnyEvent]:
        method = text_of(frame, "method")
        if not method:
            if asked := self._rpc.answered(frame):
                return self._answered(asked, frame)
            self._output.unknown[self._rpc.stray(frame)] += 1
            return []
        if method == "session/update":
            if self._is_loading or not self._is_ours(frame):
                return []  # the history of a session that is loaded
            return self._updated(object_of(frame, "params", "update"))
        if method == "session/request_permission":
            return self._asked(frame)
        if "id" in frame:
            self._refuse(frame, method)
        self._output.unknown[method[:40]] += 1
        return []

    def _is_ours(self, frame: Frame) -> bool:
        return self._is_open and text_of(frame, "params", "sessionId") == self._session

    def _updated(self, update: Frame) -> list[AnyEvent]:
        return self._output.update(update)

    def _asked(self, frame: Frame) -> list[AnyEvent]:
        if not self._is_ours(frame):
            self._rpc.later(self._rpc.response(frame.get("id"), {"outcome": {"outcome": "cancelled"}}))
            return []
        said = self._output.permission(frame)
        question = said[-1]
        if not isinstance(question, Permission) or not self._is_own_tool(question):
            return said
        self._rpc.later(self.answer(question.id, allow=True, note=""))
        return said[:-1]

    def _is_own_tool(self, question: Permission) -> bool:
        return bool(self._profile.mcp_url) and question.name.startswith(OWN_TOOLS)

    def _refuse(self, frame: Frame, method: str) -> None:
        if method.startswith(self.quirks.acknowledged or ("\0",)):
            self._rpc.later(self._rpc.response(frame.get("id"), {}))
        else:
            self._rpc.later(self._rpc.refusal(frame.get("id"), code=NOT_FOUND, message="Not supported here."))

    # What we asked

    def _answered(self, asked: str, frame: Frame) -> list[AnyEvent]:
        error, result = object_of(frame, "error"), object_of(frame, "result")
        match asked:
            case "session/prompt":
                return self._prompted(error=error, result=result)
            case "session/set_mode" | "session/set_model":
                if error:
                    return [Notice(level="warning", text=f"{asked}: {words_of(error)}"), *self._set_next()]
                return self._set_next()
            case "session/load" if error:
                return self._end(Done(status="error", error_kind="session", message=words_of(error)))
            case _ if error:
                return self._failed(error)
            case "initialize":
                self._capabilities = object_of(result, "agentCapabilities")
                self._authenticate(result)
            case "authenticate":
                self._open_session()
            case "session/new" | "session/load":
                return self._opened(result)
        return []

    def _authenticate(self, result: Frame) -> None:
        """With a key from the environment; a login of the developer's own needs no word."""
        offered = [text_of(method, "id") for method in list_of(result, "authMethods")]
        env = self.spawn().env
        by_key = next((one for name, one in self.quirks.auth_by_variable.items() if env.get(name)), "")
        method = self._profile.options.get("auth_method") or by_key
        if method and (method in offered or not offered):
            self._rpc.later(self._rpc.request("authenticate", {"methodId": method}))
        else:
            self._open_session()

    def _open_session(self) -> None:
        given = {"cwd": str(self._profile.workdir), "mcpServers": self._tools()}
        can_load = self._capabilities.get("loadSession") is True
        if self._profile.resume_id and can_load:
            self._is_loading = True
            self._session = self._profile.resume_id
            self._rpc.later(self._rpc.request("session/load", {"sessionId": self._session, **given}))
        else:
            self._rpc.later(self._rpc.request("session/new", given))

    def _tools(self) -> list[Frame]:
        """The token goes by stdin only, so that it stands in no argument list and no environment."""
        profile = self._profile
        takes_http = object_of(self._capabilities, "mcpCapabilities").get("http") is True
        if not profile.mcp_url or not (takes_http or self.quirks.takes_http_mcp):
            return []
        headers = [{"name": "Authorization", "value": f"Bearer {profile.mcp_token}"}]
        return [{"type": "http", "name": "nexus", "url": profile.mcp_url, "headers": headers}]

    def _opened(self, result: Frame) -> list[AnyEvent]:
        self._is_loading = False
        self._session = text_of(result, "sessionId") or self._session
        options = self._profile.options
        if mode := options.get("mode"):
            self._to_set.append(("session/set_mode", {"sessionId": self._session, "modeId": mode}))
        if model := options.get("model"):
            self._to_set.append(("session/set_model", {"sessionId": self._session, "modelId": model}))
        self._set_next()
        return [Session(id=self._session, model=options.get("model") or model_of(result))]

    def _set_next(self) -> list[AnyEvent]:
        """Mode and model one after the other, then the prompt that waits."""
        if self._to_set:
            method, params = self._to_set.pop(0)
            self._rpc.later(self._rpc.request(method, params))
            self._is_loading = True
        else:
            self._is_loading = False
            self._prompt_when_ready()
        return []

    def _prompt_when_ready(self) -> None:
        if self._prompt is None or not self._session or self._is_loading or self._to_set:
            return
        given = [{"type": "text", "text": self._prompt}]
        self._prompt = None
        self._rpc.later(self._rpc.request("session/prompt", {"sessionId": self._session, "prompt": given}))

    # The end of a turn

    def _prompted(self, *, error: Frame, result: Frame) -> list[AnyEvent]:
        if not self._is_open:
            return []
        if error:
            return self._failed(error)
        return self._end(self._verdict(result), result=result)

    def _verdict(self, result: Frame) -> Done:
        words, failure = self._output.text, self.quirks.is_failure
        if failure is not None and failure.match(words) and not self._output.has_usage(result):
            return Done(status="error", error_kind=kind_of_words(words) or "unknown", message=words)
        match text_of(result, "stopReason"):
            case "cancelled":
                return Done(status="interrupted")
            case "max_tokens" | "max_turn_requests" as limit:
                return Done(status="limit", message=f"{self.quirks.title} reached a limit ({limit}).")
            case "refusal":
                return Done(status="error", error_kind="model", message="The model refused to answer.")
            case _:
                return Done(status="ok")

    def _failed(self, error: Frame) -> list[AnyEvent]:
        if self._is_interrupting:
            return self._end(Done(status="interrupted"))
        return self._end(Done(status="error", error_kind=kind_of(error), message=words_of(error)))

    def _end(self, done: Done, *, result: Frame | None = None) -> list[AnyEvent]:
        if not self._is_open:
            return []
        self._is_open = False
        return self._output.end(done, result=result or {})
