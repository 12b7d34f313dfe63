"""What does Rocket.Chat's outgoing webhook do here? It marks a room as worth reading; nothing of its body is kept.

An ASGI function of its own: Django's handler costs two threads per request. Rocket.Chat takes an empty body for a
failure, posts any `text` it is answered, retries nothing after 500 and switches the hook off after 410; so every answer
has a JSON body, never these two statuses, and never that key.
"""

import asyncio
import hmac
import json
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction

from gateway import nudges
from gateway.webhook_claims import Claims

logger = logging.getLogger(__name__)

MAX_BODY: Final = 256 * 1024
MAX_TEXT: Final = 20_000
MAX_DEPTH: Final = 32
BODY_TIMEOUT_S: Final = 10.0
DATABASE_TIMEOUT_S: Final = 5.0
WAITING_ROOMS: Final = 100
"""Requests that wait for the database thread; more are sent away with 503, which Rocket.Chat repeats."""

_ID: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_IDS: Final = ("message_id", "channel_id", "user_id")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

CHECK_EVERY_S: Final = 15.0
"""How often is looked whether the messages that calls named are there."""

_MARK: Final = "UPDATE rooms SET dirty_at = now(), nudged_at = now() WHERE rid = %s RETURNING id, dirty_at"

_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="webhook")
_waiting = 0
_claims = Claims()
_checking: "asyncio.Task[None] | None" = None


@dataclass(frozen=True, slots=True)
class RefusedError(Exception):
    """An answer other than ok. `hint` says what to do about it."""

    status: int
    code: str
    message: str
    hint: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """`POST /rc/webhook`."""
    try:
        answer: dict[str, object] = {"ok": True} | await _handle(scope, receive)
        await _send(send, status=200, document=answer)
    except RefusedError as refused:
        await _refuse(send, refused)
    # Outermost: 500 would make Rocket.Chat give the message up, 503 makes it come again.
    except Exception:
        logger.exception("webhook failed")
        await _refuse(send, RefusedError(503, "retry_later", "Nexus could not take this now.", "It will be repeated."))


async def _handle(scope: dict[str, Any], receive: Receive) -> dict[str, object]:
    _check_request(scope)
    document = parse(await _body(receive))
    _check_token(document.get("token"))
    check_fields(document)
    verdict = await _mark(*(str(document[name]) for name in ("channel_id", "user_id", "message_id")))
    return {"ignored": verdict} if verdict else {"updated": True} if document.get("isEdited") else {}


def _check_request(scope: dict[str, Any]) -> None:
    if scope["method"] != "POST":
        raise RefusedError(405, "method_not_allowed", "Only POST.", headers=((b"allow", b"POST"),))
    names = {name for name, _ in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)}
    if "token" in names:
        raise RefusedError(401, "token_in_url", "A token in a URL ends up in logs.", "Send it in the body, renew it.")
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json":
        raise RefusedError(415, "bad_content_type", "The body must be application/json.")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY:
        raise _too_large()


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    async with asyncio.timeout(BODY_TIMEOUT_S):
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise RefusedError(400, "bad_json", "The body ended early.")
            part = event.get("body", b"")
            size += len(part)
            if size > MAX_BODY:
                raise _too_large()
            parts.append(part)
            if not event.get("more_body"):
                return b"".join(parts)


def parse(body: bytes) -> dict[str, Any]:
    """JSON as it is meant: no key twice, no NaN, not deeper than 32."""
    try:
        document = json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _bad_json() from None
    if not isinstance(document, dict) or _depth(document) > MAX_DEPTH:
        raise _bad_json()
    return document


def check_fields(document: dict[str, Any]) -> None:
    for name in _IDS:
        value = document.get(name)
        if value is None:
            raise RefusedError(422, f"missing_field:{name}", f"{name} is missing.")
        if not isinstance(value, str) or _ID.fullmatch(value) is None:
            raise RefusedError(422, "bad_id", f"{name} is not an id of Rocket.Chat.")
    text = document.get("text")
    if text is not None and (not isinstance(text, str) or len(text) > MAX_TEXT):
        raise RefusedError(422, "bad_text", f"text must be a string of at most {MAX_TEXT} characters.")


def _check_token(token: object) -> None:
    """Without a token of our own the door stays shut."""
    expected = settings.NEXUS_WEBHOOK_TOKEN
    given = token if isinstance(token, str) else ""
    is_same = hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
    if not expected or not is_same:
        raise RefusedError(
            401, "bad_token", "The token is not ours.", "NEXUS_WEBHOOK_TOKEN and the integration differ."
        )


async def _mark(rid: str, user_id: str, rc_id: str) -> str:
    global _waiting
    if _waiting >= WAITING_ROOMS:
        raise _retry_later()
    _waiting += 1
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S):
            verdict = await asyncio.get_running_loop().run_in_executor(_pool, _mark_row, rid, user_id, rc_id)
            _check_claims_soon()
            return verdict
    except (DatabaseError, InterfaceError, TimeoutError) as error:
        logger.warning("webhook put off", extra={"error": type(error).__name__})
        raise _retry_later() from None
    finally:
        _waiting -= 1


def _mark_row(rid: str, user_id: str, rc_id: str) -> str:
    """Why the event is ignored; empty when the room is marked."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM bot_accounts WHERE rocketchat_id = %s", [user_id])
            if cursor.fetchone() is not None:
                return "own_bot"
            cursor.execute(_MARK, [rid])
            row = cursor.fetchone()
            if row is None:
                return "unknown_room"
            nudges.chat(agent_id=None, room_id=int(row[0]))
            _claims.named(rc_id, room_id=int(row[0]), at=row[1])
            return ""
    except (DatabaseError, InterfaceError):
        connection.close()
        raise


def _check_claims_soon() -> None:
    """One look at a time, while there is something to look for."""
    global _checking
    loop = asyncio.get_running_loop()
    if _claims.is_waiting and (_checking is None or _checking.done() or _checking.get_loop() is not loop):
        _checking = loop.create_task(_check_claims(), name="webhook claims")


async def _check_claims() -> None:
    while _claims.is_waiting:
        await asyncio.sleep(CHECK_EVERY_S)
        await asyncio.get_running_loop().run_in_executor(_pool, _check_rows)


def _check_rows() -> None:
    try:
        _claims.check()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("webhook claims not checked", extra={"error": type(error).__name__})
        connection.close()


async def _refuse(send: Send, refused: RefusedError) -> None:
    request_id = secrets.token_hex(6)
    logger.info("webhook refused", extra={"code": refused.code, "request": request_id})
    error = {"code": refused.code, "message": refused.message, "hint": refused.hint, "request_id": request_id}
    await _send(send, status=refused.status, document={"error": error}, headers=refused.headers)


async def _send(
    send: Send, *, status: int, document: dict[str, Any], headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    body = json.dumps(document).encode()
    fixed = ((b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice")
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        level = inner
    return depth


def _bad_json() -> RefusedError:
    return RefusedError(400, "bad_json", "The body is not a plain JSON object.")


def _too_large() -> RefusedError:
    return RefusedError(413, "too_large", f"The body is larger than {MAX_BODY} bytes.")


def _retry_later() -> RefusedError:
    return RefusedError(503, "retry_later", "The database does not answer.", "Rocket.Chat repeats this by itself.")
