"""`nexus-bridge doctor`: what is wrong or soon will be, each with its cure. Changes nothing. Exit 0 good, 1 warnings, 2 broken."""

import asyncio
import email.utils
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from nexus_bridge import config, service
from nexus_bridge.bridge import cli_version
from nexus_bridge.check import journal_state
from nexus_bridge.errors import BridgeError, ConfigError
from nexus_bridge.hub_http import check_health, check_token, date_of
from nexus_bridge.settings import Agent, Config

Say = Callable[[str], None]
LEAST_FREE_MIB: Final = 200
MOST_SKEW_S: Final = 300.0
TESTED: Final[Mapping[str, str]] = {
    "claude": "2.1",
    "codex": "0.169",
    "gemini": "0.61",
    "hermes": "0.19",
    "opencode": "1.18",
}
"""What the recordings and the tests with real CLIs are of; another version mostly works."""


class Report:
    """Lines with their grade; the worst is the exit code."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.code = 0

    def good(self, text: str) -> None:
        self._say(f"ok     {text}")

    def warn(self, text: str) -> None:
        self.code = max(self.code, 1)
        self._say(f"warn   {text}")

    def bad(self, text: str) -> None:
        self.code = 2
        self._say(f"FAIL   {text}")


async def doctor(*, path: Path, env: Mapping[str, str], say: Say) -> int:
    report = Report(say)
    _system(report)
    try:
        found = config.load(path=path, env=env)
    except ConfigError as error:
        for problem in error.problems:
            report.bad(problem)
        return report.code
    report.good(f"configuration {path}")
    for agent in found.agents:
        await _agent(agent, report=report)
    _journal(found, report=report)
    await _hub(found, report=report)
    _service(path, env=env, report=report)
    return report.code


def _system(report: Report) -> None:
    report.good(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    if sys.platform == "win32":
        report.warn("on Windows only CLIs on pipes work, and a CLI's own children may outlive a stop")
    elif sys.platform != "linux":
        report.warn(
            "without Linux there is no subreaper: what a CLI starts in a session of its own is not ended with it"
        )


async def _agent(agent: Agent, *, report: Report) -> None:
    version = await cli_version(agent=agent)
    if not version and agent.cli not in {"acp", "pty"}:
        report.bad(f"{agent.slug}: {' '.join(agent.command) or agent.cli} did not tell its version; does it start?")
        return
    tested = TESTED.get(agent.cli, "")
    if tested and tested not in version:
        report.warn(f"{agent.slug}: {agent.cli} {version} is not the version this bridge was tested with ({tested})")
    else:
        report.good(f"{agent.slug}: {agent.cli} {version}".rstrip())
    if agent.rules.default == "allow":
        report.warn(f"{agent.slug}: policy default is allow, so its tools run without anybody being asked")
    if agent.parallel > 1:
        report.warn(
            f"{agent.slug}: {agent.parallel} runs share one working directory and may step on each other's files"
        )


def _journal(found: Config, *, report: Report) -> None:
    state = journal_state(found.journal)
    if state.startswith("can't"):
        report.bad(f"journal {found.journal}: {state}")
        return
    report.good(f"journal {found.journal}: {state}")
    parent = next(one for one in (found.journal, *found.journal.parents) if one.exists())
    free = shutil.disk_usage(parent).free // 1024 // 1024
    if free < LEAST_FREE_MIB:
        report.warn(f"only {free} MiB are free where the journal is; without room no prompt is taken")


async def _hub(found: Config, *, report: Report) -> None:
    try:
        await asyncio.to_thread(check_health, hub=found.hub)
        report.good(f"hub {found.hub.url} is up")
        checked = await asyncio.to_thread(check_token, hub=found.hub, token=found.token)
    except BridgeError as error:
        report.bad(str(error))
        return
    report.good(f"bridge token: {checked.bridge} of {checked.owner}")
    ours, theirs = {agent.slug for agent in found.agents}, set(checked.agents)
    for slug in sorted(ours - theirs):
        report.bad(f"{slug}: the hub does not know it for this bridge; create_bridge makes one")
    for slug in sorted(theirs - ours):
        report.warn(f"{slug}: the hub has it for this bridge, the configuration has not")
    if found.hub.url.startswith("ws://") and "127.0.0.1" not in found.hub.url and "localhost" not in found.hub.url:
        report.warn("the bridge token goes through your network in clear (insecure_lan); use wss://")
    if (skew := skew_s(await asyncio.to_thread(date_of, hub=found.hub), now=time.time())) > MOST_SKEW_S:
        report.warn(
            f"this machine's clock is {skew / 60:.0f} minutes off the hub's; certificates and logs will not match"
        )


def skew_s(date: str, *, now: float) -> float:
    """How far a Date header is from this clock; 0 when it says nothing."""
    try:
        return abs(email.utils.parsedate_to_datetime(date).timestamp() - now)
    except (TypeError, ValueError):
        return 0.0


def _service(path: Path, *, env: Mapping[str, str], report: Report) -> None:
    try:
        found = service.unit(platform=sys.platform, home=Path.home(), config=path, env=env)
    except BridgeError as error:
        report.warn(str(error))
        return
    if found.path.exists():
        report.good(f"service {found.path}")
    else:
        report.good("no service; `nexus-bridge service install` starts the bridge at login")
