"""The secrets of upstream servers: lines NAME=value in one private file of the host. Values go in, and out only to their server."""

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from gateway import audit
from gateway.mcp.definitions import McpError, is_secret_name

MAX_VALUE: Final = 8_000


class BadSecretError(McpError):
    """A name or a value that can't stand in the file."""


class NoSuchSecretError(McpError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no secret {name}")


class MissingSecretError(McpError):
    def __init__(self, name: str, *, path: Path) -> None:
        super().__init__(f"the secret {name} is not in {path}; give it under MCP secrets, or add a line {name}=…")


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


def names() -> list[str]:
    """Which secrets are there; never what they are. Raises McpError."""
    return sorted(_read())


def keep(*, name: str, value: str, actor: str) -> None:
    """Write a secret, or another value for it. Raises McpError."""
    if not is_secret_name(name):
        raise BadSecretError("a secret's name is made of letters, digits and underscores, and starts with no digit")
    if not 0 < len(value) <= MAX_VALUE or value != value.strip() or not value.isprintable():
        raise BadSecretError(f"a secret is one line of 1 to {MAX_VALUE:,} characters without blanks around it")
    with _changing() as lines:
        lines[:] = [*(line for line in lines if _name_in(line) != name), f"{name}={value}"]
    audit.record(actor=actor, action="mcp_secret_set", target=name)


def drop(*, name: str, actor: str) -> None:
    """Raises McpError."""
    with _changing() as lines:
        if name not in map(_name_in, lines):
            raise NoSuchSecretError(name)
        lines[:] = [line for line in lines if _name_in(line) != name]
    audit.record(actor=actor, action="mcp_secret_removed", target=name)


@contextmanager
def _changing() -> Iterator[list[str]]:
    """The file's lines, written back whole when they were changed without an error; one writer at a time."""
    path = _path()
    turn = path.with_name(f"{path.name}.lock")
    try:
        with turn.open("a", encoding="utf-8") as lock:
            turn.chmod(0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            lines = _lines()
            yield lines
            _write(path, lines)
    except OSError as error:
        raise McpError(f"{path} can't be written: {error.strerror}; the host's operator adds the line") from error


def _write(path: Path, lines: list[str]) -> None:
    """Beside it and then in its place, so that a reader finds one version or the other."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write("".join(f"{line}\n" for line in lines))
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)


def _path() -> Path:
    return Path(settings.NEXUS_MCP_SECRETS or Path(settings.NEXUS_STATE_DIR) / "mcp-secrets.env")


def _read() -> dict[str, str]:
    pairs = ((_name_in(line), line.partition("=")[2].strip()) for line in _lines())
    return {name: value for name, value in pairs if name}


def _name_in(line: str) -> str:
    """What a line is about; empty for comments and for what is no line of ours."""
    return "" if "=" not in line or line.lstrip().startswith("#") else line.partition("=")[0].strip()


def _lines() -> list[str]:
    path = _path()
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise McpError(f"{path} can be read by others; run: chmod 600 {path}")
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise McpError(f"{path} can't be read: {error.strerror}") from error
