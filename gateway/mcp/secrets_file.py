"""The secrets of upstream servers: lines NAME=value in one private file of the host; nothing of it is ever stored or sent on."""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from gateway.mcp.definitions import McpError


class MissingSecretError(McpError):
    def __init__(self, name: str, *, path: Path) -> None:
        super().__init__(f"the secret {name} is not in {path}; the host's operator adds a line {name}=…")


def resolved(values: Mapping[str, Any]) -> dict[str, str]:
    """Texts as they are, references by the file. Raises MissingSecretError, McpError."""
    secrets: dict[str, str] | None = None
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, str):
            found[name] = value
            continue
        secrets = _read() if secrets is None else secrets
        wanted = str(value["secret"])
        if wanted not in secrets:
            raise MissingSecretError(wanted, path=_path())
        found[name] = secrets[wanted]
    return found


def _path() -> Path:
    return Path(settings.NEXUS_MCP_SECRETS or Path(settings.NEXUS_STATE_DIR) / "mcp-secrets.env")


def _read() -> dict[str, str]:
    path = _path()
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise McpError(f"{path} can be read by others; run: chmod 600 {path}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise McpError(f"{path} can't be read: {error.strerror}") from error
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
