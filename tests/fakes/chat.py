"""A chat in memory with Rocket.Chat's habits and scripted faults, and a clock that tests turn by hand."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gateway.chat.pace import Clock
from gateway.rocketchat.calls import RefusedError, UnreachableError
from gateway.rocketchat.events import ChatMessage
from gateway.rocketchat.rest import Posted

START_MS = 1_795_000_000_000
SIZE_LIMIT = 5_000


class FakeClock(Clock):
    """Stands still until `advance`."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.waiting = 0
        self._alarms: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event, *, until: float | None) -> None:
        if event.is_set() or (until is not None and until <= self.time):
            await asyncio.sleep(0)
            return
        alarm = asyncio.Event()
        if until is not None:
            self._alarms.append((until, alarm))
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(alarm.wait())]
        self.waiting += 1
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting -= 1
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def advance(self, seconds: float) -> None:
        self.time += seconds
        due = [alarm for until, alarm in self._alarms if until <= self.time]
        self._alarms = [(until, alarm) for until, alarm in self._alarms if until > self.time]
        for alarm in due:
            alarm.set()


@dataclass
class Fault:
    """What the next call that `matches` meets; `is_done` says whether the chat did what was asked nevertheless."""

    error: Exception
    is_done: bool = False
    matches: Callable[[str, str], bool] = lambda _call, _text: True


@dataclass
class FakeChat:
    """Idempotent ids, edits that change nothing are no event, size limit, deletions, closed rooms."""

    messages: dict[str, ChatMessage] = field(default_factory=dict)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    closed_rooms: dict[str, str] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    limited: dict[tuple[str, bool], float] = field(default_factory=dict)
    may_edit: bool = True
    may_delete: bool = True
    keeps: Callable[[str], str] = lambda text: text
    history: dict[str, list[str]] = field(default_factory=dict)
    signs: list[tuple[str, str]] = field(default_factory=list)
    uploads: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    files: list[tuple[str, str]] = field(default_factory=list)
    """Posted ones: (id, name), once per confirmation."""
    _ticks: int = 0

    def texts(self, rid: str = "rid-backend") -> list[str]:
        """What the room shows now, in order."""
        shown = [message for message in self.messages.values() if message.rid == rid]
        return [message.text for message in sorted(shown, key=lambda message: message.ts)]

    def named(self, call: str) -> list[tuple[str, str, str]]:
        return [entry for entry in self.calls if entry[0] == call]

    def people_delete(self, rc_id: str) -> None:
        del self.messages[rc_id]

    def fail(self, error: Exception, *, is_done: bool = False, call: str = "", times: int = 1) -> None:
        for _ in range(times):
            self.faults.append(Fault(error, is_done, lambda name, _text: not call or name == call))

    def wait_s(self, *, route: str, is_final: bool) -> float:
        return self.limited.get((route, is_final), 0.0)

    async def send_message(self, *, rid: str, rc_id: str, text: str, thread: str = "") -> Posted:
        with self._call("send", rc_id, text):
            self._check_room(rid)
            if len(text.encode("utf-16-le")) // 2 > SIZE_LIMIT:
                raise _refused("error-message-size-exceeded")
            if rc_id not in self.messages:
                now = self._tick()
                self.messages[rc_id] = ChatMessage(
                    rc_id=rc_id,
                    rid=rid,
                    user_id="uid-bot",
                    username="bot",
                    name="bot",
                    text=self.keeps(text),
                    ts=now,
                    updated=now,
                    thread=thread,
                )
                self.history.setdefault(rc_id, []).append(text)
            return self._posted(rc_id)

    async def update_message(self, *, rid: str, rc_id: str, text: str) -> Posted:
        with self._call("update", rc_id, text):
            self._check_room(rid)
            if rc_id not in self.messages:
                raise _refused("", f'No message found with the id of "{rc_id}".')
            if not self.may_edit:
                raise _refused("error-message-editing-blocked")
            old = self.messages[rc_id]
            if old.text != self.keeps(text):
                now = self._tick()
                self.messages[rc_id] = replace(old, text=self.keeps(text), updated=now, edited=now)
                self.history.setdefault(rc_id, []).append(text)
            return self._posted(rc_id)

    async def delete_message(self, *, rid: str, rc_id: str) -> None:
        with self._call("delete", rc_id, ""):
            if rc_id not in self.messages or not self.may_delete:
                raise _refused("error-action-not-allowed")
            del self.messages[rc_id]

    async def upload(self, *, rid: str, name: str, content_type: str, data: bytes) -> str:
        with self._call("upload", name, content_type):
            self._check_room(rid)
            file_id = f"file{len(self.uploads) + 1}"
            self.uploads[file_id] = (name, data)
            return file_id

    async def confirm_upload(self, *, rid: str, file_id: str, text: str, thread: str) -> Posted:
        with self._call("confirm", file_id, text):
            self._check_room(rid)
            self.files.append((file_id, self.uploads[file_id][0]))
            now = self._tick()
            return Posted(rc_id=f"message-of-{file_id}", ts=now, updated=now)

    async def find_upload(self, *, rid: str, file_id: str, since_ms: int) -> bool:
        with self._call("find", file_id, ""):
            return any(posted == file_id for posted, _ in self.files)

    async def react(self, *, rc_id: str, emoji: str) -> None:
        with self._call("react", rc_id, emoji):
            self.signs.append((rc_id, emoji))

    async def get_message(self, *, rc_id: str) -> ChatMessage | None:
        with self._call("get", rc_id, ""):
            return self.messages.get(rc_id)

    async def open_direct(self, *, username: str) -> str:
        with self._call("direct", username, ""):
            return f"direct-{username}"

    @contextlib.contextmanager
    def _call(self, name: str, rc_id: str, text: str):
        self.calls.append((name, rc_id, text))
        fault = self.faults[0] if self.faults and self.faults[0].matches(name, text) else None
        if fault is not None:
            self.faults.popleft()
            if not fault.is_done:
                raise fault.error
        yield
        if fault is not None:
            raise fault.error

    def _check_room(self, rid: str) -> None:
        if rid in self.closed_rooms:
            raise _refused(self.closed_rooms[rid])

    def _posted(self, rc_id: str) -> Posted:
        message = self.messages[rc_id]
        return Posted(rc_id=rc_id, ts=message.ts, updated=message.updated)

    def _tick(self) -> int:
        self._ticks += 1
        return START_MS + self._ticks


def unreachable() -> UnreachableError:
    return UnreachableError("the chat answered 502")


def _refused(code: str, text: str = "") -> RefusedError:
    return RefusedError(status=400, codes=frozenset({code} if code else ()), text=text or f"refused [{code}]")
