"""An invocation's output as it comes, as server-sent events; ends when the invocation has ended."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from channels.db import database_sync_to_async
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from gateway import redaction
from gateway.api.errors import body
from gateway.models import FINAL, Invocation
from runtime.models import Chunk

LOOK_EVERY_S: Final = 0.4
LIMIT_S: Final = 3_600.0
QUIET_S: Final = 15.0
BATCH: Final = 200
MAX_STREAMS: Final = 50
"""Streams of one gateway; more are told to come back."""

_open = 0


class Stream(APIView):
    """`seq` of the last piece is the event's id, so that a browser's EventSource goes on where it was."""

    @extend_schema(
        operation_id="invocation_stream",
        tags=["invocations"],
        responses={
            (200, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, description="Events `chunk` and `state`.")
        },
    )
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """Its chunks as they are stored, then its final state. Last-Event-ID goes on behind that seq."""
        if not Invocation.objects.filter(pk=pk).exists():
            return JsonResponse(body(status=404, message=f"There is no invocation {pk}."), status=404)
        if _open >= MAX_STREAMS:
            return JsonResponse(body(status=429, message="Too many streams are open here."), status=429)
        response = StreamingHttpResponse(
            events(pk=pk, after=_last(request._request)), content_type="text/event-stream"
        )
        response["X-Accel-Buffering"] = "no"
        return response


async def events(*, pk: int, after: int) -> AsyncIterator[str]:
    global _open
    _open += 1
    try:
        until, spoke_at = time.monotonic() + LIMIT_S, time.monotonic()
        while time.monotonic() < until:
            state, chunks = await database_sync_to_async(_look)(pk, after)
            for chunk in chunks:
                after = chunk["seq"]
                yield f"id: {after}\nevent: chunk\ndata: {json.dumps(chunk)}\n\n"
            if len(chunks) == BATCH:
                continue
            if state in FINAL:
                yield f"event: state\ndata: {json.dumps({'state': state})}\n\n"
                return
            if chunks or time.monotonic() - spoke_at > QUIET_S:
                spoke_at = time.monotonic()
                yield ": still there\n\n"
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        _open -= 1


def _look(pk: int, after: int) -> tuple[str, list[dict[str, Any]]]:
    # The state first: when it is final, every chunk is stored.
    state = Invocation.objects.values_list("state", flat=True).filter(pk=pk).first() or "failed"
    rows = (
        Chunk.objects.filter(invocation_id=pk, seq__gt=after).order_by("seq").values("seq", "kind", "payload")[:BATCH]
    )
    return state, [dict(row) | {"payload": redaction.masked(row["payload"])} for row in rows]


def _last(request: HttpRequest) -> int:
    text = request.headers.get("Last-Event-ID", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0
