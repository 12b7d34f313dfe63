"""The admin site's tables. What would break an invariant is read-only; the pipeline alone writes it."""

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import Field, Model
from django.http import HttpRequest

from gateway.models import Agent, Project, Room, User
from runtime.models import Chunk

EDITABLE: dict[type[Model], tuple[str, ...]] = {
    Agent: (
        "persona",
        "who_may_ask",
        "allowed_askers",
        "approvers",
        "accepts_handover_from",
        "parallel",
        "is_enabled",
    ),
    Room: ("is_quiet", "is_serial", "project"),
    Project: ("slug", "title", "managers"),
    User: ("role",),
}
HIDDEN = {"access_token", "token_digest", "old_token_digest", "digest", "vector", "embedding"}


class TableAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Lists any of our tables; only fields named in EDITABLE can be changed, nothing is added or deleted here."""

    list_per_page = 50
    show_full_result_count = False

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        return tuple(field.name for field in self._shown() if not _is_long(field))[:9]

    def get_list_filter(self, request: HttpRequest) -> tuple[str, ...]:
        return tuple(
            field.name for field in self._shown() if field.choices or field.get_internal_type() == "BooleanField"
        )

    def get_list_select_related(self, request: HttpRequest) -> list[str]:
        return [field.name for field in self._shown() if field.many_to_one]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return tuple(field.name for field in (*self._shown(), *self.opts.many_to_many))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        editable = EDITABLE.get(self.model, ())
        return tuple(name for name in self.get_fields(request, obj) if name not in editable)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.model is Project and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.model in EDITABLE and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def _shown(self) -> list["Field[Any, Any]"]:
        return [field for field in self.opts.concrete_fields if field.name not in HIDDEN]


def _is_long(field: "Field[Any, Any]") -> bool:
    return field.get_internal_type() in ("TextField", "JSONField", "BinaryField")


for _app in ("gateway", "composer", "runtime"):
    for _model in apps.get_app_config(_app).get_models():
        # Django's admin can't address composite keys; chunks are seen through their invocation.
        if _model is Chunk or _model._meta.auto_created:
            continue
        admin.site.register(_model, TableAdmin)

admin.site.site_header = "Nexus"
admin.site.site_title = "Nexus"
admin.site.index_title = "What the host knows"
