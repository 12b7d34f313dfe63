"""The poster of one bot account: finds what it has to say, hands it to the lanes of its rooms, ends with its lease."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from django.utils import timezone

from gateway import redaction
from gateway.chat import due, outbox
from gateway.chat.database import DatabaseDownError, DatabaseThread
from gateway.chat.desk import AccountBrokenError, Chat, Desk
from gateway.chat.due import WRITTEN, Chunks, Look, Opening, PostedPart, Row
from gateway.chat.lane import RoomLane
from gateway.chat.outbox import Account, LeaseLostError
from gateway.chat.pace import Clock, Gate
from gateway.chat.plan import LiveReply, Part
from gateway.chat.room_pace import RoomPace
from gateway.invocations import chat_message_id
from gateway.models import FINAL, LIVE, State
from nexus_bridge import events
from runtime.reply import Ending, Reply

logger = logging.getLogger(__name__)

BUSY_POLL_S: Final = 1.5
IDLE_POLL_S: Final = 5.0
SOFT_S: Final = 0.5
"""Once each running reply has its first text in the chat, hints about more text are gathered for this long."""

REMEMBERED: Final = 1_000
"""Settled invocations remembered, so that a look that was under way meanwhile does not bring them back."""


class Typing(Protocol):
    def show(self, *, rooms: frozenset[tuple[str, str]]) -> None:
        """The account types in these rooms (rid, thread), and in no others."""


class Poster:
    """`run` ends by LeaseLostError, AccountBrokenError or cancellation; `nudge` makes it look sooner."""

    def __init__(
        self,
        *,
        account: Account,
        chat: Chat,
        database: DatabaseThread,
        is_held: Callable[[], bool],
        typing: Typing | None = None,
        clock: Clock | None = None,
        pace: RoomPace | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._desk = Desk(
            account=account,
            chat=chat,
            database=database,
            gate=Gate(clock=self._clock),
            pace=pace or RoomPace(clock=self._clock.now),
            clock=self._clock,
            is_held=is_held,
        )
        self._typing = typing
        self._rows: dict[int, LiveReply] = {}
        self._settled: OrderedDict[int, None] = OrderedDict()
        self._lanes: dict[str, RoomLane] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._looked_at = float("-inf")
        self._look_at = float("-inf")
        self._is_glance_due = False

    def nudge(self, *, invocation_id: int | None = None) -> None:
        """Something may be new. Without an id it is more output: fetched at once for a room that has no text yet."""
        if invocation_id is not None or not self._rows:
            self._look_at = float("-inf")
        elif any(not row.is_quiet and not row.reply.has_text for row in self._rows.values()):
            self._is_glance_due = True
        else:
            self._look_at = min(self._look_at, self._looked_at + SOFT_S)
        self._wake.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await self._loop(group)
        except BaseExceptionGroup as raised:
            error = _first(raised)
            if isinstance(error, AccountBrokenError):
                await self._desk.run(partial(outbox.mark_broken, account=self._desk.account, reason=str(error)))
            raise error from None

    async def _loop(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._wake.clear()
            try:
                if self._clock.now() >= self._look_at:
                    await self._look(group)
                elif self._is_glance_due:
                    await self._glance()
                else:
                    await self._clock.wait(self._wake, until=self._look_at)
            except DatabaseDownError:
                self._look_at = self._clock.now() + BUSY_POLL_S

    async def _glance(self) -> None:
        """The short way for a first text: its chunks and nothing else, then the room's lane."""
        self._is_glance_due = False
        silent = {pk: row.last_seq for pk, row in self._rows.items() if not row.reply.has_text}
        self._feed(await self._desk.run(partial(due.glance, seen=silent)))
        for pk in silent:
            if pk in self._rows:
                self._lane(self._rows[pk].rid).wake.set()

    async def _look(self, group: asyncio.TaskGroup) -> None:
        self._is_glance_due = False
        self._looked_at = self._clock.now()
        is_busy = bool(self._rows) or not all(lane.is_idle for lane in self._lanes.values())
        self._look_at = self._looked_at + (BUSY_POLL_S if is_busy else IDLE_POLL_S)
        seen = {pk: row.last_seq for pk, row in self._rows.items()}
        found = await self._desk.run(partial(due.look, agent_id=self._desk.account.agent_id, seen=seen))
        self._take(found, seen=frozenset(seen))
        if not found.has_all_chunks:
            self._look_at = float("-inf")
        for lane in self._lanes.values():
            self._start(lane, group)

    def _take(self, found: Look, *, seen: frozenset[int]) -> None:
        for row in found.rows:
            if row.id not in self._rows and row.id not in self._settled:
                self._open(row, found.openings[row.id])
        anew = {row.id for row in found.rows if self._is_sent_anew(row)}
        self._feed(found.chunks)
        for row in found.rows:
            live = self._rows.get(row.id)
            if live is not None and row.id not in anew:
                if live.state not in WRITTEN and row.state == State.RUNNING:
                    live.runs_now(started_at=self._started_at(row))
                _update(live, row, is_whole=found.has_all_chunks)
        if found.has_all_rows:
            self._forget(seen - {row.id for row in found.rows})
        for notice in found.notices:
            lane = self._lane(notice.rid)
            lane.notices[notice.id] = notice
        if self._typing is not None:
            at_work = frozenset((row.rid, row.thread) for row in found.rows if row.state in LIVE)
            self._typing.show(rooms=at_work)

    def _is_sent_anew(self, row: Row) -> bool:
        """The hub has thrown the output away and asked for all of it once more: read it again from its first chunk."""
        live = self._rows.get(row.id)
        if live is None or not (row.last_seq < live.last_seq or (row.is_sent_anew and not live.is_sent_anew)):
            return False
        live.is_sent_anew = True
        live.read_anew()
        self._look_at = float("-inf")
        return True

    def _open(self, row: Row, opening: Opening) -> None:
        live = LiveReply(
            invocation_id=row.id,
            room_id=row.room_id,
            rid=row.rid,
            thread=row.thread,
            is_quiet=row.is_quiet,
            wants_eyes=row.has_eyes,
            question=row.question,
            # What has ended is shown as running until all it said is read.
            state=State.RUNNING if row.state in FINAL else row.state,
            chat_id_of=partial(_chat_id, row.id),
            started_at=self._started_at(row),
            names=opening.names,
            reply=Reply(names=opening.names, secrets=redaction.secrets()),
        )
        for posted in opening.parts:
            part = live.part(posted.number)
            _restore(part, posted)
        self._rows[row.id] = live
        self._lane(row.rid).replies[row.id] = live

    def _started_at(self, row: Row) -> float:
        """By our clock; of a row that does not run yet, now."""
        age = 0.0 if row.running_at is None else (timezone.now() - row.running_at).total_seconds()
        return self._clock.now() - max(0.0, age)

    def _feed(self, chunks: Chunks) -> None:
        for invocation_id, seq, payload in chunks:
            live = self._rows.get(invocation_id)
            if live is None or seq != live.last_seq + 1:
                continue
            live.last_seq = seq
            event = events.decode(payload)
            if event is not None:
                live.reply.feed(event)

    def _forget(self, ids: frozenset[int]) -> None:
        """Settled by somebody else, or no longer there."""
        for pk in ids:
            live = self._rows.pop(pk, None)
            if live is not None:
                self._lane(live.rid).replies.pop(pk, None)

    def _on_settled(self, invocation_id: int) -> None:
        self._rows.pop(invocation_id, None)
        self._settled[invocation_id] = None
        while len(self._settled) > REMEMBERED:
            self._settled.popitem(last=False)

    def _lane(self, rid: str) -> RoomLane:
        lane = self._lanes.get(rid)
        if lane is None:
            lane = self._lanes[rid] = RoomLane(rid=rid, desk=self._desk, on_settled=self._on_settled)
        return lane

    def _start(self, lane: RoomLane, group: asyncio.TaskGroup) -> None:
        lane.wake.set()
        task = self._tasks.get(lane.rid)
        if (task is None or task.done()) and not lane.is_idle:
            name = f"lane {self._desk.account.username} {lane.rid}"
            self._tasks[lane.rid] = group.create_task(lane.run(), name=name)


def _update(live: LiveReply, row: Row, *, is_whole: bool) -> None:
    """A final state counts once every chunk is read: the state was read first, and no chunk comes after it."""
    live.is_quiet = live.is_quiet or row.is_quiet
    if row.state not in FINAL:
        live.state = row.state
    elif is_whole and live.ending is None:
        live.ending = Ending(state=row.state, spent=row.spent)
        live.state = row.state


def _restore(part: Part, posted: PostedPart) -> None:
    """What a poster before us put into the chat; when exactly is read back with the text."""
    part.chat_id = posted.chat_id
    part.digest = posted.digest
    part.revision = posted.revision
    part.is_gone = posted.is_gone
    part.is_posted = part.is_recorded = True


def _chat_id(invocation_id: int, number: int) -> str:
    return chat_message_id(f"reply:{invocation_id}:{number}")


def _first(raised: BaseExceptionGroup[BaseException]) -> BaseException:
    """The cause that ends the poster; a broken account says more than the cancellations that follow from it."""
    leaves: list[BaseException] = []
    for error in raised.exceptions:
        leaves.extend([_first(error)] if isinstance(error, BaseExceptionGroup) else [error])
    return next((error for error in leaves if isinstance(error, AccountBrokenError | LeaseLostError)), leaves[0])
