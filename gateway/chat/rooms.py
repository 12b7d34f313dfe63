"""The rooms of all accounts of this process: who reads which, and what has to be looked at again."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from gateway.chat import cursors
from gateway.chat.account import Account
from gateway.chat.catch_up import EVERY_S, CatchUp, Reader
from gateway.chat.database import DatabaseDownError, DatabaseThread
from gateway.chat.feed import Feed
from gateway.chat.listener import waits
from gateway.chat.scout import Scout
from gateway.chat.watching import Watching
from gateway.ingest import Outcome
from gateway.ingest.places import place_membership
from gateway.rocketchat.events import ChatSubscription, moment
from gateway.rocketchat.realtime import (
    Event,
    Gone,
    Membership,
    Ready,
    RoomSeen,
    Said,
    Skipped,
    Watched,
    WatchRefused,
)
from gateway.rocketchat.rest import RestError, UnauthorizedError

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
RECONNECT_EVERY_S: Final = 60.0
SETTLE_S: Final = 0.2
"""Changes of a room's members come in bursts; they are read once, this long after the first."""


class Rooms:
    """`heard` takes what connections say; `rounds` and `chores` run until cancelled."""

    def __init__(
        self,
        *,
        accounts: Mapping[int, Account],
        feed: Feed,
        database: DatabaseThread,
        start: Callable[[Coroutine[Any, Any, None], str], object],
        on_broken: Callable[[Account, str], None],
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._accounts = accounts
        self._feed = feed
        self._database = database
        self._start = start
        self._on_broken = on_broken
        self._clock = clock
        self._now_ms = now_ms
        self._scout = Scout(database=database, clock=clock, now_ms=now_ms)
        self._members_due: dict[str, None] = {}
        self._unplaced: list[tuple[int, int]] = []
        self._chores_wake = asyncio.Event()
        self._reconnected_at: dict[int, float] = {}
        self._told: dict[str, int] = {}
        self.catch_up = CatchUp(
            feed=feed,
            database=database,
            reader_of=self.reader_of,
            on_unauthorized=self._on_unauthorized,
            on_refused=self._on_refused,
            on_unheard=self._on_unheard,
            now_ms=now_ms,
        )
        self.watching = Watching(accounts=accounts, catch_up=self.catch_up.request)

    # What connections say

    def heard(self, account: Account, event: Event) -> None:
        match event:
            case Said():
                self._said(account, event)
            case Gone():
                self._feed.delete(event.rc_id)
            case Ready():
                account.ready_ms = self._now_ms()
                account.watched.clear()
                account.deaf.clear()
                account.rooms = {}
                account.looked_for.clear()
                account.rooms_changed.set()
            case Membership():
                self._membership(account, event)
            case Watched() | WatchRefused():
                self.watching.told(account, event)
            case RoomSeen():
                if event.room.rid in account.rooms:
                    self._start(guarded(self._scout.note_room(event.room)), "note room")
            case Skipped():
                self._feed.counts[event.reason] += 1
                if event.document is not None:
                    self._feed.set_aside(event.document, reason=event.reason)

    def _said(self, account: Account, event: Said) -> None:
        rid = event.message.rid
        if not event.is_member or event.kind == "l":
            self._feed.counts["not_our_room"] += 1
            return
        if rid not in account.rooms and rid not in account.looked_for:
            # Its rows come first; then catch-up reads this message. Once: the chat may never list it.
            account.looked_for.add(rid)
            account.rooms_changed.set()
        self.watching.soon(rid)
        if not self._feed.offer(event.message):
            self.catch_up.request(rid)

    def _membership(self, account: Account, event: Membership) -> None:
        known = account.rooms.get(event.rid)
        if event.change == "removed":
            self._start(guarded(self._scout.left(account, event.rid)), "left room")
            account.looked_for.discard(event.rid)
            self.watching.left(account, event.rid)
        elif event.change == "inserted":
            self.watching.entered(account, event.rid)
            account.rooms_changed.set()
        elif known is None or _roles(known) != _roles(event.subscription):
            account.rooms_changed.set()

    # What an account's rooms are

    async def read(self, account: Account) -> None:
        """The account's list of rooms from the chat; new ones are caught up."""
        fresh: list[str] = []
        had_rooms = bool(account.rooms)
        try:
            fresh = await self._scout.refresh(account)
        except* UnauthorizedError as errors:
            self._on_broken(account, str(errors.exceptions[0]))
        except* (RestError, DatabaseDownError) as errors:
            extra = {"account": account.held.username, "reason": repr(errors.exceptions)[:300]}
            logger.warning("rooms not read", extra=extra)
            account.rooms_changed.set()
            await asyncio.sleep(next(waits()))
        self.watching.spread()
        for rid in fresh:
            if had_rooms or rid in account.looked_for:
                self.watching.soon(rid)
            self.catch_up.request(rid)

    def all(self) -> set[str]:
        return {rid for account in self._accounts.values() for rid in account.rooms}

    def reader_of(self, rid: str) -> Account | None:
        """An account that is in the room; one whose connection is up, if there is."""
        found = [account for account in self._accounts.values() if rid in account.rooms]
        return next((account for account in found if account.is_online), found[0] if found else None)

    # What catch-up finds

    def _on_unauthorized(self, reader: Reader, reason: str) -> None:
        for account in self._accounts_of(reader):
            self._on_broken(account, reason)

    def _on_refused(self, reader: Reader, rid: str) -> None:
        """The room is not ours any more, or not yet: read the list again."""
        for account in self._accounts_of(reader):
            account.rooms.pop(rid, None)
            account.rooms_changed.set()

    def _on_unheard(self, reader: Reader) -> None:
        now = self._clock()
        for account in self._accounts_of(reader):
            if now - self._reconnected_at.get(account.held.pk, float("-inf")) < RECONNECT_EVERY_S:
                continue
            if account.listener.is_by_room:
                # What was said in a room that waits to be asked for is no sign of a dead connection.
                continue
            self._reconnected_at[account.held.pk] = now
            logger.warning("connection says nothing, starting anew", extra={"account": account.held.username})
            account.listener.reconnect()

    def _accounts_of(self, reader: Reader) -> list[Account]:
        return [account for account in self._accounts.values() if account is reader]

    # Rounds and chores

    async def rounds(self) -> None:
        """Every few seconds the rooms that a webhook marked; every minute all of them."""
        next_whole = self._clock() + EVERY_S
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await guarded(self.request_dirty())
            if self._clock() >= next_whole:
                next_whole = self._clock() + EVERY_S
                self._whole_round()

    async def request_dirty(self) -> None:
        for rid in await self._database.run(partial(cursors.dirty, rids=self.all())):
            self.catch_up.request(rid)

    def _whole_round(self) -> None:
        self.watching.spread()
        for rid in self.all():
            self.catch_up.request(rid, is_forced=False)
            if self._scout.members_due(rid):
                self._members_due[rid] = None
        self._chores_wake.set()
        self._tell_counts()

    def _tell_counts(self) -> None:
        """What was skipped since the start, by reason, whenever it has grown."""
        counts = {f"skipped_{reason}": count for reason, count in sorted(self._feed.counts.items())}
        if counts != self._told:
            logger.info("chat events without effect", extra=counts)
            self._told = counts

    def stored(self, outcome: Outcome) -> None:
        """After each batch, in the loop."""
        if outcome.moved or outcome.unplaced:
            self._members_due |= dict.fromkeys(outcome.moved)
            self._unplaced += outcome.unplaced
            self._chores_wake.set()

    async def chores(self) -> None:
        while True:
            await self._chores_wake.wait()
            await asyncio.sleep(SETTLE_S)
            self._chores_wake.clear()
            due, self._members_due = self._members_due, {}
            unplaced, self._unplaced = self._unplaced, []
            for rid in due:
                reader = self.reader_of(rid)
                if reader is not None:
                    await guarded(self._scout.members(reader, rid))
            for message_id, agent_id in unplaced:
                await guarded(self._place(message_id, agent_id))

    async def _place(self, message_id: int, agent_id: int) -> None:
        """An agent that was asked where we did not know it: its own list of rooms says whether it is there."""
        account = next((one for one in self._accounts.values() if one.held.agent_id == agent_id), None)
        if account is not None:
            await self._scout.refresh(account)
        now = moment(self._now_ms())
        await self._database.run(partial(place_membership, message_id=message_id, agent_id=agent_id, now=now))


async def guarded(work: Coroutine[Any, Any, None]) -> None:
    """Errands that a later round repeats: a chat or a database that is away is only worth a line."""
    try:
        await work
    except (RestError, DatabaseDownError) as error:
        logger.warning("put off", extra={"reason": str(error)[:200]})
    # Outermost: one errand must not end the others; a group of failures comes from several calls at once.
    except Exception:
        logger.exception("errand failed")


def _roles(subscription: ChatSubscription | None) -> tuple[str, ...]:
    return subscription.roles if subscription is not None else ()
