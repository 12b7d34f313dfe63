"""`nexus-bridge check`: is everything there, does the hub know us, and what could the hub alone make happen?"""

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from nexus_bridge.bridge import cli_version
from nexus_bridge.errors import BridgeError
from nexus_bridge.hub_http import Checked, check_health, check_token
from nexus_bridge.settings import Agent, Config
from nexus_bridge.view import printable

Say = Callable[[str], None]


async def check(*, config: Config, say: Say) -> int:
    """Returns the exit code; never connects as a bridge, which would take over from one that runs."""
    say(f"configuration  {config.path}: good")
    say(f"journal        {config.journal}: {journal_state(config.journal)}")
    for agent in config.agents:
        await _check_agent(agent, say=say)
    code = await _check_hub(config, say=say)
    say("")
    say("What the hub alone could make happen here, whoever runs it:")
    for agent in config.agents:
        for line in powers(agent):
            say(f"  {agent.slug}: {line}")
    return code


def powers(agent: Agent) -> list[str]:
    """In plain words. Asker, room and decisions are the hub's word; only the rules of this file are the owner's."""
    rules, audience = agent.rules, agent.audience
    command = " ".join(agent.command) or agent.cli
    lines = [f"give any prompt to `{command}` in {agent.workdir}, {agent.parallel} at a time"]
    if audience.callers or audience.rooms:
        lines.append(
            "claim that a prompt comes from a person or room you allow: it names them, this bridge believes it"
        )
    granted = ", ".join(rules.allow)
    if rules.default == "allow":
        lines.append("let it use every tool that no rule names, without anybody being asked (policy default is allow)")
    if granted:
        lines.append(f"let it use without anybody being asked: {granted}")
    if rules.default == "ask" or rules.ask:
        lines.append(f"answer in a person's place when it asks for {_asked(agent)}")
    held = [f"denied: {', '.join(rules.deny)}"] if rules.deny else []
    held += [f"asked at this terminal: {', '.join(rules.local)}"] if rules.local else []
    if rules.default in {"deny", "local"}:
        held.append("every other tool is " + ("denied" if rules.default == "deny" else "asked at this terminal"))
    lines.append(
        "not change: " + ("; ".join(held) or "nothing; add deny or local rules to [policy] for what must hold")
    )
    lines.append("it can not touch: its command, directory and environment, which only this file sets")
    return lines


def _asked(agent: Agent) -> str:
    rules = agent.rules
    named = ", ".join(rules.ask)
    if rules.default != "ask":
        return named
    return f"{named} and every tool that no rule names" if named else "a tool that no rule names"


async def _check_agent(agent: Agent, *, say: Say) -> None:
    version = await cli_version(agent=agent)
    said = version or "did not tell its version; does it start?"
    say(f"agent          {agent.slug}: {agent.cli}, {said}, in {agent.workdir}")


async def _check_hub(config: Config, *, say: Say) -> int:
    try:
        await asyncio.to_thread(check_health, hub=config.hub)
        say(f"hub            {config.hub.url}: up")
        checked = await asyncio.to_thread(check_token, hub=config.hub, token=config.token)
    except BridgeError as error:
        say(f"hub            {error}")
        return error.exit_code
    say(f"bridge token   good: bridge {printable(checked.bridge)} of {printable(checked.owner)}")
    return 1 if _report_mismatch(config, checked, say=say) else 0


def _report_mismatch(config: Config, checked: Checked, *, say: Say) -> bool:
    ours, theirs = {agent.slug for agent in config.agents}, set(checked.agents)
    for slug in sorted(ours - theirs):
        say(f"agent          {slug}: the hub does not know it for this bridge; create_bridge makes one")
    for slug in sorted(theirs - ours):
        say(f"agent          {printable(slug)}: the hub has it for this bridge, the configuration has not")
    return bool(ours - theirs)


def journal_state(directory: Path) -> str:
    """Without touching it: a bridge may be running."""
    lock = directory / "lock"
    try:
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return f"in use, nexus-bridge runs as pid {file.read(32).decode(errors='replace').strip()}"
    except FileNotFoundError:
        parent = next(one for one in (directory, *directory.parents) if one.exists())
        return "not there yet" if os.access(parent, os.W_OK) else f"can't be made below {parent}; name another"
    except OSError as error:
        return f"can't be used: {error.strerror}"
    return "free"
