"""Codex: its app-server on pipes (one process, many turns, questions), or `codex exec --json` for one turn at a time.

Options: `model`, `sandbox` (read-only), `approval_policy` (on-request), `protocol` = "exec" for the fallback, which
can't ask, and `own_mcp` = "true" to keep the MCP servers of the developer's own configuration in exec.
"""

import json
from collections.abc import Sequence
from typing import ClassVar, Final

from nexus_bridge.adapters import codex_tools
from nexus_bridge.adapters.base import Capabilities, Profile, Spawn, Turn
from nexus_bridge.adapters.codex_exec import CodexExec
from nexus_bridge.adapters.codex_output import CodexOutput, failure
from nexus_bridge.adapters.failures import ended_in_turn
from nexus_bridge.adapters.lines import Frame, JsonLines, object_of, text_of
from nexus_bridge.adapters.prompt_text import break_dollar, break_syntax
from nexus_bridge.adapters.rpc import NOT_FOUND, Rpc
from nexus_bridge.adapters.shells import plain_command
from nexus_bridge.environment import clean_env
from nexus_bridge.events import AnyEvent, Done, Option, Permission, Session

OWN_NAMES: Final = ("CODEX_*", "OPENAI_*", "AZURE_OPENAI_*")
TOKEN_VARIABLE: Final = "NEXUS_TOOLS_TOKEN"  # noqa: S105 - a name
_OPTIONS: Final = [
    Option(id="accept", name="Allow once", kind="allow_once"),
    Option(id="decline", name="Deny", kind="reject_once"),
]


class CodexAdapter:
    """What the app-server says is read by CodexOutput; here is how it is started, asked and answered."""

    kind: ClassVar[str] = "codex"
    capabilities: ClassVar[Capabilities] = Capabilities(
        deltas=True,
        thinking=True,
        permissions=True,
        interrupt=True,
        resume=True,
        mcp_per_session=True,
        steer=True,
    )

    def __init__(self, *, profile: Profile) -> None:
        self._profile = profile
        self._exec = CodexExec(is_resumed=bool(profile.resume_id)) if _is_exec(profile) else None
        self._rpc = Rpc()
        self._lines = JsonLines()
        self._output = CodexOutput()
        self._thread = ""
        self._prompt: str | None = None
        self._questions: dict[str, tuple[object, str]] = {}
        self._is_interrupting = False

    @classmethod
    def version_argv(cls, command: Sequence[str]) -> Sequence[str]:
        return [*(command or ("codex",))[:1], "--version"]

    def spawn(self) -> Spawn:
        profile = self._profile
        command = [*(profile.command or ("codex",))]
        extra = dict(profile.env)
        if self._exec is None:
            argv = [*command, "app-server"]
        else:
            argv = [*command, *_exec_arguments(profile)]
            if profile.mcp_url:
                extra[TOKEN_VARIABLE] = profile.mcp_token
        env = clean_env(inherited=profile.inherited, names=OWN_NAMES, extra=extra)
        return Spawn(argv=argv, env=env, cwd=profile.workdir, close_stdin_after_turn=self._exec is not None)

    def start(self) -> bytes:
        if self._exec is not None:
            return b""
        return self._rpc.request("initialize", {"clientInfo": {"name": "nexus", "title": "Nexus", "version": "1"}})

    def turn(self, turn: Turn) -> bytes:
        text = "\n".join([turn.text, *(f"Attached file: {path}" for path in turn.files)])
        prompt = break_dollar(break_syntax(text))
        if self._exec is not None:
            self._exec.begin()
            return prompt.encode(errors="replace")
        self._output.begin()
        self._questions.clear()
        self._is_interrupting = False
        self._prompt = prompt
        self._prompt_when_ready()
        return self._rpc.take()

    def feed(self, data: bytes) -> list[AnyEvent]:
        if self._exec is not None:
            return self._exec.feed(data)
        said: list[AnyEvent] = []
        for frame in self._lines.feed(data):
            said += self._read(frame)
        return said

    def quiet(self) -> list[AnyEvent]:
        return []

    def outgoing(self) -> bytes:
        return self._rpc.take()

    def answer(self, permission: str, *, allow: bool, note: str) -> bytes:
        """Codex has no field for a reason: a no with one is followed by the words themselves, in the same turn."""
        asked = self._questions.pop(permission, None)
        if asked is None:
            return b""
        request, method = asked
        answered = self._rpc.response(request, _decision(method, allow=allow))
        return answered if allow or not note else answered + self._said(f"The request was denied: {note}")

    def interrupt(self) -> bytes:
        self._is_interrupting = True
        if self._exec is not None:
            self._exec.interrupting()
            return b""
        if not self._output.turn_id:
            return b""
        return self._rpc.request("turn/interrupt", {"threadId": self._thread, "turnId": self._output.turn_id})

    def close(self) -> bytes:
        return b""

    def exited(self, *, code: int, stderr_tail: str) -> list[AnyEvent]:
        if self._exec is not None:
            return self._exec.exited(code=code, stderr_tail=stderr_tail)
        said = [event for frame in self._lines.finish() for event in self._read(frame)]
        if not self._output.is_open:
            return said
        words = stderr_tail.strip() or self._lines.last_noise
        is_asked = self._is_interrupting
        return [*said, *self._output.end(ended_in_turn("Codex", code=code, words=words, is_asked=is_asked))]

    @property
    def noise(self) -> int:
        return self._lines.unread if self._exec is None else self._exec.noise

    @property
    def unknown(self) -> dict[str, int]:
        return dict(self._output.unknown if self._exec is None else self._exec.unknown)

    # Frames

    def _read(self, frame: Frame) -> list[AnyEvent]:
        method, params = text_of(frame, "method"), object_of(frame, "params")
        if not method:
            if asked := self._rpc.answered(frame):
                return self._answered(asked, frame)
            self._output.unknown[self._rpc.stray(frame)] += 1
            return []
        if "id" in frame:
            return self._asked(frame, method=method, params=params)
        thread = text_of(params, "threadId")
        if thread and thread != self._thread:
            return []  # a subagent's own thread
        if method == "turn/started":
            self._output.turn_id = text_of(params, "turn", "id")
        return self._output.notification(method, params) if self._output.is_open else []

    def _answered(self, asked: str, frame: Frame) -> list[AnyEvent]:
        error, result = object_of(frame, "error"), object_of(frame, "result")
        if error:
            return self._refused(asked, error)
        match asked:
            case "initialize":
                self._rpc.later(self._rpc.notification("initialized"))
                self._open_thread()
            case "thread/start" | "thread/resume":
                self._thread = text_of(result, "thread", "id")
                self._prompt_when_ready()
                return [Session(id=self._thread, model=text_of(result, "model") or text_of(result, "thread", "model"))]
            case "turn/start":
                self._output.turn_id = text_of(result, "turn", "id")
        return []

    def _refused(self, asked: str, error: Frame) -> list[AnyEvent]:
        words = text_of(error, "message")
        match asked:
            case "turn/interrupt" | "turn/steer":
                return []
            case "thread/resume":
                return self._output.end(Done(status="error", error_kind="session", message=words))
            case _:
                return self._output.end(failure(error))

    def _open_thread(self) -> None:
        profile, options = self._profile, self._profile.options
        given: Frame = {
            "cwd": str(profile.workdir),
            "approvalPolicy": options.get("approval_policy", "on-request"),
            "approvalsReviewer": "user",
            "sandbox": options.get("sandbox", "read-only"),
        }
        if model := options.get("model"):
            given["model"] = model
        if profile.persona:
            given["developerInstructions"] = profile.persona
        if profile.mcp_url:
            # By stdin, so that the tools token stands in no argument list and no environment.
            headers = {"Authorization": f"Bearer {profile.mcp_token}"}
            server = {"url": profile.mcp_url, "http_headers": headers, "default_tools_approval_mode": "approve"}
            given["config"] = {"mcp_servers": {"nexus": server}}
        if profile.resume_id:
            self._rpc.later(self._rpc.request("thread/resume", {"threadId": profile.resume_id, **given}))
        else:
            self._rpc.later(self._rpc.request("thread/start", given))

    def _prompt_when_ready(self) -> None:
        if self._prompt is None or not self._thread:
            return
        given = {"threadId": self._thread, "input": [{"type": "text", "text": self._prompt}]}
        self._prompt = None
        self._rpc.later(self._rpc.request("turn/start", given))

    def steer(self, text: str) -> bytes:
        return self._said(text)

    def _said(self, words: str) -> bytes:
        if not self._output.turn_id:
            return b""
        given = [{"type": "text", "text": break_dollar(break_syntax(words))}]
        turn = self._output.turn_id
        return self._rpc.request("turn/steer", {"threadId": self._thread, "expectedTurnId": turn, "input": given})

    # Questions

    def _asked(self, frame: Frame, *, method: str, params: Frame) -> list[AnyEvent]:
        request, identity = frame.get("id"), str(frame.get("id"))
        question = self._question(identity, method=method, params=params)
        if question is None or not self._output.is_open:
            self._refuse(request, method=method)
            return []
        self._questions[identity] = (request, method)
        return [question]

    def _question(self, identity: str, *, method: str, params: Frame) -> Permission | None:
        item = self._output.items.get(text_of(params, "itemId"), {})
        match method:
            case "item/commandExecution/requestApproval":
                command = plain_command(text_of(params, "command") or text_of(item, "command"))
                found = {"name": "shell", "tool": "execute", "title": command, "detail": command}
            case "item/fileChange/requestApproval":
                detail = codex_tools.detail_of(item) if item else text_of(params, "reason")
                found = {"name": "edit", "tool": "edit", "title": text_of(params, "reason"), "detail": detail}
            case "mcpServer/elicitation/request" if text_of(params, "_meta", "codex_approval_kind") == "mcp_tool_call":
                name = f"mcp__{text_of(params, 'serverName')}__{text_of(params, '_meta', 'tool_name')}"
                detail = codex_tools.shown(object_of(params, "_meta", "tool_params"))
                found = {"name": name, "tool": "mcp", "title": text_of(params, "message"), "detail": detail}
            case _:
                return None
        paths = codex_tools.paths_of(item)
        call = text_of(params, "itemId")
        return Permission(id=identity, tool_call=call, paths=paths, options=_OPTIONS, **found)

    def _refuse(self, request: object, *, method: str) -> None:
        """Questions no room can answer: declined where there is a form for it, else an error."""
        self._output.unknown[f"asks {method[:60]}"] += 1
        match method:
            case "mcpServer/elicitation/request":
                self._rpc.later(self._rpc.response(request, {"action": "decline", "content": {}}))
            case "item/tool/requestUserInput":
                self._rpc.later(self._rpc.response(request, {"answers": {}}))
            case "item/commandExecution/requestApproval" | "item/fileChange/requestApproval":
                self._rpc.later(self._rpc.response(request, {"decision": "decline"}))
            case _:
                self._rpc.later(self._rpc.refusal(request, code=NOT_FOUND, message="Not supported here."))


def _decision(method: str, *, allow: bool) -> Frame:
    if method == "mcpServer/elicitation/request":
        return {"action": "accept" if allow else "decline", "content": {}}
    return {"decision": "accept" if allow else "decline"}


def _is_exec(profile: Profile) -> bool:
    return profile.options.get("protocol") == "exec"


def _exec_arguments(profile: Profile) -> list[str]:
    options = profile.options
    argv = ["exec", "--json", "--skip-git-repo-check", "--sandbox", options.get("sandbox", "read-only")]
    if model := options.get("model"):
        argv += ["--model", model]
    if profile.persona:
        argv += ["-c", f"developer_instructions={json.dumps(profile.persona)}"]
    if profile.mcp_url:
        nexus = "mcp_servers.nexus"
        argv += ["-c", f"{nexus}.url={json.dumps(profile.mcp_url)}"]
        argv += ["-c", f'{nexus}.bearer_token_env_var="{TOKEN_VARIABLE}"']
        argv += ["-c", f'{nexus}.default_tools_approval_mode="approve"']
    return [*argv, "resume", profile.resume_id, "-"] if profile.resume_id else [*argv, "-"]
