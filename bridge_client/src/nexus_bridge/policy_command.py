"""`nexus-bridge policy test`: which rule fires for this tool, this person, this room, this hour?"""

import argparse
from collections.abc import Callable

from nexus_bridge import policy
from nexus_bridge.errors import ConfigError
from nexus_bridge.questions import resolved
from nexus_bridge.settings import Agent, Config

_MEANS = {
    "deny": "denied, whoever says yes",
    "local": "asked at this machine's terminal",
    "ask": "asked in the room",
    "allow": "allowed without anybody being asked",
}


def policy_test(*, config: Config, arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """0 when it would be allowed or asked, 1 when it would be denied or the question not be taken at all."""
    agent = _agent(config, arguments.agent)
    if arguments.asker or arguments.room:
        refused = _refusal(agent, asker=arguments.asker, room=arguments.room)
        if refused:
            say(f"refused: {refused}")
            return 1
    act = policy.Act(
        tool=arguments.tool,
        detail=arguments.detail,
        kind=arguments.kind,
        paths=[resolved(path, workdir=agent.workdir) for path in arguments.path],
        asker=(arguments.asker,),
        room=(arguments.room,),
        hour=arguments.hour,
    )
    found = policy.ruling(rules=agent.rules, act=act)
    say(f"{found.verdict}: {_MEANS[found.verdict]}")
    say(f"because of {found.because}")
    return 1 if found.verdict == "deny" else 0


def _agent(config: Config, slug: str) -> Agent:
    found = [agent for agent in config.agents if not slug or agent.slug == slug]
    if not found:
        known = ", ".join(agent.slug for agent in config.agents)
        raise ConfigError([f"there is no agent {slug!r} in {config.path}; there are {known}"])
    return found[0]


def _refusal(agent: Agent, *, asker: str, room: str) -> str:
    audience = agent.audience
    if audience.callers and asker and asker.lstrip("@") not in {one.lstrip("@") for one in audience.callers}:
        return f"{agent.slug} takes no prompts from {asker} (callers)"
    if audience.rooms and room and room.lstrip("#") not in {one.lstrip("#") for one in audience.rooms}:
        return f"{agent.slug} takes no prompts from #{room.lstrip('#')} (rooms)"
    return ""
