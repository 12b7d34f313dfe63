"""mem0-api: memory behind HTTP. Run by `daphne -p 4100 composer.memory.service:application`.

POST /memories, POST /search, DELETE /memories?msg=, GET /healthz; `Authorization: Bearer` with the key of the settings.
Whatever is refused is answered `{"error": {"code", "message", "hint"}}`.
"""

import asyncio
import hmac
import logging
import os
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")

from composer.memory.store import NewMemory, Store, StoreUnavailableError  # after the settings' name

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_MEMORIES = 100
MAX_TEXT_CHARS = 20_000
MAX_SCOPES = 8
MAX_LIMIT = 200
THREADS = 4
MAX_WAITING = 32
"""Calls under way or waiting for a thread; above it a caller is told to come back."""

CALL_TIMEOUT_S = 30.0

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class AddRequest(msgspec.Struct, forbid_unknown_fields=True):
    memories: list[NewMemory]


class SearchRequest(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    scope: str | list[str]
    limit: int = 20

    @property
    def scopes(self) -> list[str]:
        return [self.scope] if isinstance(self.scope, str) else self.scope


class RefusedError(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, *, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": code, "message": message, "hint": hint}}


class MemoryApi:
    """An ASGI application. Mem0 is loaded at the first request, in a thread; `/healthz` says when it is there."""

    def __init__(self, *, make_store: Callable[[], Store] = Store, key: str | None = None) -> None:
        self._make_store = make_store
        self._key = key
        self._store: Store | None = None
        self._store_lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="memory")
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        try:
            status, body = await self._answer(scope, receive)
        except RefusedError as refused:
            status, body = refused.status, refused.body
        except StoreUnavailableError as error:
            logger.warning("memory unavailable", extra={"error": str(error)})
            status, body = (
                503,
                _error("unavailable", str(error)[:300], "The database or the embedder does not answer; try again."),
            )
        # Outermost: whatever mem0 raises must not end the connection without an answer.
        except Exception:
            logger.exception("memory failed")
            status, body = 500, _error("failed", "The call failed.", "The log of mem0-api has the reason.")
        await _send_json(send, status, body)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, Any]:
        method, path = scope["method"], scope["path"].rstrip("/") or "/"
        if path == "/healthz":
            return await self._health()
        self._check_key(scope)
        if (method, path) == ("POST", "/memories"):
            request = _checked_add(_decoded(await _read(receive), AddRequest))
            results = await self._in_thread(lambda store: store.add(request.memories))
            return 200, {"results": results}
        if (method, path) == ("POST", "/search"):
            wanted = _checked_search(_decoded(await _read(receive), SearchRequest))
            found = await self._in_thread(
                lambda store: store.search(query=wanted.query, scopes=wanted.scopes, limit=wanted.limit)
            )
            return 200, {"results": found}
        if (method, path) == ("DELETE", "/memories"):
            msg = _message_id(scope)
            return 200, {"removed": await self._in_thread(lambda store: store.remove(msg=msg))}
        raise RefusedError(
            status=404,
            code="not_found",
            message=f"{method} {path} is not served here.",
            hint="POST /memories, POST /search, DELETE /memories?msg=, GET /healthz",
        )

    async def _health(self) -> tuple[int, Any]:
        is_alive = await self._in_thread(lambda store: store.is_alive())
        return (200, {"status": "ok"}) if is_alive else (503, _error("unavailable", "No database.", "Is Postgres up?"))

    def _check_key(self, scope: Scope) -> None:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        wanted = f"Bearer {self._key or settings.NEXUS_MEM0_KEY}".encode()
        if not hmac.compare_digest(given, wanted):
            raise RefusedError(
                status=401, code="unauthorized", message="The key is missing or wrong.", hint="NEXUS_MEM0_KEY"
            )

    async def _in_thread(self, act: Callable[[Store], Any]) -> Any:
        if self._waiting >= MAX_WAITING:
            raise RefusedError(status=503, code="busy", message="Too many calls.", hint="Try again in a second.")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, lambda: act(self._ready_store()))
        future.add_done_callback(self._one_less)
        try:
            return await asyncio.wait_for(asyncio.shield(future), CALL_TIMEOUT_S)
        except TimeoutError:
            raise RefusedError(
                status=504, code="timeout", message="The call took too long.", hint="Send smaller batches."
            ) from None

    def _one_less(self, future: "asyncio.Future[Any]") -> None:
        """The thread is free again, also when nobody waits for its outcome any more."""
        self._waiting -= 1
        if not future.cancelled():
            future.exception()

    def _ready_store(self) -> Store:
        with self._store_lock:
            if self._store is None:
                self._store = self._make_store()
            return self._store


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise RefusedError(status=400, code="gone", message="The caller has gone.", hint="")
        body += bytes(event.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(
                status=413, code="too_large", message="The body is too large.", hint=f"At most {MAX_BODY_BYTES} bytes."
            )
        if not event.get("more_body"):
            return body


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _bad(str(error)) from error


def _checked_add(request: AddRequest) -> AddRequest:
    if not 0 < len(request.memories) <= MAX_MEMORIES:
        raise _bad(f"`memories` must hold 1 to {MAX_MEMORIES} entries")
    for memory in request.memories:
        _check_scope(memory.scope)
        if not memory.text.strip() or len(memory.text) > MAX_TEXT_CHARS or "\x00" in memory.text:
            raise _bad(f"the text of message {memory.msg} is empty, holds NUL or is longer than {MAX_TEXT_CHARS}")
    return request


def _checked_search(request: SearchRequest) -> SearchRequest:
    if not 0 < len(request.scopes) <= MAX_SCOPES:
        raise _bad(f"`scope` must be one scope or 1 to {MAX_SCOPES} of them")
    for scope in request.scopes:
        _check_scope(scope)
    if not request.query.strip() or len(request.query) > MAX_TEXT_CHARS or "\x00" in request.query:
        raise _bad(f"`query` is empty, holds NUL or is longer than {MAX_TEXT_CHARS}")
    if not 0 < request.limit <= MAX_LIMIT:
        raise _bad(f"`limit` must be from 1 to {MAX_LIMIT}")
    return request


def _check_scope(scope: str) -> None:
    """Mem0 takes ids without blanks; `*` would mean every scope to it."""
    if not scope or len(scope) > 200 or scope == "*" or any(sign.isspace() or sign == "\x00" for sign in scope):
        raise _bad("a scope is a word such as room:GENERAL")


def _message_id(scope: Scope) -> int:
    values = parse_qs(scope["query_string"].decode("ascii", "replace")).get("msg", [])
    if len(values) != 1 or not values[0].isascii() or not values[0].isdigit() or len(values[0]) > 18:
        raise _bad("say which message: ?msg=<its number>")
    return int(values[0])


def _bad(message: str) -> RefusedError:
    return RefusedError(status=422, code="bad_request", message=message, hint="docs/memory.md has the fields.")


def _error(code: str, message: str, hint: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "hint": hint}}


async def _send_json(send: Send, status: int, body: Any) -> None:
    content = msgspec.json.encode(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


application = MemoryApi()
