"""How does the composer talk to mem0-api? One kept connection per thread, a hard deadline, a bound on answers.

`http.client`, since this call stands in the way of every prompt: it costs a fraction of what larger clients do.
"""

import http.client
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec
from django.conf import settings

from gateway.watch import about

MAX_REPLY_BYTES = 1024 * 1024

_local = threading.local()


class MemoryUnreachableError(RuntimeError):
    """Memory gave no usable answer; the text says why."""


class MemoryRefusedError(MemoryUnreachableError):
    """Memory answered, but not with 200. `status` says how."""

    def __init__(self, *, status: int, text: str) -> None:
        super().__init__(f"memory answered HTTP {status}")
        self.status = status
        self.text = text


def call(method: str, path: str, body: Mapping[str, object] | None = None, *, timeout_s: float) -> bytes:
    """The body of a 200 answer, within `timeout_s` in all. Every call of mem0-api may be sent twice without harm.

    Raises:
        MemoryRefusedError: another status.
        MemoryUnreachableError: no connection, no answer in time, or too much of it.
    """
    deadline = time.monotonic() + timeout_s
    content = msgspec.json.encode(body) if body is not None else b""
    try:
        status, answer = _exchange(method, path, content, deadline)
    except (OSError, http.client.HTTPException) as error:
        close()
        raise MemoryUnreachableError(f"memory could not be reached ({type(error).__name__})") from error
    if status != 200:
        raise MemoryRefusedError(status=status, text=answer[:300].decode("utf-8", "replace"))
    return answer


def close() -> None:
    """Let this thread's connection go."""
    connection: http.client.HTTPConnection | None = getattr(_local, "connection", None)
    _local.connection = None
    if connection is not None:
        connection.close()


def _exchange(method: str, path: str, content: bytes, deadline: float) -> tuple[int, bytes]:
    is_kept = getattr(_local, "connection", None) is not None
    try:
        return _once(method, path, content, deadline)
    except (http.client.RemoteDisconnected, ConnectionError):
        # A kept connection that mem0-api closed meanwhile is noticed only now; a new one deserves no second try.
        if not is_kept:
            raise
        close()
        return _once(method, path, content, deadline)


def _once(method: str, path: str, content: bytes, deadline: float) -> tuple[int, bytes]:
    connection = _connection(deadline)
    headers = {"Authorization": f"Bearer {settings.NEXUS_MEM0_KEY}", "Content-Type": "application/json"}
    if (invocation_id := about.current()) is not None:
        headers[about.HEADER] = str(invocation_id)
    connection.request(method, path, body=content, headers=headers)
    response = connection.getresponse()
    answer = b""
    while part := response.read1(64 * 1024):
        answer += part
        if len(answer) > MAX_REPLY_BYTES:
            close()
            raise MemoryUnreachableError("memory's answer is too large")
        if time.monotonic() > deadline:
            close()
            raise MemoryUnreachableError("memory did not answer in time")
    # All of it is read; only now may the connection carry the next call.
    response.close()
    return response.status, answer


def _connection(deadline: float) -> http.client.HTTPConnection:
    left_s = max(0.01, deadline - time.monotonic())
    url = urlsplit(settings.NEXUS_MEM0_URL)
    connection: http.client.HTTPConnection | None = getattr(_local, "connection", None)
    if connection is not None and (connection.host, connection.port) != (
        url.hostname,
        url.port or connection.default_port,
    ):
        close()
        connection = None
    if connection is None:
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=left_s)
        _local.connection = connection
    connection.timeout = left_s
    if connection.sock is not None:
        connection.sock.settimeout(left_s)
    return connection
