"""A poster on a fake chat and a clock that stands still, over the real database."""

import asyncio
from datetime import timedelta

from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from gateway import invocations
from gateway.chat.database import DatabaseThread
from gateway.chat.outbox import Account
from gateway.chat.poster import Poster
from gateway.models import BotAccount, Invocation, State
from nexus_bridge import events
from runtime.models import Chunk
from tests.fakes.chat import FakeChat, FakeClock

STILL_TURNS = 12
_MINUTE = timedelta(seconds=60)


def in_db(step):
    """Run a synchronous step from an asyncio test, in a thread that leaves no connection behind."""

    def closing(*args, **kwargs):
        try:
            return step(*args, **kwargs)
        finally:
            connection.close()

    async def run(*args, **kwargs):
        return await asyncio.to_thread(closing, *args, **kwargs)

    return run


class Desk:
    """One poster that runs in this test; `quiet` waits until it has nothing to do at this time of its clock."""

    def __init__(self, account: BotAccount, chat: FakeChat, clock: FakeClock, owner: str = "chat-1") -> None:
        self.chat, self.clock = chat, clock
        self.is_held = True
        self.is_stopped = False
        self.database = DatabaseThread(name="test-poster")
        self.typing_in: list[frozenset[tuple[str, str]]] = []
        self.poster = Poster(
            account=Account(account.pk, account.agent_id, account.username, owner),
            chat=chat,
            database=self.database,
            is_held=lambda: self.is_held,
            typing=self,
            clock=clock,
        )
        self.task = asyncio.ensure_future(self.poster.run())

    def show(self, *, rooms: frozenset[tuple[str, str]]) -> None:
        self.typing_in.append(rooms)

    async def quiet(self) -> None:
        """Nudge, then wait until the poster waits for its clock everywhere."""
        self.poster.nudge(invocation_id=0)
        turns = 0
        async with asyncio.timeout(30):
            # A wait that has just been cut short needs some turns of the loop before it shows.
            while turns < STILL_TURNS:
                turns = turns + 1 if self._is_waiting() else 0
                await asyncio.sleep(0 if turns else 0.001)

    async def after(self, seconds: float, *, step_s: float = 0.25) -> None:
        """Let so much time pass, in steps, with everything done that falls due on the way."""
        left = seconds
        while left > 0:
            self.clock.advance(min(step_s, left))
            left -= step_s
            await self.quiet()

    async def stop(self) -> None:
        if self.is_stopped:
            return
        self.is_stopped = True
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await asyncio.to_thread(self.database.close)

    def _is_waiting(self) -> bool:
        if self.task.done():
            return True
        running = sum(not task.done() for task in self.poster._tasks.values())
        return not self.poster._wake.is_set() and self.clock.waiting == running + 1


def hold(account: BotAccount, owner: str = "chat-1") -> BotAccount:
    BotAccount.objects.filter(pk=account.pk).update(lease_owner=owner, lease_until=Now() + _MINUTE)
    return account


def start(row: Invocation) -> Invocation:
    """Claimed, composed, offered, accepted."""
    claim = invocations.claim_next(invocation_id=row.pk)
    assert claim is not None
    assert claim.invocation_id == row.pk
    assert invocations.composed(invocation_id=row.pk, fence=claim.fence)
    assert invocations.offer(invocation_id=row.pk)
    row.refresh_from_db()
    assert invocations.accepted(invocation_id=row.pk, fence=row.fence, session=row.bridge_session)
    row.refresh_from_db()
    return row


def output(row: Invocation, *said: events.AnyEvent | str) -> None:
    for item in said:
        event = events.Text(delta=item) if isinstance(item, str) else item
        Invocation.objects.filter(pk=row.pk).update(last_seq=F("last_seq") + 1)
        row.refresh_from_db()
        Chunk.objects.create(
            invocation=row, seq=row.last_seq, kind=events.kind_of(event), payload=events.encode(event)
        )


def end(row: Invocation, outcome: str = State.DONE, **values) -> None:
    row.refresh_from_db()
    assert invocations.ended(
        invocation_id=row.pk,
        fence=row.fence,
        session=row.bridge_session,
        outcome=outcome,
        reason=values.pop("reason", ""),
        detail=values.pop("detail", ""),
        exit_code=0,
        sha256="",
        **values,
    )


def fresh(row: Invocation) -> Invocation:
    row.refresh_from_db()
    return row
