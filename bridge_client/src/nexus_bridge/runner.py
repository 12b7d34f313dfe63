"""Obeys the session's orders with real CLIs: starts turns, answers questions, stops and kills.

One asyncio task per turn. Whatever happens in it, it ends with exactly one `end` and one `freed`.
"""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from nexus_bridge.adapters.base import Adapter, Profile
from nexus_bridge.errors import BridgeError
from nexus_bridge.events import Notice
from nexus_bridge.files import Fetched
from nexus_bridge.live_cli import LiveCli, StartProcess
from nexus_bridge.masking import masking, secrets_in
from nexus_bridge.orders import Add, Decide, Ending, Kill, Pause, Resume, Start, Stop
from nexus_bridge.packing import Cleaner
from nexus_bridge.pool import Pool
from nexus_bridge.protocol import Prompt
from nexus_bridge.questions import AskLocally
from nexus_bridge.room_files import Told, prepare
from nexus_bridge.settings import Agent, Limits
from nexus_bridge.turn import Listener, Turn

logger = logging.getLogger(__name__)

FetchFiles = Callable[[Prompt], Awaitable[Fetched]]
SendFiles = Callable[[Prompt, Path], Awaitable[Sequence[Told]]]
MakeAdapter = Callable[[Agent, Profile], Adapter]


class Host(Listener, Protocol):
    """The session, as the runner sees it."""

    def end(self, invocation: int, ending: Ending) -> None: ...

    def freed(self, invocation: int) -> None: ...


class Runner:
    """`obey` never waits; `close` returns when no process is left."""

    def __init__(
        self,
        *,
        agents: Mapping[str, Agent],
        limits: Limits,
        host: Host,
        make_adapter: MakeAdapter,
        start_process: StartProcess,
        fetch_files: FetchFiles,
        send_files: SendFiles,
        cleaner: Callable[[], Cleaner],
        ask_locally: AskLocally,
        inherited: Mapping[str, str],
        mcp_url: str,
        secrets: Sequence[str] = (),
    ) -> None:
        self._agents = agents
        self._limits = limits
        self._host = host
        self._make_adapter = make_adapter
        self._start_process = start_process
        self._fetch_files = fetch_files
        self._send_files = send_files
        self._cleaner = cleaner
        self._ask_locally = ask_locally
        self._inherited = inherited
        self._mcp_url = mcp_url
        self._secrets = (*secrets, *secrets_in(inherited))
        self._turns: dict[int, Turn] = {}
        self._clis: dict[int, LiveCli] = {}
        self._pool = Pool(
            max_live=limits.live_clis,
            idle_stop_s=limits.idle_stop_s,
            memory_mib=limits.pool_memory_mib,
            busy=self._clis.values,
        )
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def session_count(self) -> int:
        """CLI processes that live, busy or idle."""
        return len(self._pool) + len(self._clis)

    def obey(self, order: Start | Stop | Kill | Decide | Add | Pause | Resume) -> None:
        if isinstance(order, Start):
            self._start(order)
            return
        turn = self._turns.get(order.invocation)
        if turn is None:
            return
        match order:
            case Stop() | Kill():
                turn.stop(order)
            case Decide():
                turn.decide(order)
            case Add():
                turn.steer(order)
            case Pause() | Resume():
                self._set_paused(turn, is_paused=isinstance(order, Pause))

    async def close(self) -> None:
        """Kill what is left of everything."""
        for invocation, turn in self._turns.items():
            turn.stop(Kill(invocation=invocation, reason="the bridge ends"))
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        await self._pool.close()

    def _start(self, order: Start) -> None:
        agent = self._agents[order.prompt.agent]
        secrets = (*self._secrets, *secrets_in(agent.env), order.prompt.tools_token)
        turn = Turn(
            prompt=order.prompt,
            agent=agent,
            limits=self._limits,
            listener=self._host,
            cleaner=masking(self._cleaner, secrets=secrets),
            ask_locally=self._ask_locally,
        )
        invocation = order.prompt.invocation
        self._turns[invocation] = turn
        task = asyncio.create_task(self._run(turn, cli_session=order.cli_session), name=f"turn-{invocation}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _set_paused(self, turn: Turn, *, is_paused: bool) -> None:
        turn.set_paused(is_paused)
        if (cli := self._clis.get(turn.prompt.invocation)) is not None:
            cli.set_paused(is_paused)

    async def _run(self, turn: Turn, *, cli_session: str | None) -> None:
        invocation = turn.prompt.invocation
        fetching = asyncio.ensure_future(self._fetch_files(turn.prompt))
        try:
            if await turn.ordered_before(fetching):
                self._end(turn, turn.ending(exit_code=None))
            else:
                fetched = fetching.result()
                turn.files = fetched.files
                turn.take([Notice(level="warning", text=sentence) for sentence in fetched.missing])
                if turn.prompt.tools_token:
                    turn.outbox = prepare(workdir=Path(turn.agent.workdir), invocation=invocation)
                await self._play(turn, cli_session=cli_session)
        except BridgeError as error:
            self._end(turn, Ending(outcome="failed", reason="spawn_failed", message=str(error)[:2_000]))
        except Exception:
            # The outermost loop of a turn: a mistake in here must not leave the hub waiting for an end.
            logger.exception("turn broke", extra={"invocation": invocation})
            self._end(turn, Ending(outcome="failed", reason="bridge_error", message="The bridge made a mistake."))
        finally:
            await _remove_files(fetching)
            if turn.outbox is not None:
                shutil.rmtree(turn.outbox, ignore_errors=True)
            await self._let_go(turn)
            del self._turns[invocation]
            self._host.freed(invocation)

    async def _play(self, turn: Turn, *, cli_session: str | None) -> None:
        cli = await self._begin(turn, cli_session=cli_session)
        await turn.watch()
        if turn.done is not None and turn.done.error_kind == "session":
            await self._let_go(turn)
            turn.renew()
            turn.take([Notice(text="It no longer knows what was said here before, so it starts afresh.")])
            cli = await self._begin(turn, cli_session=None)
            await turn.watch()
        if turn.order is not None and not (isinstance(turn.order, Stop) and await turn.obey()):
            await cli.kill()
        if turn.outbox is not None and turn.order is None:
            turn.add(await self._send_files(turn.prompt, turn.outbox))
        self._end(turn, turn.ending(exit_code=cli.exit_code))

    def _end(self, turn: Turn, ending: Ending) -> None:
        turn.close()
        self._host.end(turn.prompt.invocation, ending)

    async def _begin(self, turn: Turn, *, cli_session: str | None) -> LiveCli:
        """A CLI that has this turn's prompt. It is ours until `_let_go`."""
        key = (turn.prompt.agent, turn.prompt.session_key)
        cli = await self._pool.take(key, tools_token=turn.prompt.tools_token)
        if cli is None:
            cli = await self._spawn(turn, cli_session=cli_session)
        self._clis[turn.prompt.invocation] = cli
        cli.set_paused(turn.is_paused)
        if turn.order is None:
            cli.begin(turn)
        return cli

    async def _spawn(self, turn: Turn, *, cli_session: str | None) -> LiveCli:
        self._pool.make_room()
        agent = turn.agent
        adapter = self._make_adapter(agent, self._profile(turn, cli_session=cli_session))
        spawn = adapter.spawn()
        process = await self._start_process(spawn)
        logger.info("cli started", extra={"agent": agent.slug, "invocation": turn.prompt.invocation})
        return LiveCli(adapter=adapter, spawn=spawn, process=process, tools_token=turn.prompt.tools_token)

    def _profile(self, turn: Turn, *, cli_session: str | None) -> Profile:
        agent = turn.agent
        return Profile(
            slug=agent.slug,
            command=agent.command,
            workdir=Path(agent.workdir),
            env=agent.env,
            inherited=self._inherited,
            options=agent.options,
            resume_id=cli_session,
            mcp_url=self._mcp_url if turn.prompt.tools_token else "",
            mcp_token=turn.prompt.tools_token,
        )

    async def _let_go(self, turn: Turn) -> None:
        """Only the idle CLI itself lives on, and only when its turn ended as it should."""
        cli = self._clis.pop(turn.prompt.invocation, None)
        if cli is None:
            return
        key = (turn.prompt.agent, turn.prompt.session_key)
        if turn.done is None or turn.done.status == "error" or cli.is_gone:
            # After an error nobody knows what it waits for: it might take the next prompt for a password.
            await cli.kill()
        else:
            await cli.settle()
            self._pool.put(key, cli)


async def _remove_files(fetching: "asyncio.Future[Fetched]") -> None:
    fetching.cancel()
    (fetched,) = await asyncio.gather(fetching, return_exceptions=True)
    if isinstance(fetched, Fetched):
        fetched.remove()
