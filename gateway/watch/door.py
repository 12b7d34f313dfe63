"""Where does a program without a web server tell how it is? `/healthz` and `/metrics` on a port of its own.

A thread with one connection of its own to the database, closed after each look. Whoever scrapes from elsewhere than this
machine needs the token; without one `/metrics` stays on loopback.
"""

import hmac
import http.server
import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.conf import settings
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from nexus_project.version import VERSION

logger = logging.getLogger(__name__)

Look = Callable[[], list[str]]

LOOPBACK: Final = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
TIMEOUT_S: Final = 5.0
REFUSAL: Final = "metrics are told on loopback, or with NEXUS_METRICS_TOKEN as bearer\n"


def may_read(*, peer: str, headers: Mapping[str, str]) -> bool:
    """A proxy on this machine comes from loopback as well, so what was forwarded needs the token."""
    if settings.NEXUS_METRICS_TOKEN:
        given = headers.get("Authorization") or ""
        return hmac.compare_digest(given.encode(), f"Bearer {settings.NEXUS_METRICS_TOKEN}".encode())
    is_forwarded = "X-Forwarded-For" in headers or "Forwarded" in headers
    return peer in LOOPBACK and not is_forwarded


def open_door(*, look: Look) -> http.server.HTTPServer | None:
    """Listens from now on, where NEXUS_WATCH_PORT says so. A port that is taken is only worth a line: the program matters more."""
    if not settings.NEXUS_WATCH_PORT:
        return None
    address = (settings.NEXUS_WATCH_HOST, settings.NEXUS_WATCH_PORT)
    try:
        server = _Server(address, look=look)
    except OSError as error:
        logger.warning("watch port not opened", extra={"port": settings.NEXUS_WATCH_PORT, "error": str(error)})
        return None
    threading.Thread(target=server.serve_forever, name="watch door", daemon=True).start()
    return server


class _Server(http.server.HTTPServer):
    """One request at a time: a scraper and a health check are all who come."""

    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], *, look: Look) -> None:
        self.look = look
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = TIMEOUT_S
    server: _Server
    server_version = "nexus"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].rstrip("/")
        if path == "/healthz":
            found = self.server.look()
            body = json.dumps({"ok": not found, "problems": found, "version": VERSION}).encode()
            self._answer(503 if found else 200, body, content_type="application/json")
        elif path != "/metrics":
            self._answer(404, b"there is /healthz and /metrics\n")
        elif may_read(peer=str(self.client_address[0]), headers=self.headers):  # type: ignore[arg-type]  # a mapping in all but name
            self._answer(200, generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)
        else:
            self._answer(401, REFUSAL.encode())

    def _answer(self, status: int, body: bytes, *, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nobody needs a line for each look."""
