"""`nexus-bridge service`: starts the bridge at login, by systemd's user manager or by launchd. Nothing needs root."""

import plistlib
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nexus_bridge.errors import BridgeError, ConfigError

LABEL: Final = "org.nexus.bridge"
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


class NoServiceError(BridgeError):
    """This system has neither."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The file that tells the system, and the lines that make it known there."""

    path: Path
    text: str
    start: tuple[str, ...]
    stop: tuple[str, ...]


def unit(*, platform: str, home: Path, config: Path, env: Mapping[str, str], python: str = sys.executable) -> Unit:
    """Raises NoServiceError."""
    argv = [python, "-m", "nexus_bridge", "run", "--config", str(config)]
    kept = {name: env[name] for name in _KEPT if name in env}
    if platform.startswith("linux"):
        return _systemd(home=home, argv=argv, kept=kept)
    if platform == "darwin":
        return _launchd(home=home, argv=argv, kept=kept)
    raise NoServiceError(
        f"there is no service for {platform}: on Windows only CLIs on pipes work, and the bridge runs as long as its "
        "window is open (`nexus-bridge run`)"
    )


def install(found: Unit, *, say: Callable[[str], None]) -> None:
    try:
        found.path.parent.mkdir(parents=True, exist_ok=True)
        found.path.write_text(found.text, encoding="utf-8")
        found.path.chmod(0o600)
    except OSError as error:
        raise ConfigError([f"{found.path}: can't be written: {error.strerror}"]) from error
    say(f"Written: {found.path}")
    say("Start it, now and at each login:")
    for line in found.start:
        say(f"  {line}")


def remove(found: Unit, *, say: Callable[[str], None]) -> None:
    found.path.unlink(missing_ok=True)
    say(f"Removed: {found.path}. Stop what still runs:")
    for line in found.stop:
        say(f"  {line}")


def _systemd(*, home: Path, argv: list[str], kept: Mapping[str, str]) -> Unit:
    variables = "\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in kept.items())
    text = f"""[Unit]
Description=Nexus bridge: connects the agent CLIs of this machine
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={" ".join(_quoted(part) for part in argv)}
{variables}
Restart=on-failure
RestartSec=5
# Refused credentials, a wrong configuration, another bridge with this token: another start changes nothing.
RestartPreventExitStatus=75 76 77 78
# The guards of the CLIs end their trees by themselves when the bridge is told to stop.
KillMode=mixed
TimeoutStopSec=40

[Install]
WantedBy=default.target
"""
    path = home / ".config" / "systemd" / "user" / "nexus-bridge.service"
    start = (
        "systemctl --user daemon-reload",
        "systemctl --user enable --now nexus-bridge",
        "loginctl enable-linger   # optional: also while you are logged out",
    )
    return Unit(path=path, text=text, start=start, stop=("systemctl --user disable --now nexus-bridge",))


def _launchd(*, home: Path, argv: list[str], kept: Mapping[str, str]) -> Unit:
    path = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    log = str(home / "Library" / "Logs" / "nexus-bridge.log")
    given = {
        "Label": LABEL,
        "ProgramArguments": argv,
        "EnvironmentVariables": dict(kept),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    quoted = shlex.quote(str(path))
    return Unit(
        path=path,
        text=plistlib.dumps(given).decode(),
        start=(f"launchctl bootstrap gui/$(id -u) {quoted}",),
        stop=(f"launchctl bootout gui/$(id -u)/{LABEL}",),
    )


def _quoted(text: str) -> str:
    """As systemd reads it: % and $ are its own signs."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
