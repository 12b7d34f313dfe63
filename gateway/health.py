"""/healthz: is work being done, not only is a process up; /metrics: the figures, for a local or known reader."""

import hmac
import time
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Gauge, generate_latest

from gateway.bridge_auth import bearer_of

STUCK_S: Final = 60
"""A row that could go on and has waited this long says that nobody works."""

KEEP_S: Final = 1.0
"""An answer is given again for this long: the path is open to everybody."""

_FIGURES: Final = """
    SELECT
        (SELECT count(*) FROM invocations i JOIN agents a ON a.id = i.agent_id
         WHERE i.state = 'queued' AND i.queued_at < now() - make_interval(secs => %(stuck)s) AND a.is_enabled
         AND (SELECT count(*) FROM invocations l WHERE l.agent_id = a.id
              AND l.state IN ('composing', 'composed', 'offered', 'running')) = 0),
        (SELECT count(*) FROM invocations WHERE state = 'composed' AND composed_at < now() - make_interval(secs => %(stuck)s))
"""
_COUNTS: Final = """
    SELECT 'nexus_invocations', state, count(*)::float FROM invocations WHERE ended_at IS NULL GROUP BY state
    UNION ALL SELECT 'nexus_oldest_queued_s', '', COALESCE(EXTRACT(EPOCH FROM now() - min(queued_at)), 0)::float
        FROM invocations WHERE state = 'queued'
    UNION ALL SELECT 'nexus_bridges_online', '', count(*)::float FROM bridges WHERE lease_until > now()
    UNION ALL SELECT 'nexus_replies_unsettled', '', count(*)::float FROM invocations
        WHERE reply_settled_at IS NULL AND ended_at IS NOT NULL
    UNION ALL SELECT 'nexus_notices_due', '', count(*)::float FROM notices WHERE posted_revision < revision
    UNION ALL SELECT 'nexus_set_aside', '', count(*)::float FROM set_aside
"""
_LOOPBACK: Final = ("127.0.0.1", "::1")


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
    try:
        with connection.cursor() as cursor:
            cursor.execute(_FIGURES, {"stuck": STUCK_S})
            queued, composed = cursor.fetchone()
    except (DatabaseError, InterfaceError):
        connection.close()
        return ["the database can't be reached"]
    found = []
    if queued:
        found.append(f"{queued} questions wait for a composer longer than {STUCK_S} s")
    if composed:
        found.append(f"{composed} prompts wait for the runtime longer than {STUCK_S} s")
    return found


_memo = Memo(make=problems)


@require_GET
def healthz(_request: HttpRequest) -> JsonResponse:
    found = _memo.get()
    return JsonResponse({"ok": not found, "problems": found}, status=503 if found else 200)


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    if not _may_read(request):
        return HttpResponse("metrics are told on loopback, or with NEXUS_METRICS_TOKEN as bearer\n", status=401)
    body = generate_latest(REGISTRY) + generate_latest(_from_rows())
    return HttpResponse(body, content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    """A proxy on this machine comes from loopback as well, so what was forwarded needs the token."""
    if settings.NEXUS_METRICS_TOKEN:
        given = bearer_of(request.headers.get("Authorization")) or ""
        return hmac.compare_digest(given.encode(), settings.NEXUS_METRICS_TOKEN.encode())
    is_forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return request.META.get("REMOTE_ADDR") in _LOOPBACK and not is_forwarded


def _from_rows() -> CollectorRegistry:
    registry = CollectorRegistry()
    gauges: dict[str, Any] = {}
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS)
        for name, state, value in cursor.fetchall():
            labels = ["state"] if state else []
            gauge = gauges.get(name) or Gauge(name, name.replace("_", " "), labels, registry=registry)
            gauges[name] = gauge
            (gauge.labels(state) if state else gauge).set(value)
    return registry
