"""Users, agents, bot accounts, projects and staff accounts."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User as StaffAccount
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from admin_ui.tables.base import Table, actor, link_column, text_column
from admin_ui.tables.removing import Removable
from gateway import audit, changes, staff
from gateway.changes.places import SLUG
from gateway.models import Agent, BotAccount, PersonaVersion, Project, User


class Users(Table):
    list_display = ("username", "display_name", "role", "is_foreign_bot", "created_at")
    list_filter = ("role", "is_foreign_bot")
    search_fields = ("username", "display_name", "=rocketchat_id")
    editable = ("role",)
    change_form_before_template = "nexus/user_actions.html"
    neighbours = (
        ("messages", "gateway_message", "user"),
        ("questions", "gateway_invocation", "root_asker"),
        ("agents", "gateway_agent", "owner"),
        ("bridges", "gateway_bridge", "owner"),
        ("rooms", "gateway_roommember", "user"),
    )

    def changed(self, request: HttpRequest, obj: Any, values: dict[str, Any]) -> None:
        changes.change_user(user_id=obj.pk, actor=actor(request), role=values["role"])


class Agents(Table):
    none_yet = "An agent comes with its bridge: make one under Bridges."
    list_display = ("slug", "cli_kind", "bridge_link", "owner_link", "who_may_ask", "parallel", "is_enabled")
    list_select_related = ("bridge", "owner")
    list_filter = ("cli_kind", "who_may_ask", "is_enabled")
    search_fields = ("slug", "owner__username", "bridge__name")
    autocomplete_fields = ("allowed_askers", "approvers", "accepts_handover_from")
    editable = (
        "persona",
        "who_may_ask",
        "allowed_askers",
        "approvers",
        "accepts_handover_from",
        "parallel",
        "prompt_budget",
        "token_percent",
        "is_enabled",
    )
    neighbours = (
        ("invocations", "gateway_invocation", "agent"),
        ("messages", "gateway_message", "agent"),
        ("earlier personas", "gateway_personaversion", "agent"),
        ("rooms", "gateway_roommember", "agent"),
        ("standing grants", "gateway_grant", "agent"),
        ("account", "gateway_botaccount", "agent"),
    )
    bridge_link, owner_link = link_column("bridge"), link_column("owner")

    def changed(self, request: HttpRequest, obj: Any, values: dict[str, Any]) -> None:
        people = ("allowed_askers", "approvers", "accepts_handover_from")
        plain = {name: [one.pk for one in value] if name in people else value for name, value in values.items()}
        changes.change_agent(agent_id=obj.pk, actor=actor(request), values=plain)


class PersonaVersions(Table):
    list_display = ("created_at", "agent_link", "changed_by", "said")
    list_select_related = ("agent",)
    search_fields = ("agent__slug", "changed_by")
    needs = ("text",)
    agent_link, said = link_column("agent"), text_column("text", description="what it said before")


class BotAccounts(Table):
    list_display = ("username", "agent_link", "is_broken", "broken_reason", "lease_until")
    list_select_related = ("agent",)
    list_filter = ("is_broken",)
    search_fields = ("username", "agent__slug")
    agent_link = link_column("agent")


class Projects(Removable):
    refused = "The project stays"
    none_yet = "What is known of a project is told in all of its rooms. Make one, then choose it on the rooms' pages."
    list_display = ("slug", "title", "created_at")
    search_fields = ("slug", "title")
    autocomplete_fields = ("managers",)
    editable = ("slug", "title", "managers")
    neighbours = (("rooms", "gateway_room", "project"),)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return staff.may_change(request.user)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        managers = [user.pk for user in form.cleaned_data["managers"]]
        made = changes.add_project(actor=actor(request), slug=obj.slug, title=obj.title, managers=managers)
        obj.pk = made.pk

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        if "slug" in form.base_fields:
            form.base_fields["slug"].validators.append(_slug_form)
        return form

    def changed(self, request: HttpRequest, obj: Any, values: dict[str, Any]) -> None:
        if "managers" in values:
            values["managers"] = [user.pk for user in values["managers"]]
        changes.change_project(project_id=obj.pk, actor=actor(request), values=values)

    def remove(self, request: HttpRequest, obj: Any) -> None:
        changes.remove_project(project_id=obj.pk, actor=actor(request))


def _slug_form(slug: str) -> None:
    from django.core.exceptions import ValidationError

    if not SLUG.match(slug):
        raise ValidationError("A slug starts with a letter and has 2 to 64 of a-z, 0-9 and -.")


class StaffAccounts(UserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """People who may log in here. Superusers only see and change them; the admin token's account is nobody's."""

    form, add_form, change_password_form = UserChangeForm, UserCreationForm, AdminPasswordChangeForm
    list_display = ("username", "is_staff", "is_superuser", "is_active", "last_login")
    list_filter = ("is_superuser", "is_active")
    search_fields = ("username",)
    filter_horizontal = ()
    actions = None
    fieldsets = ((None, {"fields": ("username", "password", "is_active", "is_staff", "is_superuser", "last_login")}),)
    readonly_fields = ("last_login",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return staff.may_change(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return staff.may_change(request.user)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return staff.may_change(request.user)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_token = obj is not None and obj.username == staff.TOKEN_ACCOUNT
        return staff.may_change(request.user) and not is_token

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is not None and obj != request.user and self.has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.is_staff = True
        super().save_model(request, obj, form, change)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        audit.record(actor=actor(request), action="staff_account_created", target=obj.username)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        detail = {"is_active": obj.is_active, "is_staff": obj.is_staff, "is_superuser": obj.is_superuser}
        audit.record(actor=actor(request), action="staff_account_changed", target=obj.username, **detail)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:  # type: ignore[override]
        for account in queryset:
            audit.record(actor=actor(request), action="staff_account_deleted", target=account.username)


def register(site: admin.AdminSite) -> None:
    site.register(User, Users)
    site.register(Agent, Agents)
    site.register(PersonaVersion, PersonaVersions)
    site.register(BotAccount, BotAccounts)
    site.register(Project, Projects)
    site.register(StaffAccount, StaffAccounts)
