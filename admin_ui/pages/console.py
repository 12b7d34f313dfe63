"""The live console's page; admin_ui/live.py is what feeds it."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from admin_ui.pages.drawing import draw


def show(request: HttpRequest) -> HttpResponseBase:
    return draw(request, "nexus/console.html", title="Live console")
