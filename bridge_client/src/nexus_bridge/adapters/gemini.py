"""Gemini CLI over the Agent Client Protocol (`gemini --acp`). Options as for acp."""

from typing import ClassVar

from nexus_bridge.adapters.acp import AcpAdapter, Quirks


class GeminiAdapter(AcpAdapter):
    """Asks with the permission request alone, tells nothing more of what was refused; both are read in acp_output."""

    kind: ClassVar[str] = "gemini"
    quirks: ClassVar[Quirks] = Quirks(
        title="Gemini",
        program=("gemini",),
        # An untrusted folder ends it with exit code 55; the owner has named this folder in his configuration.
        arguments=("--acp", "--skip-trust"),
        names=("GEMINI_*", "GOOGLE_*"),
        settings={"GEMINI_CLI_NO_RELAUNCH": "true", "GEMINI_TELEMETRY_ENABLED": "false"},
        auth_by_variable={"GEMINI_API_KEY": "gemini-api-key", "GOOGLE_API_KEY": "vertex-ai"},
    )
