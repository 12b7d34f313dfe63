"""/healthz: is work being done, not only is a process up; /metrics: the figures, for a local or known reader."""

import time
from collections.abc import Callable
from typing import Final

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from gateway.watch import BEATS, stuck
from gateway.watch.door import REFUSAL, may_read
from gateway.watch.rows import ROWS
from nexus_project.version import VERSION

KEEP_S: Final = 1.0
"""An answer is given again for this long: the path is open to everybody."""


class Memo:
    """The last answer, for a moment."""

    def __init__(self, *, make: Callable[[], list[str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._clock = clock
        self._answer: list[str] = []
        self._made_at = float("-inf")

    def get(self) -> list[str]:
        if self._clock() > self._made_at + KEEP_S:
            self._answer = self._make()
            self._made_at = self._clock()
        return self._answer


def problems() -> list[str]:
    """What keeps Nexus from working, a sentence each."""
    return [*BEATS.late(), *stuck.sentences("queued", "composed")]


_memo = Memo(make=problems)


@require_GET
def healthz(_request: HttpRequest) -> JsonResponse:
    found = _memo.get()
    return JsonResponse({"ok": not found, "problems": found, "version": VERSION}, status=503 if found else 200)


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    if not may_read(peer=request.META.get("REMOTE_ADDR", ""), headers=request.headers):
        return HttpResponse(REFUSAL, status=401)
    return HttpResponse(generate_latest(REGISTRY) + _of_rows(), content_type=CONTENT_TYPE_LATEST)


def _of_rows() -> bytes:
    """While the database is away the process still tells its own."""
    try:
        return ROWS.tell()
    except (DatabaseError, InterfaceError):
        connection.close()
        return b""
