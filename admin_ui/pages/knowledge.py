"""Pinning a landmark again, or taking it down."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_POST

from admin_ui.pages.drawing import back_to, operators
from admin_ui.tables.base import actor
from gateway import changes


@operators
@require_POST
def pin(request: HttpRequest, pk: int) -> HttpResponseBase:
    is_pinned = request.POST.get("pinned") == "yes"
    try:
        changes.change_landmark(landmark_id=pk, actor=actor(request), is_pinned=is_pinned)
    except changes.ChangeError as error:
        return back_to(request, "composer_landmark_changelist", error=str(error))
    return back_to(
        request, "composer_landmark_change", pk, done="It is pinned." if is_pinned else "It is no longer pinned."
    )
