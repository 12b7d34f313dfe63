"""Finds out which rooms an account is in and who is there, and keeps the rows of rooms and members true."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.chat.account import Account
from gateway.chat.database import DatabaseThread
from gateway.ingest import places
from gateway.ingest.places import KINDS, Learned
from gateway.rocketchat.events import ChatMember, ChatRoom, ChatSubscription, moment
from gateway.rocketchat.rest import RefusedError

logger = logging.getLogger(__name__)

AT_ONCE: Final = 4
MEMBERS_EVERY_S: Final = 600.0
"""Members are read at least this often, for a lost event would leave a stranger in the room."""


class Scout:
    """Each method may raise RestError and DatabaseDownError; doing it again is harmless."""

    def __init__(self, *, database: DatabaseThread, clock: Callable[[], float], now_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock
        self._now_ms = now_ms
        self._facts: dict[str, ChatRoom] = {}
        self._members_at: dict[str, float] = {}
        self._limit = asyncio.Semaphore(AT_ONCE)

    async def refresh(self, account: Account) -> list[str]:
        """The account's rooms as the chat has them now; returns those it was not known to be in."""
        found = {one.rid: one for one in await account.rest.subscriptions() if one.kind in KINDS}
        agent_id, now = account.held.agent_id, moment(self._now_ms())
        note = partial(places.note_memberships, agent_id=agent_id, subscriptions=list(found.values()), now=now)
        unknown = await self._database.run(note)
        facts = {room.rid: room for room in await account.rest.rooms() if room.rid in found}
        async with asyncio.TaskGroup() as group:
            for rid in unknown:
                group.create_task(self._learn(account, found[rid], facts.get(rid)), name=f"learn {rid}")
        for room in facts.values():
            await self.note_room(room)
        fresh = sorted(found.keys() - account.rooms.keys())
        account.rooms = found
        if fresh and agent_id is not None:
            await self._database.run(partial(places.place_waiting, agent_id=agent_id, now=now))
        return fresh

    async def note_room(self, room: ChatRoom) -> None:
        """Many events say nothing new: the chat sends the whole room with every message."""
        if room.kind in KINDS and self._facts.get(room.rid) != room:
            await self._database.run(partial(places.note_room, room=room))
            self._facts[room.rid] = room

    async def left(self, account: Account, rid: str) -> None:
        account.rooms.pop(rid, None)
        await self._database.run(partial(places.left_room, agent_id=account.held.agent_id, rid=rid))

    async def members(self, account: Account, rid: str) -> None:
        """Read who is in the room, completely."""
        subscription = account.rooms.get(rid)
        if subscription is None:
            return
        self._members_at[rid] = self._clock()
        people = await self._people(account, rid=rid, kind=subscription.kind)
        if people is not None:
            members, owners = people
            step = partial(places.sync_members, rid=rid, members=members, owners=owners)
            await self._database.run(step)

    def members_due(self, rid: str) -> bool:
        return self._clock() - self._members_at.get(rid, float("-inf")) > MEMBERS_EVERY_S

    async def _learn(self, account: Account, subscription: ChatSubscription, room: ChatRoom | None) -> None:
        async with self._limit:
            rid = subscription.rid
            room = room or await account.rest.room_info(rid=rid)
            people = await self._people(account, rid=rid, kind=subscription.kind)
            members, owners = people if people is not None else (None, frozenset[str]())
            found = Learned(room=room, subscription=subscription, members=members, owners=owners)
            now = moment(self._now_ms())
            await self._database.run(partial(places.learn, agent_id=account.held.agent_id, found=found, now=now))
            self._facts[rid] = room
            if people is not None:
                self._members_at[rid] = self._clock()

    async def _people(
        self, account: Account, *, rid: str, kind: str
    ) -> tuple[list[ChatMember], frozenset[str]] | None:
        """None: the chat does not tell this account, so what is known stays."""
        try:
            members = await account.rest.members(rid=rid, kind=kind)
            owners = await account.rest.owners(rid=rid, kind=kind)
        except RefusedError as error:
            logger.warning("members not readable", extra={"room": rid, "reason": str(error)})
            return None
        return members, owners
