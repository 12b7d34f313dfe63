"""Bridges with what they said of themselves when they came, and their join codes."""

from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from admin_ui.tables.base import Table, cut, link_column
from gateway import staff
from gateway.models import Bridge, JoinCode
from nexus_bridge.protocol import Verdict

LIMITS = (("callers", "people by name"), ("rooms", "rooms by name"))


@dataclass(frozen=True, slots=True)
class Said:
    """One agent of a bridge's last hello, as the bridge described it; `who_may_ask` is what the hub has."""

    slug: str
    cli: str
    workdir: str
    parallel: str
    rules: str
    limited_to: str
    who_may_ask: str


def said_by(bridge: Bridge) -> list[Said]:
    who = {agent.slug: agent.get_who_may_ask_display() for agent in bridge.agents.all()}
    return [_said(one, policies=bridge.policies, who=who) for one in _offers(bridge)]


def _said(told: dict[str, Any], *, policies: dict[str, Any], who: dict[str, str]) -> Said:
    slug = str(told.get("slug", ""))
    policy: dict[str, Any] = policies.get(slug) or {}
    return Said(
        slug=slug,
        cli=f"{told.get('cli_kind', '')} {told.get('cli_version', '')}".strip(),
        workdir=str(told.get("workdir", "")),
        parallel=str(told.get("parallel", "")),
        rules=_rules(policy, has_tools=True),
        limited_to=", ".join(f"{word}: {policy[key]}" for key, word in LIMITS if policy.get(key)),
        who_may_ask=who.get(slug, ""),
    )


def _rules(policy: dict[str, Any], *, has_tools: bool) -> str:
    """Empty for a bridge that has told nothing: it speaks an older protocol."""
    if not policy:
        return ""
    parts = []
    for verdict in get_args(Verdict):
        count: dict[str, Any] = policy.get(verdict) or {}
        if count.get("rules"):
            tools = f" ({', '.join(count['tools'])})" if has_tools and count.get("tools") else ""
            parts.append(f"{count['rules']} {verdict}{tools}")
    return "; ".join([*parts, f"else {policy.get('default', 'ask')}"])


def _offers(bridge: Bridge) -> list[dict[str, Any]]:
    return [one for one in bridge.offers if isinstance(one, dict)] if isinstance(bridge.offers, list) else []


class OnlineFilter(admin.SimpleListFilter):
    """Online, asleep, revoked: by database time."""

    title = "state"
    parameter_name = "is"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("online", "online"), ("asleep", "asleep"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        is_online = Q(lease_until__gt=Now(), revoked_at=None)
        chosen = {
            "online": is_online,
            "asleep": ~is_online & Q(revoked_at=None),
            "revoked": Q(revoked_at__isnull=False),
        }.get(self.value() or "")
        return queryset if chosen is None else queryset.filter(chosen)


class Bridges(Table):
    list_display = (
        *("name", "owner_link", "status", "load_told", "client_version", "last_seen_at", "agents_there", "policy"),
    )
    list_select_related = ("owner",)
    list_filter: ClassVar[Any] = (OnlineFilter,)
    search_fields = ("name", "owner__username", "agents__slug")
    needs = ("offers", "policies", "load")
    none_yet = "A bridge runs agents on a developer's own machine. Make one, and send its owner the join link."
    neighbours = (
        ("agents", "gateway_agent", "bridge"),
        ("join codes", "gateway_joincode", "bridge"),
        ("tools tokens", "gateway_tooltoken", "bridge"),
    )
    change_form_before_template = "nexus/bridge_actions.html"
    owner_link = link_column("owner")

    @admin.display(description="status")
    def status(self, bridge: Bridge) -> str:
        if bridge.revoked_at is not None:
            return "revoked"
        return "online" if bridge.lease_until is not None and bridge.lease_until > timezone.now() else "asleep"

    @admin.display(description="load")
    def load_told(self, bridge: Bridge) -> str:
        return bridge.load_words if self.status(bridge) == "online" else ""

    @admin.display(description="agents in its hello")
    def agents_there(self, bridge: Bridge) -> str:
        return cut(", ".join(str(one.get("slug")) for one in _offers(bridge)))

    @admin.display(description="owner's rules")
    def policy(self, bridge: Bridge) -> str:
        told = bridge.policies.items()
        return cut(" · ".join(f"{slug}: {_rules(policy, has_tools=False)}" for slug, policy in told))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        """Without what `said_by` shows."""
        return tuple(name for name in super().get_fields(request, obj) if name not in ("offers", "policies"))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        bridge = Bridge.objects.filter(pk=object_id).first() if object_id.isdigit() else None
        said: dict[str, Any] = {}
        if bridge is not None:
            said = {"said": said_by(bridge), "status": self.status(bridge), "load": self.load_told(bridge)}
        response: HttpResponse = super().change_view(request, object_id, form_url, said | (extra_context or {}))
        return response

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return staff.may_change(request.user)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return HttpResponseRedirect(reverse("admin:bridge_new"))


class JoinCodes(Table):
    list_display = ("created_at", "bridge_link", "expires_at", "used_at", "created_by")
    list_select_related = ("bridge",)
    search_fields = ("bridge__name", "created_by")
    bridge_link = link_column("bridge")


def register(site: admin.AdminSite) -> None:
    site.register(Bridge, Bridges)
    site.register(JoinCode, JoinCodes)
