"""Puts the parts of a bridge together and keeps them until a signal or the hub ends it."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from nexus_bridge import __version__, policy
from nexus_bridge.adapters import adapter_class
from nexus_bridge.adapters.base import Adapter, Profile, Spawn
from nexus_bridge.client import Client
from nexus_bridge.environment import clean_env
from nexus_bridge.files import fetch_files
from nexus_bridge.journal import Journal
from nexus_bridge.orders import Refusal
from nexus_bridge.process import Process, SpawnFailed, TreeLimits
from nexus_bridge.protocol import AgentOffer, Prompt
from nexus_bridge.room_files import Told, send_files
from nexus_bridge.runner import Runner
from nexus_bridge.session import Session
from nexus_bridge.settings import Agent, Config
from nexus_bridge.strip import TextStripper
from nexus_bridge.view import View, printable

CAPABILITIES: Final = ("decisions", "files")
PROBE_S: Final = 20.0
MAX_VERSION_BYTES: Final = 4096
IMMEDIATE_EXIT: Final = 130


async def run_bridge(*, config: Config, view: View, env: Mapping[str, str]) -> None:
    """Until a signal. Raises BridgeError: the journal is in use, or the hub sent the bridge away."""
    journal = Journal.open(directory=config.journal, now=time.time())
    try:
        if journal.damaged_count:
            view.tell(f"{journal.damaged_count} records of the journal are damaged; their runs end as lost")
        view.starting(hub=config.hub.url, agents=[agent.slug for agent in config.agents])
        session = Session(
            journal=journal,
            agents=await offers(config.agents),
            gate=partial(_refusal, {agent.slug: agent for agent in config.agents}),
            client_version=__version__,
            capabilities=CAPABILITIES,
            policies=[
                policy.summary(
                    agent=one.slug, rules=one.rules, audience=one.audience, permission_s=config.limits.permission_s
                )
                for one in config.agents
            ],
        )
        client = Client(hub=config.hub, token=config.token, session=session, watcher=view)
        runner = make_runner(config=config, client=client, view=view, env=env)
        client.use(runner)
        async with _status_line(view), _signals(client, config=config, view=view, journal=journal):
            try:
                await client.run()
            finally:
                await runner.close()
    finally:
        journal.close()


def make_runner(*, config: Config, client: Client, view: View, env: Mapping[str, str]) -> Runner:
    limits = TreeLimits(processes=config.limits.processes, memory_mib=config.limits.memory_mib)

    async def start(spawn: Spawn) -> Process:
        return await Process.start(spawn, limits=limits)

    async def send(prompt: Prompt, folder: Path) -> Sequence[Told]:
        return await send_files(hub=config.hub, prompt=prompt, folder=folder)

    return Runner(
        agents={agent.slug: agent for agent in config.agents},
        limits=config.limits,
        host=client,
        make_adapter=_make_adapter,
        start_process=start,
        fetch_files=partial(fetch_files, config.hub),
        send_files=send,
        cleaner=TextStripper,
        ask_locally=view.ask,
        inherited=env,
        mcp_url=config.hub.mcp_url,
        secrets=[config.token],
    )


async def offers(agents: Sequence[Agent]) -> list[AgentOffer]:
    """What `hello` says of each agent; no path but the working directory's name."""
    versions = await asyncio.gather(*(cli_version(agent=agent) for agent in agents))
    return [
        AgentOffer(
            slug=agent.slug,
            cli_kind=agent.cli,
            cli_version=version,
            workdir=agent.workdir.name[:200],
            parallel=agent.parallel,
            steers=adapter_class(agent.cli).capabilities.steer,
        )
        for agent, version in zip(agents, versions, strict=True)
    ]


async def cli_version(*, agent: Agent) -> str:
    """What the program answers to its version question, or nothing: a slow CLI is no reason not to start."""
    argv = adapter_class(agent.cli).version_argv(agent.command)
    if not argv:
        return ""
    env = clean_env(inherited=os.environ, extra=agent.env)
    try:
        # Guarded as for a turn: what this starts must not outlive it.
        process = await Process.start(Spawn(argv=argv, env=env, cwd=agent.workdir))
    except SpawnFailed:
        return ""
    out = b""
    try:
        process.close_stdin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROBE_S):
                while len(out) < MAX_VERSION_BYTES and b"\n" not in out.lstrip() and (data := await process.read()):
                    out += data
    finally:
        await process.kill()
    first = out.decode(errors="replace").strip().partition("\n")[0]
    return printable(first)[:200]


def _make_adapter(agent: Agent, profile: Profile) -> Adapter:
    return adapter_class(agent.cli)(profile=profile)


def _refusal(agents: Mapping[str, Agent], offer: Prompt) -> Refusal | None:
    return policy.refusal(audience=agents[offer.agent].audience, offer=offer)


@contextlib.asynccontextmanager
async def _status_line(view: View) -> AsyncIterator[None]:
    task = asyncio.create_task(view.keep_status(), name="status-line")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _signals(client: Client, *, config: Config, view: View, journal: Journal) -> AsyncIterator[None]:
    """The first signal lets live turns finish for a while, the second ends everything now."""
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Task[None]] = []

    def stop() -> None:
        if stopping:
            # The guard of each CLI kills its tree when we are gone; the journal ends these runs at the next start.
            journal.close()
            os._exit(IMMEDIATE_EXIT)
        grace_s = config.limits.stop_grace_s
        view.tell(f"stopping: live turns have {grace_s:.0f} s; once more to stop now")
        stopping.append(asyncio.create_task(client.stop(grace_s=grace_s), name="stop"))

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
        for task in stopping:
            task.cancel()
        await asyncio.gather(*stopping, return_exceptions=True)
