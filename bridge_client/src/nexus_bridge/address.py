"""Which hub addresses are safe to send a bridge token to."""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

_PRIVATE: Final = tuple(
    ipaddress.ip_network(one)
    for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
)
_PLAIN: Final = re.compile(r"[\x21-\x7e]+")


def address_problem(url: str, *, is_insecure_lan: bool) -> str | None:
    """What is wrong with `hub` and how to cure it; None when it may be used."""
    if not _PLAIN.fullmatch(url) or "\\" in url:
        return 'must be an address like "wss://nexus.example.org", without spaces'
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f'is not an address ({error}); write it like "wss://nexus.example.org"'
    if parts.scheme in {"http", "https"}:
        return f"starts with {parts.scheme}://; write {'wss' if parts.scheme == 'https' else 'ws'}:// instead"
    if parts.scheme not in {"ws", "wss"} or not host:
        return 'must be an address like "wss://nexus.example.org"'
    if "@" in parts.netloc:
        return "must not hold a user name or password; the bridge token goes into `token`"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "must not hold a query or fragment; cut it off at the ? or #"
    if port == 0:
        return "has port 0; name the real one"
    return None if parts.scheme == "wss" else _clear_text_problem(host, is_insecure_lan=is_insecure_lan)


def _clear_text_problem(host: str, *, is_insecure_lan: bool) -> str | None:
    """ws:// sends the bridge token in clear: only where nobody else can read it. A name may lead anywhere."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"is ws:// to the name {host}, which sends the bridge token in clear; use wss://, or ws://127.0.0.1"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return None
    if not any(address.version == net.version and address in net for net in _PRIVATE):
        return f"is ws:// to {host}, which sends the bridge token in clear through the internet; use wss://"
    if not is_insecure_lan:
        return (
            f"is ws:// to {host}, which sends the bridge token in clear through your network; "
            "use wss://, or say that you accept it with insecure_lan = true"
        )
    return None
