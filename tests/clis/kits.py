"""Each real CLI: where it comes from, how it is pointed at the fake model API, and what makes it use or ask for a tool."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Kit:
    """`read` uses a tool that needs nobody's leave, `touch` one that asks first; both are directives of the fake API.

    `holes`: cases that can't hold, each with its reason; docs/adapters.md says them too.
    """

    kind: str
    program: str
    npm: str = ""
    pypi: str = ""
    read: str = ""
    touch: str = ""
    hub_names: str = "mcp__nexus__{name}"
    options: Mapping[str, str] = field(default_factory=dict)
    holes: Mapping[str, str] = field(default_factory=dict)

    def hub_tool(self, name: str) -> str:
        """What the model calls a tool of the hub by."""
        return self.hub_names.format(name=name)

    def env(self, *, url: str, home: Path) -> dict[str, str]:
        return _ENVIRONMENTS[self.kind](url, home)


def _claude(url: str, home: Path) -> dict[str, str]:
    return {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "fake-key"}


def _codex(url: str, home: Path) -> dict[str, str]:
    _write(
        home / ".codex" / "config.toml",
        f"""model = "gpt-5.1-codex"
model_provider = "fake"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.fake]
name = "fake"
base_url = "{url}/v1"
env_key = "FAKE_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
""",
    )
    return {"FAKE_KEY": "fake"}


def _gemini(url: str, home: Path) -> dict[str, str]:
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"enableAutoUpdate": False},
        "telemetry": {"enabled": False},
    }
    _write(home / ".gemini" / "settings.json", json.dumps(settings))
    return {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": "fake-key"}


def _hermes(url: str, home: Path) -> dict[str, str]:
    _write(
        home / ".hermes" / "config.yaml",
        f'model: {{default: fake-model, provider: custom, base_url: "{url}/v1", api_key: fake, context_length: 128000}}\n',
    )
    return {}


def _opencode(url: str, home: Path) -> dict[str, str]:
    # It tells the cost of models whose price and size it knows.
    model = {"name": "fake-model", "cost": {"input": 3, "output": 15}, "limit": {"context": 128000, "output": 8192}}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{url}/v1", "apiKey": "fake"},
        "models": {"fake-model": model},
    }
    config = {"provider": {"fake": provider}, "model": "fake/fake-model", "autoupdate": False, "share": "disabled"}
    _write(home / "oc.json", json.dumps(config))
    return {
        "OPENCODE_CONFIG": str(home / "oc.json"),
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    }


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def tool(name: str, **given: object) -> str:
    return f"[[tool {name} {json.dumps(given)}]]"


_ENVIRONMENTS = {"claude": _claude, "codex": _codex, "gemini": _gemini, "hermes": _hermes, "opencode": _opencode}

GEMINI_FORGETS = "0.61 does not find its own sessions again (session/load); it starts afresh and the room is told so"
HERMES_ANSWERS = "it tells the failure as its answer, in words of its own, and ends the turn as if all were well"
NO_COST = "its protocol tells no cost"
NO_FIELD = "the Agent Client Protocol has no field for the reason of a no"

KITS: Sequence[Kit] = (
    Kit(
        kind="claude",
        program="claude",
        npm="@anthropic-ai/claude-code",
        read=tool("Read", file_path="NOTES"),
        touch=tool("Bash", command="touch made.txt", description="make it"),
        options={"model": "claude-sonnet-4-5"},
    ),
    Kit(
        kind="codex",
        holes={"cost": NO_COST},
        program="codex",
        hub_names="mcp__nexus::{name}",
        npm="@openai/codex",
        read=tool("exec_command", cmd="cat notes.txt"),
        touch=tool(
            "exec_command", cmd="touch made.txt", sandbox_permissions="require_escalated", justification="make it"
        ),
    ),
    Kit(
        kind="gemini",
        holes={
            "cost": NO_COST,
            "reason_of_a_no_reaches_the_model": NO_FIELD,
            "error_429": "it tries again by itself for minutes and says nothing; the idle limit ends that",
            "broken_stream": "it ends a turn whose stream broke as if it were complete, with what had come",
            "resume_after_the_process_was_killed": GEMINI_FORGETS,
            "resume_after_the_bridge_was_killed": GEMINI_FORGETS,
        },
        program="gemini",
        npm="@google/gemini-cli",
        read=tool("read_file", file_path="notes.txt"),
        touch=tool("run_shell_command", command="touch made.txt", description="make it"),
        hub_names="mcp_nexus_{name}",
        options={"model": "gemini-2.5-flash"},
    ),
    Kit(
        kind="hermes",
        holes={
            "cost": NO_COST,
            "reason_of_a_no_reaches_the_model": NO_FIELD,
            "error_429": HERMES_ANSWERS,
            "broken_stream": HERMES_ANSWERS,
        },
        program="hermes",
        pypi="hermes-agent[acp,mcp]",
        read=tool("terminal", command="cat notes.txt"),
        touch=tool("write_file", path="made.txt", content="x"),
    ),
    Kit(
        kind="opencode",
        holes={
            "reason_of_a_no_reaches_the_model": NO_FIELD,
            "broken_stream": "it asks the model again at once, without end and without a word; the idle limit ends that",
        },
        program="opencode",
        npm="opencode-ai",
        read=tool("read", filePath="NOTES"),
        touch=tool("bash", command="touch made.txt", description="make it"),
        hub_names="nexus_{name}",
    ),
)
