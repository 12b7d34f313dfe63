"""The audit log as a file, and whether its chain holds."""

import json
from collections.abc import Iterator

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_POST

from admin_ui.pages.drawing import back_to, operators
from admin_ui.tables.base import actor
from gateway import audit
from gateway.models import AuditEntry


@operators
def export(request: HttpRequest) -> HttpResponseBase:
    """All entries, oldest first, one JSON object a line."""
    audit.record(actor=actor(request), action="audit_exported")
    response = StreamingHttpResponse(lines(), content_type="application/x-ndjson")
    response["Content-Disposition"] = 'attachment; filename="nexus-audit.jsonl"'
    return response


def lines() -> Iterator[str]:
    for entry in AuditEntry.objects.order_by("pk").iterator(chunk_size=1_000):
        yield (
            json.dumps(
                {
                    "id": entry.pk,
                    "at": entry.at.isoformat(),
                    "actor": entry.actor,
                    "action": entry.action,
                    "target": entry.target,
                    "detail": entry.detail,
                }
            )
            + "\n"
        )


@require_POST
def verify(request: HttpRequest) -> HttpResponseBase:
    broken = audit.verify()
    if broken is None:
        return back_to(request, "gateway_auditentry_changelist", done="The chain holds: no sealed entry was changed.")
    words = f"Entries {broken.first_id} to {broken.last_id} are not what seal {broken.seal_id} says."
    return back_to(request, "gateway_auditentry_changelist", error=words)
