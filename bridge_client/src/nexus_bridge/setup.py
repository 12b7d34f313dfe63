"""`nexus-bridge join` and `nexus-bridge init`: from a link or a token to a configuration that works.

Asks through two functions, so that a script and a test can answer as well as a person.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from nexus_bridge import joining, tokens, writing
from nexus_bridge.adapters import known_kinds
from nexus_bridge.address import address_problem
from nexus_bridge.errors import ConfigError
from nexus_bridge.joining import JoinedAgent
from nexus_bridge.programs import DEFAULT_COMMANDS, found_programs
from nexus_bridge.view import printable
from nexus_bridge.writing import NewAgent

Ask = Callable[[str, str], str]
"""A question and what an empty answer means."""

Say = Callable[[str], None]
DEFAULT_WORKDIR: Final = "~/nexus-work"


def join(
    *, link: str, path: Path, env: Mapping[str, str], ask: Ask, say: Say, workdir: str, insecure_lan: bool
) -> None:
    """Write the configuration of what the link stands for. Raises BridgeError; the code is used only when all can be written."""
    found = joining.read_link(link, is_insecure_lan=insecure_lan)
    writing.claim(path)
    try:
        joined = joining.join(found)
        say(f"You are {printable(joined.bridge)} of {printable(joined.owner) or 'this Nexus'}.")
        agents = [_agent(one, env=env, ask=ask, say=say, workdir=workdir) for one in joined.agents]
        text = writing.text_of(hub=found.hub.url, token=joined.token, agents=agents, is_insecure_lan=insecure_lan)
        writing.write(path, text)
    finally:
        writing.give_back(path)
    say(f"Written: {path} (only you can read it).")


def init(*, path: Path, env: Mapping[str, str], ask: Ask, say: Say) -> None:
    """Ask for everything; a join link is the shortest answer. Raises BridgeError."""
    for kind, program in found_programs(env):
        say(f"found {kind}: {program}")
    first = ask("Join link, or the address of your Nexus (wss://…)", "")
    if "nxj_" in first:
        join(link=first, path=path, env=env, ask=ask, say=say, workdir="", insecure_lan=False)
        return
    hub = first.strip().rstrip("/").replace("https://", "wss://", 1).replace("http://", "ws://", 1)
    if (problem := address_problem(hub, is_insecure_lan=False)) is not None:
        raise ConfigError([f"the address {problem}"])
    token = ask("Bridge token (nxb_…)", "").strip()
    if not tokens.is_well_formed(token, kind=tokens.BRIDGE):
        raise ConfigError(["that is no bridge token; create_bridge prints it once, or ask for a join link"])
    writing.claim(path)
    try:
        slug = ask("The agent's name, as create_bridge printed it", "")
        kind = ask(f"Its CLI kind ({', '.join(known_kinds())})", _kind_of_slug(slug))
        agent = _agent(JoinedAgent(slug=slug, cli=kind), env=env, ask=ask, say=say, workdir="")
        writing.write(path, writing.text_of(hub=hub, token=token, agents=[agent]))
    finally:
        writing.give_back(path)
    say(f"Written: {path} (only you can read it).")


def _agent(one: JoinedAgent, *, env: Mapping[str, str], ask: Ask, say: Say, workdir: str) -> NewAgent:
    command: Sequence[str] = ()
    default = DEFAULT_COMMANDS.get(one.cli)
    if default is None:
        command = ask(f"{one.slug}: the command to run, program first", "").split()
    elif default and shutil.which(default[0], path=env.get("PATH")) is None:
        say(f"{one.slug}: {default[0]} is not on PATH; install it, or set `command` in the configuration")
    named = workdir or ask(f"{one.slug}: the directory it works in", DEFAULT_WORKDIR)
    directory = Path(named).expanduser().absolute()
    if directory in {Path("/"), Path.home()}:
        raise ConfigError(
            [f"workdir: {directory} holds everything you have; name the one project the CLI may work in"]
        )
    directory.mkdir(parents=True, exist_ok=True)
    return NewAgent(slug=one.slug, cli=one.cli, workdir=directory, command=command, parallel=one.parallel)


def _kind_of_slug(slug: str) -> str:
    first = slug.partition("-")[0]
    return first if first in known_kinds() else ""
