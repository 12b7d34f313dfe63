"""How does a call of one account reach the chat, and when is it better not made? The connection, without what is said over it."""

import asyncio
import ssl
import time
from typing import Final

import httpx

from gateway.rocketchat import calls, tls
from gateway.rocketchat.calls import Call, RateLimitedError, RefusedError, UnreachableError
from gateway.rocketchat.clock import ChatClock
from gateway.rocketchat.events import Document
from gateway.rocketchat.limits import Limits
from gateway.watch import figures

TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 5.0
MAX_CONNECTIONS: Final = 20
"""Calls above it wait for a connection; the pool is shared by all accounts of the process."""

SHORT_WAIT_S: Final = 2.0
"""A limit that ends this soon is waited out in place; otherwise the caller is told how long it takes."""


def open_http(*, base_url: str, trust: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """The client that all accounts of a process share: connections are kept, redirects are not followed."""
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
        trust_env=False,
        verify=trust or True,
    )


class Transport:
    """One account's credentials over the shared client. Every method raises RestError in one of its four forms.

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
        figures.CHAT_CALLS.labels(_outcome(response.status_code)).inc()
        self._chat_clock.heard(response.headers.get("date"))
        if self._limits.heard(call.route, response.headers):
            self._is_limited = True
        elif response.status_code == 200:
            self._is_limited = False
        return response

    async def _turn(self, route: str) -> None:
        while (wait_s := self._limits.take(route)) > 0:
            figures.CHAT_WAITS.inc()
            figures.CHAT_WAITED.inc(wait_s)
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
            figures.CHAT_CALLS.labels("no answer").inc()
            raise _unreachable(error) from error

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


def _outcome(status: int) -> str:
    """As `nexus_chat_calls_total` tells it."""
    if status == 429:
        return "limited"
    return {2: "ok", 4: "refused"}.get(status // 100, "failed")


def _unreachable(error: Exception) -> UnreachableError:
    return UnreachableError(f"the chat did not answer: {tls.why(error) or type(error).__name__}")
