"""Forgetting a person, after a question."""

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from admin_ui.pages.drawing import back_to, draw, operators
from admin_ui.tables.base import actor
from gateway import changes
from gateway.models import Message, User


@operators
def forget(request: HttpRequest, pk: int) -> HttpResponseBase:
    person = User.objects.filter(pk=pk).first()
    if person is None:
        raise Http404
    if request.method == "POST":
        count = changes.forget_person(user_id=pk, actor=actor(request))
        done = f"{person.username} is being forgotten: {count} message{'' if count == 1 else 's'}, within minutes."
        return back_to(request, "gateway_user_change", pk, done=done)
    count = Message.objects.filter(user=person, deleted_at=None).count()
    return draw(request, "nexus/user_forget.html", title=f"Forget {person.username}", person=person, count=count)
