"""Do sockets at the public address open for bridges, and not for foreign pages? For `--deep`."""

import http.client
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

from nexus_project.finding import Check, Finding, critical, good, warning

NEEDS: Final = ("gateway.answers",)
TIMEOUT_S: Final = 5.0
REFUSED: Final = (401, 429)
"""What the hub itself answers to a wrong token; without the upgrade there is nothing at that path."""

FOREIGN: Final = (
    "https://evil.example",
    "null",
    "https://nexus.evil.example",
    "http://127.0.0.1.evil.example",
    "file://",
)
SOCKETS: Final = ("/ws/bridge/", "/ws/console/")


def read_origins() -> list[str]:
    """Sockets that a foreign page could open."""
    return [
        f"{path} from {origin}"
        for path in SOCKETS
        for origin in FOREIGN
        if _upgrade(path, Origin=origin) == http.client.SWITCHING_PROTOCOLS
    ]


def _upgrade(path: str, **more: str) -> int:
    parts = urlsplit(settings.NEXUS_PUBLIC_URL)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "bmV4dXMtZG9jdG9yLXRyeQ==",
        **more,
    }
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def judge_origins(found: Sequence[str]) -> Finding:
    if found:
        return critical(
            f"a foreign web page can open {', '.join(found)}",
            "a proxy rewrites or drops Origin; let it pass the header on",
        )
    return good("sockets refuse foreign pages")


def read_upgrade() -> int:
    """What a bridge with a wrong token hears."""
    return _upgrade("/ws/bridge/", Authorization="Bearer nobody")


def judge_upgrade(status: int) -> Finding:
    if status in REFUSED:
        return good("bridges reach the hub's socket at NEXUS_PUBLIC_URL")
    return warning(
        f"who opens a socket at NEXUS_PUBLIC_URL hears {status}, not the hub: no bridge gets in",
        "let the proxy pass Upgrade and Connection on (docker/nginx.conf), and wait longer than 10 s for a word",
    )


CHECKS: Final = (
    Check("gateway.origins", read_origins, judge_origins, NEEDS, is_deep=True),
    Check("gateway.upgrade", read_upgrade, judge_upgrade, NEEDS, is_deep=True),
)
