"""Who is at the other end when a proxy of ours stands between? Limits and the audit log name that address, not the proxy's.

Only a proxy that NEXUS_TRUSTED_PROXIES names is believed: what anybody else's headers say is anybody's word.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from django.conf import settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

_HEADER = b"x-forwarded-for"
_MOST_HOPS = 10


def behind_proxies(application: Application) -> Application:
    """The same application, told of the real peer in `scope["client"]`."""

    async def forwarded(scope: dict[str, Any], receive: Any, send: Any) -> None:
        peer = scope.get("client")
        if peer and settings.NEXUS_TRUSTED_PROXIES:
            real = real_peer(str(peer[0]), headers=scope.get("headers", ()), trusted=settings.NEXUS_TRUSTED_PROXIES)
            scope = {**scope, "client": (real, 0 if real != peer[0] else peer[1])}
        await application(scope, receive, send)

    return forwarded


def real_peer(peer: str, *, headers: Sequence[tuple[bytes, bytes]], trusted: Sequence[Network]) -> str:
    """From the right, past our own proxies: further left is what the sender himself may have written."""
    if not _is_one(_address(peer), trusted):
        return peer
    told = b",".join(value for name, value in headers if name == _HEADER).decode("latin-1").split(",")
    for word in reversed(told[-_MOST_HOPS:]):
        address = _address(word.strip())
        if address is None:
            return peer
        if not _is_one(address, trusted):
            return str(address)
    return peer


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_one(address: Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(
        address in network for network in networks if network.version == address.version
    )
