"""The live console's socket: who may open it, and what it tells. Rows and chunks come from Postgres alone, so that
nothing is missed when a gateway restarts; the page asks again for what it has not seen.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models import Q
from django.db.models.functions import Now

from gateway import redaction, staff
from gateway.invocations import OPEN
from gateway.models import Invocation, Purpose
from nexus_bridge import events
from runtime.models import Chunk

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.4
SESSION_EVERY_S: Final = 10.0
"""How soon a session that ended closes its consoles."""

SHOWN_S: Final = 600
MAX_ROWS: Final = 50
MAX_CHUNKS: Final = 200
MAX_TEXT: Final = 4_000
MAX_CONSOLES: Final = 20
MAX_FRAME: Final = 1_024
SEND_TIMEOUT_S: Final = 10.0
SESSION_OVER: Final = 4401
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_open = 0


async def console(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Mounted at /ws/console/."""
    await receive()  # websocket.connect
    headers = dict(scope["headers"])
    refusal = await _refusal(headers)
    if refusal is not None:
        await _refuse(send, *refusal)
        return
    await send({"type": "websocket.accept"})
    global _open
    _open += 1
    try:
        await _Console(cookie=headers.get(b"cookie", b""), send=send).run(receive)
    finally:
        _open -= 1


async def _refusal(headers: dict[bytes, bytes]) -> tuple[int, str] | None:
    """Origin first: a page of somebody else learns nothing about sessions."""
    if headers.get(b"origin", b"").decode("latin-1") not in origins():
        return 403, "This origin may not open the console."
    if _open >= MAX_CONSOLES:
        return 503, "Too many consoles are open."
    if not await database_sync_to_async(may_look)(headers.get(b"cookie", b"")):
        return 403, "Log in at /admin/ first."
    return None


def origins() -> frozenset[str]:
    """Where our own pages come from, exactly: scheme, host and port of NEXUS_PUBLIC_URL; on loopback by each name."""
    parts = urlsplit(settings.NEXUS_PUBLIC_URL)
    port = f":{parts.port}" if parts.port else ""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    hosts = LOOPBACK if host in LOOPBACK else (host,)
    return frozenset(f"{parts.scheme}://{one}{port}" for one in hosts)


def may_look(cookie: bytes) -> bool:
    """Whether this Cookie header carries a session of staff."""
    from importlib import import_module

    from django.contrib.auth import get_user
    from django.http import HttpRequest

    try:
        morsel = SimpleCookie(cookie.decode("latin-1")).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return False
    if morsel is None:
        return False
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(morsel.value)
    return staff.may_look(get_user(request))


@dataclass(slots=True)
class _Watched:
    invocation: int
    after: int


class _Console:
    """One open page: tells the rows that changed, and the chunks of the one that is looked at."""

    def __init__(self, *, cookie: bytes, send: Send) -> None:
        self._cookie = cookie
        self._send = send
        self._watched: _Watched | None = None
        self._told: dict[int, dict[str, Any]] = {}
        self._changed = asyncio.Event()

    async def run(self, receive: Receive) -> None:
        """Returns when the page is gone or its session is over."""
        teller = asyncio.create_task(self._tell(), name="console")
        reader = asyncio.create_task(self._read(receive), name="console reader")
        try:
            await asyncio.wait({teller, reader}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (teller, reader):
                one.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await one

    async def _read(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            watched = _watched(message.get("text"))
            if watched is not None:
                self._watched = watched
                self._changed.set()

    async def _tell(self) -> None:
        looked_at = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            if clock() - looked_at > SESSION_EVERY_S:
                looked_at = clock()
                if not await database_sync_to_async(may_look)(self._cookie):
                    await self._send({"type": "websocket.close", "code": SESSION_OVER})
                    return
            try:
                await self._look()
            except (DatabaseError, InterfaceError):
                logger.warning("console could not look")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_EVERY_S)
            self._changed.clear()

    async def _look(self) -> None:
        watched = self._watched
        rows, chunks = await database_sync_to_async(look)(watched)
        new = [row for row in rows if self._told.get(row["id"]) != row]
        if new:
            self._told = {row["id"]: row for row in rows}
            await self._say({"type": "rows", "rows": new})
        if watched is not None and watched is self._watched and chunks:
            await self._say({"type": "chunks", "invocation": watched.invocation, "chunks": chunks})
            watched.after = chunks[-1]["seq"]
            if len(chunks) == MAX_CHUNKS:
                self._changed.set()

    async def _say(self, message: dict[str, Any]) -> None:
        """A page that takes nothing for so long is as good as gone."""
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self._send({"type": "websocket.send", "text": json.dumps(message)})


def look(watched: _Watched | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Open rows and those that ended lately; the next chunks of the one that is watched."""
    lately = Q(state__in=OPEN) | Q(opened_at__gt=Now() - timedelta(seconds=SHOWN_S))
    found = Invocation.objects.filter(lately).select_related("agent", "room", "root_asker", "message")
    rows = [_row(row) for row in found.order_by("-pk")[:MAX_ROWS]]
    if watched is None:
        return rows, []
    chunks = Chunk.objects.filter(invocation_id=watched.invocation, seq__gt=watched.after).order_by("seq")
    return rows, [{"seq": one.seq, "text": text_of(one)} for one in chunks[:MAX_CHUNKS]]


def text_of(chunk: Chunk) -> str:
    """A chunk as the console shows it."""
    match events.decode(redaction.masked(chunk.payload)):
        case events.Text(delta=delta):
            return delta[:MAX_TEXT]
        case events.ToolCall(name=name, title=title):
            return f"\n[{name}] {title[:300]}\n"
        case events.ToolResult(ok=ok, output=output):
            return f"\n[{'ok' if ok else 'failed'}] {output[:300]}\n"
        case events.Permission(name=name, detail=detail):
            return f"\n[asks to use {name}]\n{detail[:MAX_TEXT]}\n"
        case events.Notice(level=level, text=text):
            return f"\n[{level}] {text[:MAX_TEXT]}\n"
        case events.Done(status=status, message=message):
            return f"\n[{status}] {message[:300]}\n"
        case _:
            return ""


def _row(row: Invocation) -> dict[str, Any]:
    return {
        "id": row.pk,
        "state": row.state,
        "reason": row.reason,
        "detail": row.detail[:300],
        "agent": row.agent.slug,
        "room": row.room.name or row.room.rid,
        "asker": row.root_asker.username,
        "question": _question(row),
        "seq": row.last_seq,
    }


def _question(row: Invocation) -> str:
    if row.purpose == Purpose.SUMMARY:
        return "(nobody's: a summary of what was said here)"
    return " ".join(row.message.text.split())[:200]


def _watched(text: str | None) -> _Watched | None:
    """What the page asks to see; anything else is no order."""
    if text is None or len(text) > MAX_FRAME:
        return None
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict) or given.get("type") != "watch":
        return None
    numbers = (given.get("invocation"), given.get("after", 0))
    if not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**62 for one in numbers):
        return None
    return _Watched(invocation=int(numbers[0] or 0), after=int(numbers[1] or 0))


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": text.encode()})
