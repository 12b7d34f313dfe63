"""One room of one bot account: what it has still to say there, said one call after the other."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.chat import elsewhere, notices, replies, turns
from gateway.chat.database import DatabaseDownError
from gateway.chat.desk import AccountBrokenError, Desk
from gateway.chat.due import DueNotice
from gateway.chat.edit_turns import EditTurns
from gateway.chat.outbox import LeaseLostError
from gateway.chat.plan import Act, LiveReply, Rest, Settle, next_act
from gateway.models import NoticeKind
from gateway.rocketchat.rest import RateLimitedError, RefusedError, RestError, UnauthorizedError, UnreachableError
from gateway.watch.about import about_invocation

logger = logging.getLogger(__name__)

REFUSALS: Final = 3
"""So often is a thing tried that the room refuses, then it is given up with the chat's reason."""

REFUSED_WAIT_S: Final = 2.0
BROKEN_WAIT_S: Final = 30.0
DATABASE_WAIT_S: Final = 1.0
RESTRICTED: Final = "restricted-workspace"
"""The whole chat takes no messages (its licence): that is an outage, not a refusal of this room."""


@dataclass(slots=True)
class _Trouble:
    refusals: int = 0
    not_before: float = float("-inf")


class RoomLane:
    """`take` and `forget` say what there is to do; `run` ends when nothing is left."""

    def __init__(self, *, rid: str, desk: Desk, on_settled: Callable[[int], None]) -> None:
        self.rid = rid
        self.replies: dict[int, LiveReply] = {}
        self.notices: dict[int, DueNotice] = {}
        self.wake = asyncio.Event()
        self._desk = desk
        self._on_settled = on_settled
        self._last_at = float("-inf")
        self._trouble: dict[str, _Trouble] = {}
        self._turns = EditTurns(rid=rid, pace=desk.pace, clock=desk.clock)

    @property
    def is_idle(self) -> bool:
        return not self.replies and not self.notices

    async def run(self) -> None:
        while not self.is_idle:
            self.wake.clear()
            item, act = self._next()
            if item is None:
                until = act.until if isinstance(act, Rest) else None
                await self._desk.clock.wait(self.wake, until=until)
            else:
                with about_invocation(item.invocation_id):
                    await self._guarded(item, act)

    def _next(self) -> tuple[LiveReply | DueNotice | None, Act]:
        """The first thing that can be done now, notices before replies; else until when to rest."""
        now = self._desk.clock.now()
        rests: list[float] = []
        for notice in sorted(self.notices.values(), key=lambda due: due.id):
            if self._closes_reply(notice):
                continue
            if self._may_try(notice, now, rests) and self._has_turn(notice, Settle(), now, rests):
                return notice, Settle()
        for row in sorted(self.replies.values(), key=lambda live: (live.last_at, live.invocation_id)):
            if not self._may_try(row, now, rests):
                continue
            act = next_act(row, now=now, last_at=self._last_at)
            if isinstance(act, Rest):
                rests += [] if act.until is None else [act.until]
                continue
            ending = self._ending_of(row) if isinstance(act, Settle) else None
            item = ending or row
            if self._may_try(item, now, rests) and self._has_turn(item, act, now, rests):
                return item, act
        return None, Rest(min(rests, default=None))

    def _closes_reply(self, notice: DueNotice) -> bool:
        """The sentence that says how a run ended comes after what it had said."""
        return notice.kind == NoticeKind.ENDED and notice.invocation_id in self.replies

    def _ending_of(self, row: LiveReply) -> DueNotice | None:
        mine = (due for due in self.notices.values() if due.invocation_id == row.invocation_id)
        return next((due for due in mine if due.kind == NoticeKind.ENDED), None)

    def _may_try(self, item: LiveReply | DueNotice, now: float, rests: list[float]) -> bool:
        trouble = self._trouble.get(_key(item))
        if trouble is None or now >= trouble.not_before:
            return True
        rests.append(trouble.not_before)
        return False

    def _has_turn(self, item: LiveReply | DueNotice, act: Act, now: float, rests: list[float]) -> bool:
        """Nothing is begun that the chat would refuse, and no edit before the room's turn for it."""
        wait_s = turns.wait_s(self._desk.chat, item=item, act=act)
        wait_s = max(wait_s, self._turns.ready_at(_key(item), item=item, act=act) - now, 0.0)
        if wait_s:
            rests.append(now + wait_s)
        return not wait_s

    async def _guarded(self, item: LiveReply | DueNotice, act: Act) -> None:
        """One thing done. What went wrong with it is remembered, and the others of the room go on."""
        desk = self._desk
        try:
            await desk.ready()
            if await self._turns.granted(_key(item), item=item, act=act):
                await self._do(item, act)
                desk.gate.up()
        except UnreachableError as error:
            logger.info("chat unreachable", extra={"account": desk.account.username, "error": str(error)})
            desk.gate.down()
        except RateLimitedError as error:
            logger.info("chat asks to wait", extra={"account": desk.account.username, "wait_s": error.wait_s})
            desk.gate.told(error.wait_s)
        except RefusedError as error:
            await self._refused(item, error)
        except UnauthorizedError as error:
            raise AccountBrokenError(str(error)) from error
        except DatabaseDownError:
            self._wait(item, DATABASE_WAIT_S)
        except (LeaseLostError, asyncio.CancelledError):
            raise
        # Outermost for one item: whatever is wrong with it must not silence the other items of this room.
        except Exception:
            logger.exception("posting failed", extra={"item": _key(item), "room": self.rid})
            self._wait(item, BROKEN_WAIT_S)

    async def _do(self, item: LiveReply | DueNotice, act: Act) -> None:
        if isinstance(item, DueNotice):
            await notices.post(desk=self._desk, notice=item)
            self._done(item)
            return
        if isinstance(act, Settle):
            await replies.settle(desk=self._desk, row=item)
            self._done(item)
            logger.info("reply settled", extra={"state": item.state, "parts": len(item.parts), "room": self.rid})
            return
        if await replies.perform(desk=self._desk, row=item, act=act):
            item.last_at = self._last_at = self._desk.clock.now()
        await replies.record(desk=self._desk, row=item)

    def _done(self, item: LiveReply | DueNotice) -> None:
        self._trouble.pop(_key(item), None)
        self._turns.forget(_key(item))
        if isinstance(item, LiveReply):
            self.replies.pop(item.invocation_id, None)
            self._on_settled(item.invocation_id)
        elif self.notices.get(item.id) == item:
            del self.notices[item.id]

    def _wait(self, item: LiveReply | DueNotice, seconds: float) -> None:
        trouble = self._trouble.setdefault(_key(item), _Trouble())
        trouble.not_before = self._desk.clock.now() + seconds

    async def _refused(self, item: LiveReply | DueNotice, error: RefusedError) -> None:
        if RESTRICTED in error.codes:
            self._desk.gate.down()
            return
        trouble = self._trouble.setdefault(_key(item), _Trouble())
        trouble.refusals += 1
        self._wait(item, REFUSED_WAIT_S * trouble.refusals)
        logger.warning("room refuses", extra={"item": _key(item), "room": self.rid, "error": str(error)})
        if trouble.refusals < REFUSALS:
            return
        try:
            await self._give_up(item, str(error))
        except DatabaseDownError:
            self._wait(item, DATABASE_WAIT_S)
        except RestError:
            self._wait(item, BROKEN_WAIT_S)

    async def _give_up(self, item: LiveReply | DueNotice, reason: str) -> None:
        if isinstance(item, DueNotice):
            if item.text:
                await elsewhere.tell_of_notice(desk=self._desk, notice_id=item.id, text=item.text)
            await notices.give_up(desk=self._desk, notice=item, reason=reason)
            self._done(item)
        elif item.is_final:
            await elsewhere.tell_of_reply(desk=self._desk, invocation_id=item.invocation_id)
            await replies.give_up(desk=self._desk, row=item, reason=reason)
            self._done(item)
        else:
            item.is_quiet = True


def _key(item: LiveReply | DueNotice) -> str:
    return f"invocation {item.invocation_id}" if isinstance(item, LiveReply) else f"notice {item.id}"
