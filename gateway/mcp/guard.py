"""Where upstream calls may go: names are resolved here, each address is judged, and the one judged is the one called."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2

from gateway.mcp.definitions import McpError

MAX_RESPONSE_BYTES: Final = 8 * 1024 * 1024


class ForbiddenAddressError(McpError):
    """The name leads where this server must not be sent."""


def address_problem(address: str, *, is_private_allowed: bool) -> str | None:
    """Why an address must not be called: metadata services, this machine and its network, unless they are meant."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "is no address"
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    if found.is_loopback:
        return None if is_private_allowed else "is this machine itself; allow_private lets this server through"
    if found.is_link_local or found.is_multicast or found.is_unspecified or found.is_reserved:
        return "is link-local, multicast or reserved"
    if not found.is_global and not is_private_allowed:
        return "is in a private network; allow_private lets this server through"
    return None


class _Bounded(httpx2.AsyncByteStream):
    """An answer that is read to the end only if it has one in sight: the package reads it whole before anybody measures it."""

    def __init__(self, stream: Any) -> None:  # Any: what the inner transport gives is typed for both ways of reading
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_RESPONSE_BYTES
        async for part in self._stream:
            left -= len(part)
            if left < 0:
                raise httpx2.ReadError(f"it sent more than {MAX_RESPONSE_BYTES // 2**20} MiB")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Calls the address it has judged, whatever the name says a moment later; redirects are not followed by it."""

    def __init__(self, *, is_private_allowed: bool) -> None:
        self._is_private_allowed = is_private_allowed
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        address = await self._judged(host, port=request.url.port or (443 if request.url.scheme == "https" else 80))
        request.headers["host"] = request.url.netloc.decode("ascii")
        extensions: dict[str, Any] = {**request.extensions, "sni_hostname": host}
        request.extensions = extensions
        request.url = request.url.copy_with(host=address)
        response = await self._inner.handle_async_request(request)
        response.stream = _Bounded(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _judged(self, host: str, *, port: int) -> str:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx2.ConnectError(f"{host} is not known ({error.strerror})") from error
        addresses = [str(one[4][0]) for one in found]
        for address in addresses:
            if (problem := address_problem(address, is_private_allowed=self._is_private_allowed)) is not None:
                raise ForbiddenAddressError(f"{host} leads to {address}, which {problem}")
        return addresses[0]
