"""Who can reach this Nexus, and which addresses of its settings make that dangerous? Rules only."""

import ipaddress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
PRIVATE_ENDINGS: Final = (".local", ".lan", ".internal", ".home.arpa", ".ts.net", ".localhost")
_CARRIER_NET: Final = ipaddress.ip_network("100.64.0.0/10")
"""Where Tailscale's addresses are from; Python does not call it private."""


@dataclass(frozen=True, slots=True)
class Danger:
    text: str
    cure: str


def is_reachable(settings: Any) -> bool:
    """Whether the settings invite anybody from outside this machine."""
    names = [host_of(settings.NEXUS_PUBLIC_URL), *settings.ALLOWED_HOSTS]
    return any(not is_loopback(name) for name in names)


def debug(settings: Any) -> Danger | None:
    if not settings.DEBUG:
        return None
    return Danger("NEXUS_DEBUG is on: error pages show settings and code", "set NEXUS_DEBUG=0")


def hosts(settings: Any) -> Danger | None:
    """Each name exactly: what answers to every name can be reached through any web page's."""
    loose = [name for name in settings.ALLOWED_HOSTS if name == "*" or name.startswith(".")]
    if loose:
        text = f"NEXUS_ALLOWED_HOSTS has {', '.join(loose)}, so the gateway answers to names that are not its own"
        return Danger(text, "name each host exactly, as in NEXUS_PUBLIC_URL")
    host = host_of(settings.NEXUS_PUBLIC_URL)
    known = {name.strip("[]").lower() for name in settings.ALLOWED_HOSTS}
    if host not in known and not is_loopback(host):
        text = f"NEXUS_ALLOWED_HOSTS lacks {host}, the host of NEXUS_PUBLIC_URL: people get an error 400"
        return Danger(text, f"add {host} to NEXUS_ALLOWED_HOSTS")
    return None


def public_url(settings: Any) -> Danger | None:
    """Tokens and sessions travel to this address."""
    host = host_of(settings.NEXUS_PUBLIC_URL)
    if settings.NEXUS_PUBLIC_URL.startswith("https://") or is_loopback(host) or is_private(host):
        return None
    if settings.NEXUS_PRIVATE_NETWORK:
        return None
    text = f"NEXUS_PUBLIC_URL is plain http on {host}: bridge tokens and sessions can be read on the way"
    cure = "put TLS in front and write https (docs/operations.md), or set NEXUS_PRIVATE_NETWORK=1 if only a LAN or VPN leads there"
    return Danger(text, cure)


def passwords(settings: Any) -> Danger | None:
    """Of the databases: whoever reaches one without a password needs no door of ours."""
    open_ones = []
    if not settings.DATABASES["default"].get("PASSWORD") and not _is_socket(settings.DATABASES["default"]):
        open_ones.append("NEXUS_DATABASE_URL")
    if not urlsplit(settings.NEXUS_REDIS_URL).password:
        open_ones.append("NEXUS_REDIS_URL")
    if not open_ones:
        return None
    text = f"{' and '.join(open_ones)} has no password"
    return Danger(text, "give each server a password and write it into the URL")


def host_of(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def is_loopback(host: str) -> bool:
    address = _address(host)
    return address.is_loopback if address is not None else host.lower() in LOOPBACK_NAMES


def is_private(host: str) -> bool:
    """An address of a LAN or VPN, or a name that no public server can have."""
    address = _address(host)
    if address is None:
        return "." not in host or host.lower().endswith(PRIVATE_ENDINGS)
    if address.version == 4 and address in _CARRIER_NET:
        return True
    return address.is_private and not address.is_unspecified


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _is_socket(database: dict[str, Any]) -> bool:
    return not database.get("HOST") or str(database["HOST"]).startswith("/")
