"""What a developer does on his laptop: the configuration file, and the lines that install and start the bridge."""

import json
from collections.abc import Sequence
from typing import Final

from gateway.models import Agent
from nexus_bridge import __version__
from nexus_bridge.address import address_problem

CONFIG_PATH: Final = "~/.config/nexus-bridge/bridge.toml"
WORKDIR: Final = "~/nexus-work"
WHEEL: Final = f"nexus_bridge-{__version__}-py3-none-any.whl"


def config_text(
    *,
    hub: str,
    token: str,
    slug: str,
    cli: str,
    command: Sequence[str] = (),
    workdir: str = WORKDIR,
    journal: str = "",
    parallel: int = 1,
) -> str:
    """bridge.toml for one agent; TOML reads JSON's strings and lists of strings as its own."""
    section = agent_section(slug, cli, command, workdir, parallel=parallel)
    return "".join([head(hub=hub, token=token, journal=journal), section])


def head(*, hub: str, token: str, journal: str = "") -> str:
    lines = [f"hub = {json.dumps(_socket_address(hub))}", f"token = {json.dumps(token)}"]
    if _needs_consent(hub):
        lines.append("insecure_lan = true   # this Nexus has no TLS: your network can read the token")
    if journal:
        lines.append(f"journal = {json.dumps(journal)}")
    return "\n".join(lines) + "\n"


def _socket_address(hub: str) -> str:
    return hub.replace("http", "ws", 1) if hub.startswith("http") else hub


def _needs_consent(hub: str) -> bool:
    """Plain http to an address of a private network: a bridge connects only where its configuration says so."""
    address = _socket_address(hub)
    refused = address_problem(address, is_insecure_lan=False) is not None
    return refused and address_problem(address, is_insecure_lan=True) is None


def agent_section(slug: str, cli: str, command: Sequence[str], workdir: str, *, parallel: int = 1) -> str:
    lines = ["", "[[agent]]", f"slug = {json.dumps(slug)}", f"cli = {json.dumps(cli)}"]
    if command:
        lines.append(f"command = {json.dumps(list(command))}")
    lines.append(f"workdir = {json.dumps(workdir)}")
    if parallel > 1:
        lines.append(f"parallel = {parallel}")
    return "\n".join(lines) + "\n"


def config_of(*, bridge_id: int, hub: str, token: str) -> str:
    """bridge.toml for all agents behind a bridge."""
    agents = Agent.objects.filter(bridge_id=bridge_id).order_by("slug").values_list("slug", "cli_kind", "parallel")
    sections = [agent_section(slug, cli, (), WORKDIR, parallel=parallel) for slug, cli, parallel in agents]
    return "".join([head(hub=hub, token=token), *sections])


def instructions(*, hub: str, token: str, slug: str, cli: str, parallel: int = 1) -> str:
    """The exact lines to run on the laptop; the token stands in them, once."""
    body = config_text(hub=hub, token=token, slug=slug, cli=cli, parallel=parallel)
    return f"""\
# On the laptop of {slug}'s owner (Python 3.11 or newer):
python3 -m venv ~/.nexus-bridge
~/.nexus-bridge/bin/pip install {hub}/client/{WHEEL}
mkdir -p ~/.config/nexus-bridge {WORKDIR}
(umask 077; cat > {CONFIG_PATH} <<'TOML'
{body}TOML
)
~/.nexus-bridge/bin/nexus-bridge check
~/.nexus-bridge/bin/nexus-bridge run

# `workdir` is where the CLI works: change it to your project before `run`.
"""


def join_instructions(*, url: str, hours: float) -> str:
    """The lines to run on the laptop; the code is good once."""
    hub = url.partition("/join#")[0]
    consent = " --insecure-lan" if _needs_consent(hub) else ""
    return f"""\
# On the laptop (Python 3.11 or newer). The link is good once, for {hours:g} hours; a bridge that ran before ends.
python3 -m venv ~/.nexus-bridge
~/.nexus-bridge/bin/pip install {hub}/client/{WHEEL}
~/.nexus-bridge/bin/nexus-bridge join{consent} '{url}'
~/.nexus-bridge/bin/nexus-bridge run
"""
