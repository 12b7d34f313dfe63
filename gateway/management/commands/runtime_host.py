"""Runs the host's own bridge: @shell-echo, and with NEXUS_HOST_USER or NEXUS_HOST_CLIS=1 an agent for each real CLI that is found."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from gateway import bridges
from gateway.bridges.setup import agent_section, head
from gateway.watch import program
from nexus_bridge.programs import DEFAULT_COMMANDS, found_programs
from runtime import host_user
from runtime.host import Bundle, Host, Lease, write_privately

BRIDGE_NAME = "runtime-host"
SHELL_ECHO = "shell-echo"


@dataclass(frozen=True, slots=True)
class BuiltIn:
    slug: str
    cli: str
    command: Sequence[str]
    parallel: int = 1


class Command(BaseCommand):
    help = "Holds a lease and supervises the host's own bridge, which spawns the built-in agents' CLIs."
    # They load the whole site, 25 MiB of it, and `migrate` has asked them.
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        program.begin("runtime_host")
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        owner = f"{socket.gethostname()}:{os.getpid()}"[:100]
        expected = (bridges.BridgeError,)
        Host(lease=Lease(owner=owner), prepare=prepare, stop=stop, expected=expected).run()


def prepare() -> Bundle:
    """Agents and token in the database, the configuration on disk. Raises BridgeError while the chat is away."""
    found = built_in()
    bridge = bridges.ensure_host(name=BRIDGE_NAME, agents=[(one.slug, one.cli, one.parallel) for one in found])
    token = bridges.rotate(bridge_id=bridge.pk, actor="runtime_host", overlap_s=0)
    user = host_user.find(settings.NEXUS_HOST_USER) if settings.NEXUS_HOST_USER else None
    folder = Path(settings.NEXUS_HOST_DIR) if user is not None else Path(settings.NEXUS_STATE_DIR) / "host"
    host_user.make_base(folder, user=user)
    host_user.make_base(folder / "work", user=user)
    host_user.make_directory(folder / "journal", user=user)
    home = user.home if user is not None else _home(folder)
    text = head(hub=settings.NEXUS_HOST_HUB, token=token, journal=str(folder / "journal"))
    for one in found:
        workdir = folder / "work" / one.slug
        host_user.make_directory(workdir, user=user)
        text += agent_section(one.slug, one.cli, one.command, str(workdir), parallel=one.parallel)
    config = folder / "bridge.toml"
    write_privately(config, text)
    host_user.give(config, user=user)
    return Bundle(config=config, home=home, user=user)


def built_in() -> list[BuiltIn]:
    """Under the services' own user real CLIs need somebody's word (NEXUS_HOST_CLIS); under one of their own they may."""
    echo = BuiltIn(slug=SHELL_ECHO, cli="pty", command=[sys.executable, "-m", "nexus_bridge.shell_echo"], parallel=4)
    if not settings.NEXUS_HOST_CLIS and not settings.NEXUS_HOST_USER:
        return [echo]
    found = found_programs(os.environ)
    return [echo, *(BuiltIn(slug=kind, cli=kind, command=list(DEFAULT_COMMANDS[kind])) for kind, _ in found)]


def _home(folder: Path) -> Path:
    """Real CLIs find their logins at home; the echo needs none, so it gets an empty one."""
    if settings.NEXUS_HOST_CLIS:
        return Path.home()
    home = folder / "home"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home
