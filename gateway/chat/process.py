"""The chat process: bot accounts held by lease, each with its connection and its poster; one feed, one catch-up."""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import httpx
from channels.layers import get_channel_layer
from django.conf import settings

from gateway import nudges
from gateway.chat import cursors, leases
from gateway.chat.account import Account
from gateway.chat.catch_up import EVERY_S, CatchUp, Reader
from gateway.chat.database import DatabaseDownError, DatabaseThread
from gateway.chat.desk import AccountBrokenError
from gateway.chat.feed import Feed
from gateway.chat.leases import LEASE_S, RENEW_S, Held
from gateway.chat.listener import Listener, waits
from gateway.chat.outbox import Account as PosterAccount
from gateway.chat.outbox import LeaseLostError
from gateway.chat.poster import Poster
from gateway.chat.scout import Scout
from gateway.chat.typing import TypingSign
from gateway.ingest import Ingest, Outcome
from gateway.ingest.places import place_membership
from gateway.rocketchat.events import ChatSubscription
from gateway.rocketchat.realtime import Conversation, Event, Gone, Membership, Ready, RoomSeen, Said, Skipped
from gateway.rocketchat.rest import RestClient, RestError, UnauthorizedError, open_http
from gateway.secrets import UnreadableSecretError, unseal

logger = logging.getLogger(__name__)

STOP_GRACE_S: Final = 5.0
RECONNECT_EVERY_S: Final = 60.0
NUDGE_TIMEOUT_S: Final = 60.0
SETTLE_S: Final = 0.2
"""Changes of a room's members come in bursts; they are read once, this long after the first."""


class ChatProcess:
    """`run` ends when `stop` is set, its accounts given back. One class owns every task of the process."""

    def __init__(self, *, base_url: str, owner: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.owner = owner or f"{socket.gethostname()[:12]}-{os.getpid()}-{secrets.token_hex(3)}"
        self.accounts: dict[int, Account] = {}
        self._base_url = base_url
        self._clock = clock
        self._http: httpx.AsyncClient = open_http(base_url=base_url)
        self._feed_thread = DatabaseThread(name="feed")
        self._post_thread = DatabaseThread(name="post")
        self._chores = DatabaseThread(name="chores")
        self.feed = Feed(database=self._feed_thread, ingest=Ingest(), on_outcome=self._on_outcome)
        self.scout = Scout(database=self._chores, clock=clock)
        self.catch_up = CatchUp(
            feed=self.feed,
            database=self._chores,
            reader_of=self._reader_of,
            on_unauthorized=self._on_unauthorized,
            on_refused=self._on_refused,
            on_unheard=self._on_unheard,
        )
        self._lease_wake = asyncio.Event()
        self._members_due: dict[str, None] = {}
        self._unplaced: list[tuple[int, int]] = []
        self._chores_wake = asyncio.Event()
        self._reconnected_at: dict[int, float] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self, stop: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                tasks = [
                    group.create_task(self.feed.run(), name="feed"),
                    group.create_task(self.catch_up.run(), name="catch up"),
                    group.create_task(self._hold_leases(), name="leases"),
                    group.create_task(self._hear_nudges(), name="nudges"),
                    group.create_task(self._do_rounds(), name="rounds"),
                    group.create_task(self._do_chores(), name="chores"),
                ]
                await stop.wait()
                for task in tasks:
                    task.cancel()
                for account in list(self.accounts.values()):
                    self._stop_account(account)
        finally:
            await self._close()

    async def _close(self) -> None:
        try:
            await asyncio.wait_for(self._chores.run(partial(leases.let_go, owner=self.owner)), STOP_GRACE_S)
        except (DatabaseDownError, TimeoutError):
            logger.warning("leases not given back; they end by themselves", extra={"in_s": LEASE_S})
        await self._http.aclose()
        for thread in (self._feed_thread, self._post_thread, self._chores):
            thread.close()

    # Leases and accounts

    async def _hold_leases(self) -> None:
        while True:
            began = self._clock()
            try:
                held = await self._chores.run(partial(leases.hold, owner=self.owner))
                self._adopt(held, until=began + LEASE_S)
            except DatabaseDownError:
                pass
            # Outermost: whatever failed in this round, the next one must still renew the leases.
            except Exception:
                logger.exception("leases not renewed")
            await _wait(self._lease_wake, RENEW_S)

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
            self._break(held, str(error))
            return
        rest = RestClient(http=self._http, user_id=held.rocketchat_id, token=token)
        account = Account(held=held, rest=rest, until=until, clock=self._clock)
        account.listener = Listener(
            url=self._socket_url(),
            make_conversation=lambda: Conversation(user_id=held.rocketchat_id, username=held.username, token=token),
            on_event=lambda event: self._on_event(account, event),
            on_refused=lambda reason: self._on_login_refused(account, reason),
            name=held.username,
        )
        account.typing = TypingSign(tell=account.tell_typing)
        self.accounts[held.pk] = account
        assert self._group is not None
        account.task = self._group.create_task(self._serve(account), name=f"account {held.username}")
        logger.info("account taken", extra={"account": held.username})

    def _stop_account(self, account: Account) -> None:
        self.accounts.pop(account.held.pk, None)
        if account.task is not None:
            account.task.cancel()
        self._hand_over_watches(account)

    async def _serve(self, account: Account) -> None:
        assert account.listener is not None
        assert account.typing is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(account.listener.run(), name=f"listener {account.held.username}")
            group.create_task(account.typing.run(), name=f"typing {account.held.username}")
            group.create_task(self._post(account), name=f"poster {account.held.username}")
            group.create_task(self._refresh(account), name=f"rooms {account.held.username}")

    async def _post(self, account: Account) -> None:
        """A poster as long as the account is ours; one that failed is replaced."""
        pauses = waits()
        who = PosterAccount(
            id=account.held.pk,
            agent_id=account.held.agent_id,
            username=account.held.username,
            lease_owner=self.owner,
        )
        while True:
            account.poster = Poster(
                account=who,
                chat=account.rest,
                database=self._post_thread,
                is_held=account.is_held,
                typing=account.typing,
            )
            try:
                await account.poster.run()
            except AccountBrokenError as error:
                self._break(account.held, str(error))
                return
            except LeaseLostError:
                logger.warning("lease lost", extra={"account": account.held.username})
            # Outermost: an account whose poster has ended says nothing more, so a new one begins.
            except Exception:
                logger.exception("poster failed", extra={"account": account.held.username})
            await asyncio.sleep(next(pauses))

    def _break(self, held: Held, reason: str) -> None:
        """Until it has a new access token this account is not tried again."""
        logger.error("bot account is broken", extra={"account": held.username, "reason": reason})
        account = self.accounts.get(held.pk)
        if account is not None:
            self._stop_account(account)
        mark = partial(leases.mark_broken, pk=held.pk, owner=self.owner, reason=reason)
        self._start(self._chores.run(mark), name=f"break {held.username}")

    # What connections say

    def _on_event(self, account: Account, event: Event) -> None:
        match event:
            case Said():
                self._on_said(account, event)
            case Gone():
                self.feed.delete(event.rc_id)
            case Ready():
                account.ready_ms = int(time.time() * 1000)
                account.watched.clear()
                account.rooms = {}
                account.refresh.set()
            case Membership():
                self._on_membership(account, event)
            case RoomSeen():
                if event.room.rid in account.rooms:
                    self._start(self._guard(self.scout.note_room(event.room)), name="note room")
            case Skipped():
                self.feed.counts[event.reason] += 1
                if event.document is not None:
                    self.feed.set_aside(event.document, reason=event.reason)

    def _on_said(self, account: Account, event: Said) -> None:
        rid = event.message.rid
        if not event.is_member or event.kind == "l":
            self.feed.counts["not_our_room"] += 1
            return
        if rid not in account.rooms:
            # Its rows come first; then catch-up reads this message.
            account.refresh.set()
        if not self.feed.offer(event.message):
            self.catch_up.request(rid)

    def _on_membership(self, account: Account, event: Membership) -> None:
        known = account.rooms.get(event.rid)
        if event.change == "removed":
            self._start(self._guard(self.scout.left(account, event.rid)), name="left room")
        elif known is None or _roles(known) != _roles(event.subscription):
            account.refresh.set()

    def _on_login_refused(self, account: Account, reason: str) -> None:
        self._start(self._check_login(account, reason), name=f"check {account.held.username}")

    async def _check_login(self, account: Account, reason: str) -> None:
        """Only a token that REST refuses as well is broken; a server that is starting says strange things."""
        try:
            await account.rest.me()
        except UnauthorizedError:
            self._break(account.held, reason)
        except RestError as error:
            logger.info("login not checked", extra={"account": account.held.username, "reason": str(error)})

    # Rooms

    async def _refresh(self, account: Account) -> None:
        """Whenever the account's rooms may have changed: read them, watch them, catch up the new ones."""
        pauses = waits()
        while True:
            await account.refresh.wait()
            account.refresh.clear()
            try:
                fresh = await self.scout.refresh(account)
                pauses = waits()
            except* UnauthorizedError as errors:
                self._break(account.held, str(errors.exceptions[0]))
                fresh = []
            except* (RestError, DatabaseDownError) as errors:
                logger.warning(
                    "rooms not read", extra={"account": account.held.username, "reason": repr(errors)[:300]}
                )
                fresh = []
                account.refresh.set()
                await asyncio.sleep(next(pauses))
            self._watch_rooms(account)
            for rid in fresh:
                self.catch_up.request(rid)

    def _watch_rooms(self, account: Account) -> None:
        """Each room's deletions are heard by one of our connections."""
        if account.listener is None or not account.is_online:
            return
        watched = {rid for other in self.accounts.values() if other.is_online for rid in other.watched}
        for rid in account.rooms.keys() - watched:
            account.watched.add(rid)
            account.listener.watch(rid)

    def _hand_over_watches(self, account: Account) -> None:
        for other in self.accounts.values():
            if other is not account and account.watched & other.rooms.keys():
                self._watch_rooms(other)

    def _reader_of(self, rid: str) -> Account | None:
        """An account that is in the room; one whose connection is up, if there is."""
        found = [account for account in self.accounts.values() if rid in account.rooms]
        return next((account for account in found if account.is_online), found[0] if found else None)

    def _on_outcome(self, outcome: Outcome) -> None:
        """In the loop, after each batch."""
        if outcome.moved or outcome.unplaced:
            self._members_due |= dict.fromkeys(outcome.moved)
            self._unplaced += outcome.unplaced
            self._chores_wake.set()

    def _on_unauthorized(self, reader: Reader, reason: str) -> None:
        assert isinstance(reader, Account)
        self._break(reader.held, reason)

    def _on_refused(self, reader: Reader, rid: str) -> None:
        """The room is not ours any more, or not yet: read the list again."""
        assert isinstance(reader, Account)
        reader.rooms.pop(rid, None)
        reader.refresh.set()

    def _on_unheard(self, reader: Reader) -> None:
        assert isinstance(reader, Account)
        now = self._clock()
        if reader.listener is None or now - self._reconnected_at.get(reader.held.pk, 0.0) < RECONNECT_EVERY_S:
            return
        self._reconnected_at[reader.held.pk] = now
        logger.warning("connection says nothing, starting anew", extra={"account": reader.held.username})
        reader.listener.reconnect()

    # Rounds and chores

    async def _do_rounds(self) -> None:
        """Every few seconds the rooms that a webhook marked; every minute all of them."""
        next_whole = self._clock() + EVERY_S
        while True:
            await asyncio.sleep(RENEW_S)
            await self._guard(self._request_dirty())
            if self._clock() < next_whole:
                continue
            next_whole = self._clock() + EVERY_S
            for rid in self._rooms():
                self.catch_up.request(rid, is_forced=False)
            for account in list(self.accounts.values()):
                self._watch_rooms(account)
            due = [rid for rid in self._rooms() if self.scout.members_due(rid)]
            self._members_due |= dict.fromkeys(due)
            self._chores_wake.set()

    async def _request_dirty(self) -> None:
        for rid in await self._chores.run(partial(cursors.dirty, rids=self._rooms())):
            self.catch_up.request(rid)

    def _rooms(self) -> set[str]:
        return {rid for account in self.accounts.values() for rid in account.rooms}

    async def _do_chores(self) -> None:
        while True:
            await self._chores_wake.wait()
            await asyncio.sleep(SETTLE_S)
            self._chores_wake.clear()
            due, self._members_due = self._members_due, {}
            unplaced, self._unplaced = self._unplaced, []
            for rid in due:
                reader = self._reader_of(rid)
                if reader is not None:
                    await self._guard(self.scout.members(reader, rid))
            await self._guard(self._place(unplaced))

    async def _place(self, unplaced: list[tuple[int, int]]) -> None:
        """An agent that was asked where we did not know it: its own list of rooms says whether it is there."""
        for message_id, agent_id in unplaced:
            account = next((one for one in self.accounts.values() if one.held.agent_id == agent_id), None)
            if account is not None:
                await self.scout.refresh(account)
            await self._chores.run(partial(place_membership, message_id=message_id, agent_id=agent_id))

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
            self._start(self._guard(self._request_dirty()), name="dirty rooms")

    # Small things

    def _start(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        assert self._group is not None
        self._group.create_task(self._logged(work), name=name)

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except DatabaseDownError as error:
            logger.warning("not written", extra={"error": str(error)[:200]})
        # Outermost: a small errand must not end the process.
        except Exception:
            logger.exception("errand failed")

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Errands that a later round repeats: a chat or a database that is away is only worth a line."""
        try:
            await work
        except (RestError, DatabaseDownError) as error:
            logger.warning("put off", extra={"reason": str(error)[:200]})
        except ExceptionGroup as errors:
            logger.warning("put off", extra={"reason": repr(errors)[:300]})

    def _socket_url(self) -> str:
        return "ws" + self._base_url.removeprefix("http") + "/websocket"


def _roles(subscription: ChatSubscription | None) -> tuple[str, ...]:
    return subscription.roles if subscription is not None else ()


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
    event.clear()


def make_process() -> ChatProcess:
    return ChatProcess(base_url=settings.NEXUS_ROCKETCHAT_URL)
