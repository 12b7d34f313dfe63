"""A bridge's life in the site: made for somebody, given another token, revoked; its token is shown once."""

from typing import Any

from django import forms
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from admin_ui.pages.drawing import back_to, draw, fresh, operators
from admin_ui.tables.base import actor
from gateway import bridges, staff
from gateway.models import LIVE, Agent, Bridge, CliKind, Invocation, WhoMayAsk

OVERLAPS = (("3600", "one hour"), ("86400", "one day"), ("0", "not at all: its connection ends at once"))


class NewBridge(forms.Form):
    user = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="The owner's name in the chat, as the chat shows it.",
    )
    cli = forms.ChoiceField(label="CLI", choices=CliKind.choices, widget=UnfoldAdminSelectWidget)
    role = forms.CharField(
        max_length=30, required=False, widget=UnfoldAdminTextInputWidget, help_text="What it is for, like backend."
    )
    rooms = forms.CharField(
        max_length=2_000,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Rooms to invite it into, separated by commas.",
    )
    who_may_ask = forms.ChoiceField(choices=WhoMayAsk.choices, widget=UnfoldAdminSelectWidget)
    parallel = forms.IntegerField(
        min_value=1,
        max_value=32,
        initial=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="How many prompts it works on at a time; 1 for one working directory.",
    )


@fresh
def new(request: HttpRequest) -> HttpResponseBase:
    form = NewBridge(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        rooms = [name.strip() for name in given["rooms"].split(",") if name.strip()]
        try:
            made = bridges.create(
                user=given["user"],
                cli=given["cli"],
                role=given["role"],
                rooms=rooms,
                who_may_ask=given["who_may_ask"],
                parallel=given["parallel"],
                actor=actor(request),
            )
        except bridges.BridgeError as error:
            form.add_error(None, str(error))
        else:
            if made.token:
                return _show_token(request, bridge=Bridge.objects.get(pk=made.bridge_id), token=made.token)
            done = f"@{made.slug} was there already; the rooms were added. A new token is made by rotating."
            return back_to(request, "gateway_bridge_change", made.bridge_id, done=done)
    return draw(request, "nexus/form.html", title="New bridge", form=form, submit="Make the bridge", media=form.media)


@fresh
def rotate(request: HttpRequest, pk: int) -> HttpResponseBase:
    bridge = _bridge(pk)
    if request.method == "POST":
        overlap = request.POST.get("overlap", "")
        if overlap not in dict(OVERLAPS):
            return back_to(request, "bridge_rotate", pk, error="Choose how long the old token still works.")
        try:
            token = bridges.rotate(bridge_id=pk, actor=actor(request), overlap_s=float(overlap))
        except bridges.BridgeError as error:
            return back_to(request, "gateway_bridge_change", pk, error=str(error))
        return _show_token(request, bridge=bridge, token=token)
    return draw(
        request, "nexus/bridge_rotate.html", title=f"New token for {bridge.name}", bridge=bridge, overlaps=OVERLAPS
    )


@fresh
def revoke(request: HttpRequest, pk: int) -> HttpResponseBase:
    bridge = _bridge(pk)
    if request.method == "POST":
        try:
            bridges.revoke(bridge_id=pk, actor=actor(request))
        except bridges.BridgeError as error:
            return back_to(request, "gateway_bridge_change", pk, error=str(error))
        return back_to(request, "gateway_bridge_change", pk, done=f"{bridge.name} is revoked; its connection ends.")
    live = Invocation.objects.filter(agent__bridge=bridge, state__in=LIVE).count()
    return draw(request, "nexus/bridge_revoke.html", title=f"Revoke {bridge.name}", bridge=bridge, live=live)


@fresh
@require_POST
def join(request: HttpRequest, pk: int) -> HttpResponseBase:
    """A one-shot link instead of a token."""
    bridge = _bridge(pk)
    try:
        issued = bridges.issue_join(bridge_id=pk, actor=actor(request))
    except bridges.BridgeError as error:
        return back_to(request, "gateway_bridge_change", pk, error=str(error))
    lines = bridges.join_instructions(url=issued.url, hours=24)
    title = f"Join link for {bridge.name}"
    return draw(request, "nexus/bridge_join.html", title=title, bridge=bridge, issued=issued, instructions=lines)


@operators
def config(_request: HttpRequest, pk: int) -> HttpResponseBase:
    """The configuration with a place for the token: only a digest of it is here."""
    response = HttpResponse(_config_of(_bridge(pk), "PUT THE BRIDGE TOKEN HERE"), content_type="application/toml")
    response["Content-Disposition"] = 'attachment; filename="bridge.toml"'
    return response


@operators
def confirm(request: HttpRequest) -> HttpResponseBase:
    """Who logged in a while ago shows again who he is."""
    target = request.POST.get("next") or request.GET.get("next") or reverse("admin:index")
    if not url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}):
        target = reverse("admin:index")
    is_token = staff.name_of(request.user) == staff.TOKEN_ACCOUNT
    form = _confirm_form("Admin token" if is_token else "Password", request.POST or None)
    status = 200
    if request.method == "POST" and form.is_valid():
        name = "" if is_token else staff.name_of(request.user)
        try:
            staff.log_in(request=request, username=name, secret=form.cleaned_data["secret"])
        except staff.LoginRefusedError as refused:
            form.add_error("secret", str(refused))
            status = 429 if refused.is_limited else 200
        else:
            staff.mark_fresh(request.session)
            return HttpResponseRedirect(target)
    text = "You logged in a while ago. Show again who you are before a bridge token is made or ended."
    return draw(
        request,
        "nexus/form.html",
        title="Confirm that it is you",
        form=form,
        submit="Go on",
        text=text,
        next=target,
        status=status,
    )


def _confirm_form(label: str, data: Any) -> forms.Form:
    form = forms.Form(data)
    form.fields["secret"] = forms.CharField(label=label, max_length=500, widget=UnfoldAdminPasswordWidget)
    return form


def _config_of(bridge: Bridge, token: str) -> str:
    return bridges.config_of(bridge_id=bridge.pk, hub=settings.NEXUS_PUBLIC_URL, token=token)


def _show_token(request: HttpRequest, *, bridge: Bridge, token: str) -> HttpResponseBase:
    text = _config_of(bridge, token)
    agent = Agent.objects.filter(bridge=bridge).order_by("slug").first()
    lines = (
        bridges.instructions(
            hub=settings.NEXUS_PUBLIC_URL, token=token, slug=agent.slug, cli=agent.cli_kind, parallel=agent.parallel
        )
        if agent is not None
        else ""
    )
    return draw(
        request,
        "nexus/bridge_token.html",
        title=f"Token of {bridge.name}",
        bridge=bridge,
        config=text,
        instructions=lines,
    )


def _bridge(pk: int) -> Bridge:
    bridge = Bridge.objects.filter(pk=pk).first()
    if bridge is None:
        raise Http404
    return bridge
