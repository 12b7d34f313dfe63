"""mem0-api: memory behind HTTP. Run by `daphne -p 4100 composer.memory.service:application`.

docs/memory.md lists the calls; all but /healthz need `Authorization: Bearer` with the key of the settings.
Whatever is refused is answered `{"error": {"code", "message", "hint"}}`.
"""

import asyncio
import contextvars
import hmac
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from django.conf import settings
from django.utils.log import configure_logging
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")

from composer.memory import service_words as words  # after the settings' name
from composer.memory.service_words import MAX_BODY_BYTES, RefusedError
from composer.memory.store import Store, StoreUnavailableError
from gateway.watch import program
from gateway.watch.about import HEADER, about_invocation
from gateway.watch.door import REFUSAL, may_read

logger = logging.getLogger(__name__)

THREADS = 4
MAX_WAITING = 32
"""Calls under way or waiting for a thread; above it a caller is told to come back."""

CALL_TIMEOUT_S = 30.0

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class MemoryApi:
    """An ASGI application. Mem0 is loaded at the first request, in a thread; `/healthz` says when it is there."""

    def __init__(self, *, make_store: Callable[[], Store] = Store, key: str | None = None) -> None:
        self._make_store = make_store
        self._key = key
        self._store: Store | None = None
        self._store_lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="memory")
        self._waiting = 0
        self._posts: dict[str, Callable[[bytes], Awaitable[Any]]] = {
            "/memories": self._add,
            "/search": self._search,
            "/learn": self._learn,
            "/reembed": self._reembed,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        if scope["path"] == "/metrics":
            await _tell_metrics(scope, send)
            return
        try:
            with about_invocation(_invocation(scope)):
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
        if method == "POST" and path in self._posts:
            return 200, await self._posts[path](await _read(receive))
        values = parse_qs(scope["query_string"].decode("ascii", "replace"))
        if method in ("GET", "DELETE") and path == "/memories":
            return 200, await (self._list(values) if method == "GET" else self._remove(values))
        if method in ("GET", "DELETE") and path.startswith("/memories/"):
            return 200, await self._one(method, words.memory_id(path.removeprefix("/memories/")), values)
        raise RefusedError(
            status=404,
            code="not_found",
            message=f"{method} {path} is not served here.",
            hint="docs/memory.md lists all.",
        )

    async def _add(self, body: bytes) -> Any:
        request = words.checked_add(words.decoded(body, words.AddRequest))
        return {"results": await self._in_thread(lambda store: store.add(request.memories))}

    async def _search(self, body: bytes) -> Any:
        wanted = words.checked_search(words.decoded(body, words.SearchRequest))
        found = await self._in_thread(
            lambda store: store.search(query=wanted.query, scopes=wanted.scopes, limit=wanted.limit)
        )
        logger.info("memory searched", extra={"found": len(found)})
        return {"results": found}

    async def _learn(self, body: bytes) -> Any:
        step = words.checked_step(words.decoded(body, words.StepRequest))
        return await self._in_thread(lambda store: store.learn(limit=step.limit))

    async def _reembed(self, body: bytes) -> Any:
        step = words.checked_step(words.decoded(body, words.StepRequest))
        return await self._in_thread(lambda store: store.reembed(limit=step.limit))

    async def _list(self, values: Mapping[str, list[str]]) -> Any:
        scope = words.scope_of(values)
        msg = words.number(values, "msg", at_most=10**18) if "msg" in values else None
        limit = words.number(values, "limit", at_most=words.MAX_LIMIT) if "limit" in values else 50
        after = str(words.memory_id(values["after"][0])) if "after" in values else ""
        found = await self._in_thread(lambda store: store.kept(scope=scope, msg=msg, after=after, limit=limit))
        return {"results": found}

    async def _remove(self, values: Mapping[str, list[str]]) -> Any:
        msg = words.number(values, "msg", at_most=10**18)
        return {"removed": await self._in_thread(lambda store: store.remove(msg=msg))}

    async def _one(self, method: str, memory_id: UUID, values: Mapping[str, list[str]]) -> Any:
        """Of another scope is as good as not there."""
        scope = words.scope_of(values)
        found: Any
        if method == "GET":
            found = await self._in_thread(lambda store: store.one(memory_id=memory_id, scope=scope))
        else:
            removed = await self._in_thread(lambda store: store.remove_one(memory_id=memory_id, scope=scope))
            found = {"removed": removed} if removed else None
        if found is None:
            raise RefusedError(
                status=404,
                code="not_found",
                message="There is no such memory in this scope.",
                hint="GET /memories?scope=",
            )
        return found

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
        here = contextvars.copy_context()
        future = asyncio.get_running_loop().run_in_executor(self._threads, lambda: here.run(act, self._ready_store()))
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
                program.settle()
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


def _error(code: str, message: str, hint: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "hint": hint}}


def _invocation(scope: Scope) -> int | None:
    """For which of them it is asked, if the caller says so: for the log alone."""
    given = next((value for name, value in scope["headers"] if name == HEADER.lower().encode()), b"")
    return int(given) if given.isdigit() and len(given) < 20 else None


async def _tell_metrics(scope: Scope, send: Send) -> None:
    headers = {name.decode("latin-1").title(): value.decode("latin-1") for name, value in scope["headers"]}
    is_let_in = may_read(peer=(scope.get("client") or ("",))[0], headers=headers)
    content = generate_latest(REGISTRY) if is_let_in else REFUSAL.encode()
    kind = CONTENT_TYPE_LATEST if is_let_in else "text/plain; charset=utf-8"
    await _send_bytes(send, 200 if is_let_in else 401, content, content_type=kind)


async def _send_json(send: Send, status: int, body: Any) -> None:
    await _send_bytes(send, status, msgspec.json.encode(body), content_type="application/json")


async def _send_bytes(send: Send, status: int, content: bytes, *, content_type: str) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


# Without django.setup(), which would load every model into a process that needs none.
configure_logging(settings.LOGGING_CONFIG, settings.LOGGING)
program.name("mem0-api")
application = MemoryApi()
