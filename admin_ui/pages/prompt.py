"""The prompt inspector: what an agent saw, where each line came from, what was left out; and what it said."""

from collections.abc import Iterable
from typing import Any, Final

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from admin_ui.live import text_of
from admin_ui.pages.drawing import draw
from composer.models import Prompt
from gateway import redaction
from gateway.models import Invocation, Message
from runtime.models import Chunk

MAX_CHUNKS: Final = 500
MAX_SOURCES: Final = 400


def show(request: HttpRequest, pk: int) -> HttpResponseBase:
    row = Invocation.objects.select_related("agent", "room", "root_asker", "message", "retry_of").filter(pk=pk).first()
    if row is None:
        raise Http404
    prompt = Prompt.objects.filter(invocation=row).first()
    sections = _sections(prompt) if prompt is not None else []
    chunks = list(Chunk.objects.filter(invocation=row).order_by("seq")[: MAX_CHUNKS + 1])
    for chunk in chunks:
        chunk.payload = redaction.masked(chunk.payload)
    return draw(
        request,
        "nexus/prompt.html",
        title=f"Invocation {row.pk}",
        row=row,
        prompt=prompt,
        sections=sections,
        left_out=prompt.left_out if prompt is not None else [],
        chunks=chunks[:MAX_CHUNKS],
        said="".join(text_of(chunk) for chunk in chunks[:MAX_CHUNKS]).strip(),
        is_cut=len(chunks) > MAX_CHUNKS,
        used=round(100 * prompt.token_count / prompt.budget) if prompt is not None and prompt.budget else 0,
    )


def _sections(prompt: Prompt) -> list[dict[str, Any]]:
    known = _messages(source for section in prompt.sections for source in section.get("sources", []))
    return [
        {
            "title": section.get("title") or "Header",
            "text": section.get("text", ""),
            "token_count": section.get("token_count", 0),
            "share": round(100 * section.get("token_count", 0) / max(1, prompt.token_count)),
            "sources": [
                _source(one, known) for one in section.get("sources", [])[:MAX_SOURCES] if isinstance(one, dict)
            ],
        }
        for section in prompt.parts()
    ]


def _messages(sources: Iterable[Any]) -> dict[int, Message]:
    ids = {one["id"] for one in sources if isinstance(one, dict) and isinstance(one.get("id"), int) and "rc_id" in one}
    rows = Message.objects.filter(pk__in=list(ids)[:2_000]).select_related("user", "agent")
    return {message.pk: message for message in rows}


def _source(source: dict[str, Any], known: dict[int, Message]) -> dict[str, Any]:
    kind, pk = str(source.get("kind", "")), source.get("id")
    message = known.get(pk) if isinstance(pk, int) and "rc_id" in source else None
    return {"kind": kind, "id": pk, "message": message, "rc_id": source.get("rc_id", ""), "is_fact": kind == "fact"}
