"""The browsable document: Swagger UI from our own static files, for staff."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from gateway import staff


@require_GET
def show(request: HttpRequest) -> HttpResponse:
    if not staff.may_look(request.user):
        return redirect(f"/admin/login/?next={request.path}")
    return render(request, "nexus/api_docs.html")
