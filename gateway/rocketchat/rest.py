"""The chat's REST API for asyncio: one account's credentials over a client that all accounts share."""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx

from gateway.rocketchat import calls, tls
from gateway.rocketchat.calls import (
    Call,
    RateLimitedError,
    RefusedError,
    RestError,
    UnauthorizedError,
    UnreachableError,
)
from gateway.rocketchat.clock import ChatClock
from gateway.rocketchat.events import (
    BadDocumentError,
    ChatMember,
    ChatMessage,
    ChatRoom,
    ChatSubscription,
    Document,
    member,
    message,
    room,
    subscription,
    time_ms,
)
from gateway.rocketchat.limits import Limits

__all__ = [
    "RateLimitedError",
    "RefusedError",
    "RestClient",
    "RestError",
    "UnauthorizedError",
    "UnreachableError",
    "open_http",
]

TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 20
"""Calls above it wait for a connection; the pool is shared by all accounts of the process."""

SHORT_WAIT_S = 2.0
"""A limit that ends this soon is waited out in place; otherwise the caller is told how long it takes."""

MEMBERS_PAGE = 100
FIND_PAGES, FIND_COUNT = 10, 100
T = TypeVar("T")

MAX_MEMBERS = 5_000
"""Members read of one room; in a larger one the rest are not known to Nexus until they write."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A message as the chat holds it after our call. Times are milliseconds since 1970."""

    rc_id: str
    ts: int
    updated: int


@dataclass(frozen=True, slots=True)
class Deletion:
    rc_id: str
    at: int


@dataclass(frozen=True, slots=True)
class Page:
    """Messages oldest change first; `bad` are documents that could not be read, with their reason."""

    messages: list[ChatMessage]
    bad: list[tuple[Document, str]]
    next: int | None


def open_http(*, base_url: str, trust: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """The client that all accounts of a process share: connections are kept, redirects are not followed."""
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
        trust_env=False,
        verify=trust or True,
    )


class RestClient:
    """The calls of one account. Every method raises RestError in one of its four forms.

    Where the chat limits the account, a call that it would refuse is not made: it waits for a moment, or raises
    RateLimitedError at once.
    """

    def __init__(
        self,
        *,
        http: httpx.AsyncClient,
        user_id: str,
        token: str,
        limits: Limits | None = None,
        clock: ChatClock | None = None,
    ) -> None:
        self._http = http
        self._headers = {"X-User-Id": user_id, "X-Auth-Token": token}
        self._chat_clock = clock or ChatClock()
        self._limits = limits or Limits(clock=time.monotonic)
        self._is_limited: bool | None = None

    def wait_s(self, *, route: str, is_final: bool) -> float:
        """How long to leave a route (`POST chat.update`) alone for others; 0 for accounts that nothing limits."""
        return self._limits.look(route, is_final=is_final) if self._counts else 0.0

    @property
    def _counts(self) -> bool:
        """Whether calls have to be counted. A new account is what the others have turned out to be."""
        return self._limits.are_known if self._is_limited is None else self._is_limited

    async def call(self, call: Call) -> Document:
        if self._is_limited is None:
            async with self._limits.newcomers:
                response = await self._counted(call)
        else:
            response = await self._counted(call)
        return calls.answer(status=response.status_code, headers=response.headers, content=response.content)

    async def _counted(self, call: Call) -> httpx.Response:
        if self._counts:
            await self._turn(call.route)
        response = await self._request(call)
        self._chat_clock.heard(response.headers.get("date"))
        if self._limits.heard(call.route, response.headers):
            self._is_limited = True
        elif response.status_code == 200:
            self._is_limited = False
        return response

    async def _turn(self, route: str) -> None:
        while (wait_s := self._limits.take(route)) > 0:
            if wait_s > SHORT_WAIT_S:
                raise RateLimitedError(wait_s=wait_s)
            await asyncio.sleep(wait_s)

    async def _request(self, call: Call) -> httpx.Response:
        files = None
        if call.upload:
            name, content_type, data = call.upload
            files = {call.upload_field: (name, data, content_type)}
        try:
            async with asyncio.timeout(TIMEOUT_S * 2):
                return await self._http.request(
                    call.method,
                    call.url_path,
                    params=dict(call.params),
                    json=call.body,
                    files=files,
                    headers={**self._headers, **call.headers},
                )
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise _unreachable(error) from error

    # Reading

    async def me(self) -> ChatMember:
        return _read_one(member, await self.call(calls.me()))

    async def subscriptions(self) -> list[ChatSubscription]:
        answer = await self.call(calls.subscriptions())
        found = []
        for document in calls.texts(answer.get("update")):
            try:
                found.append(subscription(document))
            except BadDocumentError:
                continue
        return found

    async def rooms(self) -> list[ChatRoom]:
        answer = await self.call(calls.rooms())
        found = []
        for document in calls.texts(answer.get("update")):
            try:
                found.append(room(document))
            except BadDocumentError:
                continue
        return found

    async def room_info(self, *, rid: str) -> ChatRoom:
        answer = await self.call(calls.room_info(rid=rid))
        return _read_one(room, answer.get("room"))

    async def members(self, *, rid: str, kind: str) -> list[ChatMember]:
        found: list[ChatMember] = []
        for offset in range(0, MAX_MEMBERS, MEMBERS_PAGE):
            answer = await self.call(calls.members(rid=rid, kind=kind, offset=offset, count=MEMBERS_PAGE))
            page = calls.texts(answer.get("members"))
            for document in page:
                try:
                    found.append(member(document))
                except BadDocumentError:
                    continue
            if len(page) < MEMBERS_PAGE:
                break
        return found

    async def owners(self, *, rid: str, kind: str) -> frozenset[str]:
        """User ids of the room's owners; a direct room has none."""
        if kind == "d":
            return frozenset()
        answer = await self.call(calls.roles(rid=rid, kind=kind))
        entries = [entry for entry in calls.texts(answer.get("roles")) if isinstance(entry, dict)]
        users = (entry.get("u") for entry in entries if "owner" in calls.texts(entry.get("roles")))
        return frozenset(str(user.get("_id")) for user in users if isinstance(user, dict))

    async def changed(self, *, rid: str, after_ms: int, count: int) -> Page:
        """One page of what changed later than `after_ms`, oldest change first."""
        result = _result(await self.call(calls.changed(rid=rid, after_ms=after_ms, count=count)))
        messages, bad = _split(calls.texts(result.get("updated")))
        return Page(messages=messages, bad=bad, next=_next(result))

    async def changed_since(self, *, rid: str, since: str) -> tuple[Page, list[Deletion]]:
        """Everything that changed or went since `since` (ISO), unbounded: for the moment a page can't step over."""
        result = _result(await self.call(calls.changed_since(rid=rid, since=since)))
        messages, bad = _split(calls.texts(result.get("updated")))
        return Page(messages=messages[::-1], bad=bad, next=None), _deletions(result)

    async def deleted(self, *, rid: str, after_ms: int, count: int) -> tuple[list[Deletion], int | None]:
        result = _result(await self.call(calls.deleted(rid=rid, after_ms=after_ms, count=count)))
        return _deletions(result), _next(result)

    async def history(self, *, rid: str, kind: str, latest: str, count: int) -> Page:
        answer = await self.call(calls.history(rid=rid, kind=kind, latest=latest, count=count))
        messages, bad = _split(calls.texts(answer.get("messages")))
        return Page(messages=messages, bad=bad, next=None)

    async def get_message(self, *, rc_id: str) -> ChatMessage | None:
        """None when the chat has no such message, or has it deleted."""
        try:
            answer = await self.call(calls.get(rc_id=rc_id))
        except RefusedError as error:
            if error.status == 400:
                return None
            raise
        document = answer.get("message")
        if document is None:
            return None
        found = _read_one(message, document)
        return None if found.is_tombstone else found

    async def open_direct(self, *, username: str) -> str:
        """The id of the direct room with this person."""
        answer = await self.call(calls.open_direct(username=username))
        return str(calls.direct_room(answer, username=username).get("_id"))

    # Writing

    async def send_message(
        self, *, rid: str, rc_id: str, text: str, thread: str = "", attachments: tuple[Document, ...] = ()
    ) -> Posted:
        """Post under our own id. The chat never takes the same id twice, so a repeated call finds the first one's message."""
        try:
            call = calls.send(rid=rid, rc_id=rc_id, text=text, thread=thread, attachments=attachments)
            answer = await self.call(call)
            return _posted(answer, rc_id=rc_id)
        except RefusedError:
            found = await self.get_message(rc_id=rc_id)
            if found is None:
                raise
            return Posted(rc_id=rc_id, ts=found.ts, updated=found.updated)

    async def update_message(self, *, rid: str, rc_id: str, text: str) -> Posted:
        return _posted(await self.call(calls.update(rid=rid, rc_id=rc_id, text=text)), rc_id=rc_id)

    async def delete_message(self, *, rid: str, rc_id: str) -> None:
        await self.call(calls.delete(rid=rid, rc_id=rc_id))

    async def react(self, *, rc_id: str, emoji: str, is_on: bool = True) -> None:
        await self.call(calls.react(rc_id=rc_id, emoji=emoji, is_on=is_on))

    async def upload(self, *, rid: str, name: str, content_type: str, data: bytes) -> str:
        """Bring a file to the chat, which shows it to nobody before `confirm_upload`; returns its id there."""
        answer = await self.call(calls.upload(rid=rid, name=name, content_type=content_type, data=data))
        file = answer.get("file")
        file_id = file.get("_id") if isinstance(file, dict) else None
        if not isinstance(file_id, str):
            raise UnreachableError("the chat took a file and gave no id for it")
        return file_id

    async def confirm_upload(self, *, rid: str, file_id: str, text: str, thread: str) -> Posted:
        """Post an uploaded file. Not to be repeated blindly: a second confirmation posts it again."""
        answer = await self.call(calls.confirm_upload(rid=rid, file_id=file_id, text=text, thread=thread))
        return _posted(answer, rc_id="")

    async def find_upload(self, *, rid: str, file_id: str, since_ms: int) -> bool:
        """Whether a message changed since then shows this file; looks through a bounded number of messages."""
        after: int | None = since_ms
        for _ in range(FIND_PAGES):
            if after is None:
                return False
            page = await self.changed(rid=rid, after_ms=after, count=FIND_COUNT)
            if any(item.get("id") == file_id for one in page.messages for item in one.attachments):
                return True
            after = page.next
        return False

    async def download(self, *, file_id: str, name: str, most: int) -> bytes:
        """A file's content. Redirects are not followed: they would lead the account's token elsewhere."""
        path = calls.download(file_id=file_id, name=name)
        kept = bytearray()
        try:
            async with asyncio.timeout(TIMEOUT_S * 2), self._http.stream("GET", path, headers=self._headers) as got:
                if got.status_code == 429 or got.status_code >= 500:
                    raise UnreachableError(f"the chat answered {got.status_code}")
                if got.status_code != 200:
                    raise RefusedError(status=got.status_code, codes=frozenset(), text="the file can't be fetched")
                async for piece in got.aiter_bytes():
                    kept += piece
                    if len(kept) > most:
                        raise RefusedError(status=413, codes=frozenset(), text="the file is larger than it said")
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise _unreachable(error) from error
        return bytes(kept)


def _unreachable(error: Exception) -> UnreachableError:
    return UnreachableError(f"the chat did not answer: {tls.why(error) or type(error).__name__}")


def _read_one(read: Callable[[object], T], document: object) -> T:
    try:
        return read(document)
    except BadDocumentError as error:
        raise UnreachableError(f"the chat sent a document that can't be read: {error.reason}") from error


def _split(documents: list[object]) -> tuple[list[ChatMessage], list[tuple[Document, str]]]:
    messages, bad = [], []
    for document in documents:
        try:
            messages.append(message(document))
        except BadDocumentError as error:
            bad.append((document if isinstance(document, dict) else {"document": document}, error.reason))
    return messages, bad


def _result(answer: Document) -> Document:
    result = answer.get("result")
    if not isinstance(result, dict):
        raise UnreachableError("chat.syncMessages answered without a result")
    return result


def _deletions(result: Document) -> list[Deletion]:
    documents = [item for item in calls.texts(result.get("deleted")) if isinstance(item, dict)]
    return [
        Deletion(rc_id=item["_id"], at=_moment(item.get("_deletedAt")))
        for item in documents
        if isinstance(item.get("_id"), str)
    ]


def _next(result: Document) -> int | None:
    cursor = result.get("cursor")
    value = cursor.get("next") if isinstance(cursor, dict) else None
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        raise UnreachableError("chat.syncMessages answered with a cursor that is no number") from None


def _moment(value: object) -> int:
    try:
        return time_ms(value)
    except BadDocumentError:
        return 0


def _posted(answer: Document, *, rc_id: str) -> Posted:
    document = answer.get("message")
    if not isinstance(document, dict):
        raise RefusedError(status=200, codes=frozenset({"no-message"}), text="the chat answered without the message")
    ts = _moment(document.get("ts"))
    return Posted(
        rc_id=rc_id or str(document.get("_id", "")), ts=ts, updated=_moment(document.get("_updatedAt")) or ts
    )
