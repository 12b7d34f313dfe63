"""Writes bridge.toml, private from its first byte; never over one that is there."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nexus_bridge.errors import ConfigError


@dataclass(frozen=True, slots=True)
class NewAgent:
    slug: str
    cli: str
    workdir: Path
    command: Sequence[str] = ()
    parallel: int = 1


def text_of(*, hub: str, token: str, agents: Sequence[NewAgent], is_insecure_lan: bool = False) -> str:
    """TOML reads JSON's strings and lists of strings as its own."""
    lines = [f"hub = {json.dumps(hub)}", f"token = {json.dumps(token)}"]
    if is_insecure_lan:
        lines.append("insecure_lan = true")
    for agent in agents:
        lines += ["", "[[agent]]", f"slug = {json.dumps(agent.slug)}", f"cli = {json.dumps(agent.cli)}"]
        if agent.command:
            lines.append(f"command = {json.dumps(list(agent.command))}")
        lines.append(f"workdir = {json.dumps(str(agent.workdir))}")
        if agent.parallel > 1:
            lines.append(f"parallel = {agent.parallel}")
    lines += [
        "",
        "[policy]",
        "# What your CLIs may do without anybody being asked; `nexus-bridge policy test` tries it out.",
    ]
    lines += ['default = "ask"', "deny = []", "local = []", "allow = []", ""]
    return "\n".join(lines)


def claim(path: Path) -> None:
    """Make sure that the file can be written, before a one-shot code is used for it. Raises ConfigError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError as error:
        raise ConfigError(
            [
                f"{path}: is there already; move it away, or name another with --config, so that nothing of yours is lost"
            ]
        ) from error
    except OSError as error:
        raise ConfigError([f"{path}: can't be written: {error.strerror}"]) from error


def write(path: Path, text: str) -> None:
    """Into the file that `claim` made. Raises ConfigError."""
    try:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
    except OSError as error:
        raise ConfigError([f"{path}: can't be written: {error.strerror}"]) from error


def give_back(path: Path) -> None:
    """What `claim` made and nobody wrote."""
    if path.exists() and path.stat().st_size == 0:
        path.unlink()
