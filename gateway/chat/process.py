"""The chat process: bot accounts held by lease, each with its connection and its poster; one feed, one catch-up."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import httpx
from channels.layers import get_channel_layer
from django.conf import settings

from gateway import nudges
from gateway.chat import leases
from gateway.chat.account import Account
from gateway.chat.database import DatabaseDownError, DatabaseThread
from gateway.chat.feed import Feed
from gateway.chat.fetching import Fetcher
from gateway.chat.leases import LEASE_S, RENEW_S, Held
from gateway.chat.listener import waits
from gateway.chat.room_pace import RedisPace, RoomPace
from gateway.chat.rooms import Rooms, guarded
from gateway.ingest import Ingest, Outcome
from gateway.rocketchat import tls
from gateway.rocketchat.clock import ChatClock
from gateway.rocketchat.limits import Limits
from gateway.rocketchat.realtime import Event
from gateway.rocketchat.rest import RestClient, RestError, UnauthorizedError, open_http
from gateway.secrets import UnreadableSecretError, unseal
from gateway.watch import BEATS, figures

logger = logging.getLogger(__name__)

STOP_GRACE_S: Final = 5.0
CLOCK_TIMEOUT_S: Final = 2.0
NUDGE_TIMEOUT_S: Final = 60.0
SILENT_S: Final = 30.0
DEAF_S: Final = 90.0
"""Without its lease or any connection for so long, the process says at /healthz that it does not work."""


class ChatProcess:
    """`run` ends when `stop` is set, its accounts given back. It owns every task of the process."""

    def __init__(
        self,
        *,
        base_url: str,
        owner: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.owner = owner or leases.new_owner()
        self.accounts: dict[int, Account] = {}
        self._base_url = base_url
        self._clock = clock
        self._trust = tls.context(ca_file=settings.NEXUS_ROCKETCHAT_CA) if base_url.startswith("https") else None
        self._http: httpx.AsyncClient = open_http(base_url=base_url, trust=self._trust)
        self._limits = Limits(clock=clock)
        self._chat_clock = ChatClock(clock=wall)
        self._redis_pace = RedisPace(url=f"{settings.NEXUS_REDIS_URL}/2", clock=clock)
        self._pace = RoomPace(clock=clock, shared=self._redis_pace)
        self._feed_thread = DatabaseThread(name="feed")
        self._post_thread = DatabaseThread(name="post")
        self._chores_thread = DatabaseThread(name="chores")
        self.feed = Feed(database=self._feed_thread, ingest=Ingest(clock=self._chat_clock.time))
        self.rooms = Rooms(
            accounts=self.accounts,
            feed=self.feed,
            database=self._chores_thread,
            start=self._start,
            on_broken=self.broken,
            clock=clock,
            now_ms=self._chat_clock.ms,
        )
        self.fetcher = Fetcher(database=self._chores_thread)
        self.feed.on_outcome = self._stored
        self._lease_wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        BEATS.expect("leases", within_s=SILENT_S, what="renewed its accounts' leases")
        BEATS.expect("connections", within_s=DEAF_S, what="had a connection to the chat")
        await self._ask_the_time()
        for work, name in (
            (self.feed.run(), "feed"),
            (self.rooms.catch_up.run(), "catch up"),
            (self._hold_leases(), "leases"),
            (self._hear_nudges(), "nudges"),
            (self.rooms.rounds(), "rounds"),
            (self.rooms.chores(), "chores"),
            (self.fetcher.run(self._clients), "files"),
        ):
            self._start(self._vital(work, stop), name)
        try:
            await stop.wait()
        finally:
            await self._close()

    def _stored(self, outcome: Outcome) -> None:
        self.rooms.stored(outcome)
        if outcome.may_want_files:
            self.fetcher.wake()

    def _clients(self) -> dict[int, RestClient]:
        """By agent, who may fetch files."""
        held = self.accounts.values()
        return {one.held.agent_id: one.rest for one in held if one.held.agent_id is not None}

    async def _ask_the_time(self) -> None:
        """Before anything is judged by its age. A chat that is away tells it with its first answer."""
        try:
            async with asyncio.timeout(CLOCK_TIMEOUT_S):
                answer = await self._http.get("/api/info")
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            logger.info("the chat does not tell its time yet", extra={"error": tls.why(error) or repr(error)[:200]})
        else:
            self._chat_clock.heard(answer.headers.get("date"))

    async def _vital(self, work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
        """Without this part the process is of no use: it ends, and its supervisor starts it anew."""
        try:
            await work
        # Outermost: the failure is logged here and the whole process ends in order, its leases given back.
        except Exception:
            logger.exception("a part of the chat process failed")
        finally:
            stop.set()

    async def _close(self) -> None:
        BEATS.forget("leases", "connections")
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_GRACE_S)
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await self._chores_thread.run(partial(leases.let_go, owner=self.owner))
        except (DatabaseDownError, TimeoutError):
            logger.warning("leases not given back; they end by themselves", extra={"in_s": LEASE_S})
        await self._http.aclose()
        await self._redis_pace.close()
        for thread in (self._feed_thread, self._post_thread, self._chores_thread):
            thread.close()

    # Leases and accounts

    async def _hold_leases(self) -> None:
        while True:
            began = self._clock()
            try:
                held = await self._chores_thread.run(partial(leases.hold, owner=self.owner))
                self._adopt(held, until=began + LEASE_S)
                self._beat()
            except DatabaseDownError:
                pass
            # Outermost: whatever failed in this round, the next one must still renew the leases.
            except Exception:
                logger.exception("leases not renewed")
            await _wait(self._lease_wake, RENEW_S)

    def _beat(self) -> None:
        online = sum(account.is_online for account in self.accounts.values())
        figures.CHAT_ACCOUNTS.labels("online").set(online)
        figures.CHAT_ACCOUNTS.labels("offline").set(len(self.accounts) - online)
        BEATS.beat("leases")
        if online or not self.accounts:
            BEATS.beat("connections")

    def _adopt(self, held: list[Held], *, until: float) -> None:
        """Start what is new, stop what is no longer ours, start again what has a new token."""
        ours = {one.pk: one for one in held}
        for pk, account in list(self.accounts.items()):
            if ours.get(pk) != account.held:
                self._stop_account(account)
            else:
                account.until = until
        for pk, one in ours.items():
            if pk not in self.accounts:
                self._start_account(one, until=until)

    def _start_account(self, held: Held, *, until: float) -> None:
        try:
            token = unseal(held.sealed_token)
        except UnreadableSecretError as error:
            self._mark_broken(held, str(error))
            return
        account = Account(
            held=held,
            rest=RestClient(
                http=self._http, user_id=held.rocketchat_id, token=token, limits=self._limits, clock=self._chat_clock
            ),
            token=token,
            socket_url="ws" + self._base_url.removeprefix("http") + "/websocket",
            trust=self._trust,
            until=until,
            crew=self,
            post_thread=self._post_thread,
            pace=self._pace,
            clock=self._clock,
        )
        self.accounts[held.pk] = account
        account.task = self._start(account.run(), f"account {held.username}")
        logger.info("account taken", extra={"account": held.username})

    def _stop_account(self, account: Account) -> None:
        if self.accounts.pop(account.held.pk, None) is not None and account.task is not None:
            account.task.cancel()
            self.rooms.watching.spread()

    def broken(self, account: Account, reason: str) -> None:
        self._stop_account(account)
        self._mark_broken(account.held, reason)

    def _mark_broken(self, held: Held, reason: str) -> None:
        """Until it has a new access token this account is not tried again."""
        logger.error("bot account is broken", extra={"account": held.username, "reason": reason})
        mark = partial(leases.mark_broken, pk=held.pk, owner=self.owner, reason=reason)
        self._start(guarded(self._chores_thread.run(mark)), f"break {held.username}")

    # What accounts need

    def heard(self, account: Account, event: Event) -> None:
        self.rooms.heard(account, event)

    async def read_rooms(self, account: Account) -> None:
        await self.rooms.read(account)

    def login_refused(self, account: Account, reason: str) -> None:
        self._start(self._check_login(account, reason), f"check {account.held.username}")

    async def _check_login(self, account: Account, reason: str) -> None:
        """Only a token that REST refuses as well is broken; a server that is starting says strange things."""
        try:
            await account.rest.me()
        except UnauthorizedError:
            self.broken(account, reason)
        except RestError as error:
            logger.info("login not checked", extra={"account": account.held.username, "reason": str(error)})

    # Nudges

    async def _hear_nudges(self) -> None:
        """Nudges make things sooner; without them the polls of leases, rounds and posters find the same."""
        pauses = waits()
        while True:
            layer = get_channel_layer()
            if layer is None:
                return
            try:
                channel = await layer.new_channel()
                await layer.group_add(nudges.CHAT_GROUP, channel)
                pauses = waits()
                while True:
                    async with asyncio.timeout(NUDGE_TIMEOUT_S):
                        self._on_nudge(await layer.receive(channel))
            except TimeoutError:
                # A quiet minute, or a connection that died without a word: subscribe afresh.
                continue
            # Outermost: the layer's transport may fail in any way, and must not end the process.
            except Exception as error:  # noqa: BLE001
                logger.info("nudges not heard", extra={"error": repr(error)[:200]})
            await asyncio.sleep(next(pauses))

    def _on_nudge(self, body: dict[str, object]) -> None:
        agent_id, invocation_id = body.get("agent"), body.get("invocation")
        account = next((one for one in self.accounts.values() if one.held.agent_id == agent_id), None)
        if account is None:
            self._lease_wake.set()
        elif account.poster is not None:
            account.poster.nudge(invocation_id=invocation_id if isinstance(invocation_id, int) else None)
        if agent_id is None and body.get("room") is not None:
            self._start(guarded(self.rooms.request_dirty()), "dirty rooms")

    # Tasks

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Every task is held here until it is done."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task failed", extra={"task": task.get_name()}, exc_info=error)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
    event.clear()


def make_process() -> ChatProcess:
    return ChatProcess(base_url=settings.NEXUS_ROCKETCHAT_URL)
