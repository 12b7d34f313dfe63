"""What all rooms of one bot account share: who it is, its chat, its database thread, its gate, the rooms' pace, its lease."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gateway.chat.database import DatabaseThread
from gateway.chat.outbox import Account, LeaseLostError
from gateway.chat.pace import Clock, Gate
from gateway.chat.room_pace import RoomPace
from gateway.rocketchat.events import ChatMessage
from gateway.rocketchat.rest import Posted

T = TypeVar("T")


class Chat(Protocol):
    """The calls of one account that posting needs; each raises RestError."""

    def wait_s(self, *, route: str, is_final: bool) -> float:
        """How long to leave a route alone, for the chat's limits; 0: not at all."""
        ...

    async def send_message(self, *, rid: str, rc_id: str, text: str, thread: str = "") -> Posted: ...
    async def update_message(self, *, rid: str, rc_id: str, text: str) -> Posted: ...
    async def delete_message(self, *, rid: str, rc_id: str) -> None: ...
    async def upload(self, *, rid: str, name: str, content_type: str, data: bytes) -> str: ...
    async def confirm_upload(self, *, rid: str, file_id: str, text: str, thread: str) -> Posted: ...
    async def find_upload(self, *, rid: str, file_id: str, since_ms: int) -> bool: ...
    async def react(self, *, rc_id: str, emoji: str) -> None: ...
    async def get_message(self, *, rc_id: str) -> ChatMessage | None: ...
    async def open_direct(self, *, username: str) -> str: ...


class AccountBrokenError(Exception):
    """The chat refuses the account's token: nothing more can be said in its name."""


@dataclass(frozen=True, slots=True)
class Desk:
    """`is_held` answers without a query whether the lease still runs; it is asked before each call to the chat."""

    account: Account
    chat: Chat
    database: DatabaseThread
    gate: Gate
    pace: RoomPace
    clock: Clock
    is_held: Callable[[], bool]

    async def run(self, step: Callable[[], T]) -> T:
        return await self.database.run(step)

    async def ready(self) -> None:
        """The chat may be called now, by us."""
        await self.gate.passed()
        if not self.is_held():
            raise LeaseLostError(self.account.username)
