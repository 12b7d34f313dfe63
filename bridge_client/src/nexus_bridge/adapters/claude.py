"""Claude Code on its duplex JSON stream: one process, many turns, permission questions and interrupts in between.

Options: `model`, `permission_mode`, `allowed_tools`, `disallowed_tools`, and `own_mcp` = "true" to let in the MCP
servers of the developer's own configuration as well. Anything else belongs into `command`, after the program.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from nexus_bridge.adapters.base import Capabilities, Profile, Spawn, Turn
from nexus_bridge.adapters.claude_output import ClaudeOutput
from nexus_bridge.adapters.prompt_text import break_syntax
from nexus_bridge.environment import clean_env
from nexus_bridge.events import AnyEvent

OWN_NAMES: Final = (
    *("ANTHROPIC_*", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN"),
    *("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "AWS_REGION", "AWS_PROFILE", "CLOUD_ML_REGION"),
)
"""Where its own login comes from. All other CLAUDE_CODE_* stay out: a CLI inside a CLI behaves differently."""

SETTINGS: Final = {
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "3",  # its default of 10 keeps a room waiting for three minutes
    "ENABLE_TOOL_SEARCH": "false",  # otherwise the model has to search for our tools before it knows them
}


class ClaudeAdapter:
    """What Claude says is read by ClaudeOutput; here is how it is started and spoken to."""

    kind: ClassVar[str] = "claude"
    capabilities: ClassVar[Capabilities] = Capabilities(
        deltas=True,
        thinking=True,
        permissions=True,
        interrupt=True,
        resume=True,
        mcp_per_session=True,
        cost=True,
        steer=True,
    )

    def __init__(self, *, profile: Profile) -> None:
        self._profile = profile
        self._output = ClaudeOutput(is_resumed=bool(profile.resume_id))
        self._frames = 0

    @classmethod
    def version_argv(cls, command: Sequence[str]) -> Sequence[str]:
        return [*(command or ("claude",))[:1], "--version"]

    def spawn(self) -> Spawn:
        profile = self._profile
        files: dict[str, str] = {}
        argv = [*(profile.command or ("claude",)), *_DUPLEX, *_options(profile)]
        if profile.persona:
            files["persona.txt"] = profile.persona
            argv += ["--append-system-prompt-file", "{files}/persona.txt"]
        if profile.mcp_url:
            files["mcp.json"] = _mcp_config(profile)
            argv += ["--mcp-config", "{files}/mcp.json", "--allowedTools", "mcp__nexus"]
        if profile.resume_id:
            argv += ["--resume", profile.resume_id]
        env = clean_env(inherited=profile.inherited, names=OWN_NAMES, extra={**SETTINGS, **profile.env})
        return Spawn(argv=argv, env=env, cwd=profile.workdir, files=files)

    def start(self) -> bytes:
        return b""

    def turn(self, turn: Turn) -> bytes:
        self._output.begin()
        text = "\n".join([turn.text, *(f"Attached file: {path}" for path in turn.files)])
        return _user(text)

    def steer(self, text: str) -> bytes:
        """Claude takes it up as a turn of its own behind the running one; for the room they are one."""
        self._output.steered()
        return _user(text)

    def feed(self, data: bytes) -> list[AnyEvent]:
        return self._output.feed(data)

    def quiet(self) -> list[AnyEvent]:
        return []

    def outgoing(self) -> bytes:
        """Answers to questions that only a terminal could take, and the end of a turn that has no hope."""
        frames = b"".join(
            _line({"type": "control_response", "response": {"subtype": "error", "request_id": request, "error": why}})
            for request, why in self._output.take_unanswerable()
        )
        return frames + (self.interrupt() if self._output.take_hopeless() else b"")

    def answer(self, permission: str, *, allow: bool, note: str) -> bytes:
        asked = self._output.take_question(permission, is_allowed=allow)
        if asked is None:
            return b""
        decision: dict[str, Any] = {"behavior": "allow", "updatedInput": asked}
        if not allow:
            decision = {"behavior": "deny", "message": note or "The people in the room said no."}
        response = {"subtype": "success", "request_id": permission, "response": decision}
        return _line({"type": "control_response", "response": response})

    def interrupt(self) -> bytes:
        self._output.interrupting()
        self._frames += 1
        request = {"subtype": "interrupt"}
        return _line({"type": "control_request", "request_id": f"nexus-{self._frames}", "request": request})

    def close(self) -> bytes:
        return b""

    def exited(self, *, code: int, stderr_tail: str) -> list[AnyEvent]:
        return self._output.exited(code=code, stderr_tail=stderr_tail)

    @property
    def noise(self) -> int:
        return self._output.noise

    @property
    def unknown(self) -> Mapping[str, int]:
        return self._output.unknown


_DUPLEX: Final = (
    "-p",
    *("--input-format", "stream-json"),
    *("--output-format", "stream-json"),
    "--verbose",
    "--include-partial-messages",
    *("--permission-prompt-tool", "stdio"),
)


def _options(profile: Profile) -> list[str]:
    options = profile.options
    # The question tool wants a form filled in, which a room can't; asking in plain words works.
    disallowed = " ".join(filter(None, ["AskUserQuestion", options.get("disallowed_tools", "")]))
    argv = ["--disallowedTools", disallowed]
    if allowed := options.get("allowed_tools"):
        argv += ["--allowedTools", allowed]
    if model := options.get("model"):
        argv += ["--model", model]
    if mode := options.get("permission_mode"):
        argv += ["--permission-mode", mode]
    if options.get("own_mcp") != "true":
        argv.append("--strict-mcp-config")
    return argv


def _mcp_config(profile: Profile) -> str:
    """A file of its own, so that the tools token stands in no argument list and no environment."""
    server = {
        "type": "http",
        "url": profile.mcp_url,
        "headers": {"Authorization": f"Bearer {profile.mcp_token}"},
    }
    return json.dumps({"mcpServers": {"nexus": server}})


def _user(text: str) -> bytes:
    message = {"role": "user", "content": [{"type": "text", "text": break_syntax(text)}]}
    return _line({"type": "user", "message": message, "parent_tool_use_id": None, "session_id": ""})


def _line(frame: object) -> bytes:
    return msgspec.json.encode(frame) + b"\n"
