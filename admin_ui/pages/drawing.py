"""How a page of ours is drawn inside the site, and who may send its forms."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from gateway import staff

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]
"""The request first, by position."""


def draw(request: HttpRequest, template: str, *, title: str, status: int = 200, **context: Any) -> TemplateResponse:
    from admin_ui.site import site

    request.current_app = site.name
    whole = {**site.each_context(request), "title": title, "may_change": staff.may_change(request.user), **context}
    return TemplateResponse(request, template, whole, status=status)


def operators(view: View[P]) -> View[P]:
    """Only who may change things."""

    @wraps(view)
    def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not staff.may_change(request.user):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return checked


def fresh(view: View[P]) -> View[P]:
    """Only operators who have shown within minutes who they are: what follows makes or ends a credential."""

    @wraps(view)
    def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not staff.is_fresh(request.session):
            # What was sent is not sent again; who sent a form comes back to the page it stood on.
            target = request.headers.get("Referer", "") if request.method == "POST" else request.path
            return HttpResponseRedirect(f"{reverse('admin:confirm')}?{urlencode({'next': target})}")
        return view(request, *args, **kwargs)

    return operators(checked)


def back_to(request: HttpRequest, name: str, *args: object, error: str = "", done: str = "") -> HttpResponse:
    """To another page, with a sentence on what happened."""
    if error:
        messages.error(request, error)
    if done:
        messages.success(request, done)
    return HttpResponseRedirect(reverse(f"admin:{name}", args=args))
