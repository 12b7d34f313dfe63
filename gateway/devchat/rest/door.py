"""How does an HTTP request become a call and its outcome an answer? Authentication, limits, envelope, scripted faults."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from starlette.formparsers import MultiPartException
from starlette.requests import Request

from gateway.devchat import rest
from gateway.devchat.accounts import resume
from gateway.devchat.errors import NotLoggedInError, PlainError
from gateway.devchat.faults import Fault
from gateway.devchat.limits import Allowance
from gateway.devchat.lines import cut_line
from gateway.devchat.rest.calls import ROUTES, Call, Reply, Route
from gateway.devchat.rest.refusals import REFUSALS, refusal
from gateway.devchat.wire import Document, from_json, to_rest

if TYPE_CHECKING:
    from gateway.devchat.workspace import Workspace

logger = logging.getLogger("devchat.rest")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PREFIX = "/api/v1/"
MAX_JSON_BYTES = 5 * 1024 * 1024  # larger bodies are refused with 413
HANG_LIMIT_S = 600  # a scripted hang ends by then, so that no test leaves a request for ever
FAMILIES = rest.__all__  # importing the package is what fills ROUTES

NO_ENDPOINT: Document = {"status": "error", "message": "API endpoint does not exist."}
HTML_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class BodyTooLargeError(Exception):
    """More JSON than any client has reason to send."""


class RestDoor:
    """The ASGI application below /api/."""

    def __init__(self, workspace: "Workspace") -> None:
        self._workspace = workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = unquote(scope["path"])
        name, *parts = path.removeprefix(PREFIX).split("/") if path.startswith(PREFIX) else [path]
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        fault = self._fault(scope["method"], path, headers)
        if fault is not None and await self._break_before(fault, scope, receive, send):
            return
        reply, extra = await self._answer(scope, receive, name, parts, headers)
        if fault is not None and await self._break_after(fault, receive):
            return
        await _respond(send, reply.status, _body(reply), extra)

    def _fault(self, method: str, path: str, headers: dict[str, str]) -> Fault | None:
        faults = self._workspace.faults
        if faults.is_empty:
            return None
        user = self._workspace.store.users.get(headers.get("x-user-id", ""))
        return faults.hit("rest", path=path.removeprefix(PREFIX), method=method, user=user.username if user else "")

    async def _break_before(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> bool:
        """True when the request was not to be handled at all."""
        if fault.action == "delay":
            await asyncio.sleep(fault.delay_ms / 1000)
            return False
        if fault.when == "after" or fault.action == "swallow":
            return False
        await self._apply(fault, receive, send)
        return True

    async def _break_after(self, fault: Fault, receive: Receive) -> bool:
        """True when the work is done and the answer must not leave."""
        if fault.action == "swallow" or (fault.when == "after" and fault.action == "hang"):
            await _wait_for_client(receive)
            return True
        if fault.when == "after" and fault.action == "drop_socket":
            cut_line(receive)
            return True
        return False

    async def _apply(self, fault: Fault, receive: Receive, send: Send) -> None:
        match fault.action:
            case "drop_socket":
                cut_line(receive)
            case "hang":
                await _wait_for_client(receive)
            case _:
                await _respond_with_status(send, fault)

    async def _answer(
        self, scope: Scope, receive: Receive, name: str, parts: list[str], headers: dict[str, str]
    ) -> tuple[Reply, list[tuple[bytes, bytes]]]:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if name == "/api/info":
            name = "info"
        route = ROUTES.get((method, name))
        if route is None:
            return Reply(404, NO_ENDPOINT), []
        extra: list[tuple[bytes, bytes]] = []
        call = Call(
            self._workspace,
            method,
            name,
            parts,
            dict(parse_qsl(scope["query_string"].decode("latin-1"))),
            None,
            headers,
        )
        try:
            self._authenticate(call, route)
            allowance = self._count(call, route, scope)
            if allowance is not None:
                extra = _limit_headers(allowance)
                if not allowance.is_allowed:
                    return Reply(429, _too_many(allowance, self._workspace.store.now())), extra
            await _read_body(call, route, scope, receive)
            return _handle(call, route), extra
        except BodyTooLargeError:
            return Reply(413, {"success": False, "error": "request entity too large"}), extra
        except REFUSALS as error:
            return refusal(error, is_nine=self._workspace.store.switches.is_nine), extra
        except Exception:
            # The outermost edge of a request: a broken handler answers 500 and the workspace lives on.
            logger.exception("endpoint failed", extra={"endpoint": name})
            return Reply(500, {"success": False, "error": "Internal server error"}), extra

    def _authenticate(self, call: Call, route: Route) -> None:
        secret, user_id = call.headers.get("x-auth-token"), call.headers.get("x-user-id")
        if secret and user_id:
            try:
                user, call.token = resume(self._workspace.store, secret)
                call.caller = user if user.id == user_id else None
            except NotLoggedInError:
                call.caller = None
        if route.needs_login and call.caller is None:
            raise NotLoggedInError
        if route.permission:
            call.require(route.permission)

    def _count(self, call: Call, route: Route, scope: Scope) -> Allowance | None:
        switches = self._workspace.store.switches
        if not switches.limits_enabled or not route.is_limited:
            return None
        if call.caller is not None and self._workspace.store.may(call.caller, "api-bypass-rate-limit"):
            return None
        key = (call.method, call.route, (scope.get("client") or ("",))[0])
        return self._workspace.windows.hit(key, limit=switches.rest_limit_calls, period_ms=switches.rest_limit_ms)


def _handle(call: Call, route: Route) -> Reply:
    if route.schema is not None:
        route.schema.check(call.body)
    outcome = route.handler(call)
    if isinstance(outcome, Reply):
        return outcome
    return Reply(200, outcome | {"success": True})


async def _read_body(call: Call, route: Route, scope: Scope, receive: Receive) -> None:
    if call.method == "GET":
        return
    content_type = call.headers.get("content-type", "")
    if route.takes_form and content_type.startswith("multipart/form-data"):
        try:
            call.form = await Request(scope, receive).form(max_files=10, max_fields=50)
        except MultiPartException as error:
            raise PlainError(f"Malformed multipart body: {error.message}") from error
        return
    raw = await _read_all(receive)
    if content_type.startswith("application/x-www-form-urlencoded"):
        call.body = dict(parse_qsl(raw.decode("utf-8", "replace")))
        return
    try:
        call.body = from_json(raw) if raw.strip() else {}
    except ValueError as error:
        raise PlainError(f"Invalid JSON in the request body: {error}") from error


async def _read_all(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        piece = message.get("body", b"")
        size += len(piece)
        if size > MAX_JSON_BYTES:
            raise BodyTooLargeError
        pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)


def _limit_headers(allowance: Allowance) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-ratelimit-limit", b"%d" % allowance.limit),
        (b"x-ratelimit-remaining", b"%d" % allowance.remaining),
        (b"x-ratelimit-reset", b"%d" % allowance.reset_at),
    ]


def _too_many(allowance: Allowance, now: int) -> Document:
    seconds = max(1, -(-(allowance.reset_at - now) // 1000))
    return {
        "success": False,
        "error": "Error, too many requests. Please slow down. "
        f"You must wait {seconds} seconds before trying this endpoint again. [error-too-many-requests]",
    }


def _body(reply: Reply) -> bytes:
    return to_rest(reply.body)


async def _respond(send: Send, status: int, body: bytes, extra: list[tuple[bytes, bytes]]) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _respond_with_status(send: Send, fault: Fault) -> None:
    extra = [] if fault.retry_after is None else [(b"retry-after", b"%d" % fault.retry_after)]
    body = (
        HTML_PAGE
        if fault.html
        else to_rest(fault.body or {"success": False, "error": f"scripted status {fault.status}"})
    )
    content_type = b"text/html" if fault.html else b"application/json"
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _wait_for_client(receive: Receive) -> None:
    """Never answers; returns when the client has given up."""
    try:
        async with asyncio.timeout(HANG_LIMIT_S):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass
    cut_line(receive)
