"""How every table of ours looks in the site: found, filtered, linked to its neighbours, and read-only unless it says so."""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.db.models import BooleanField, Field, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold import paginator
from unfold.admin import ModelAdmin

from gateway import staff
from gateway.changes import ChangeError

HIDDEN = frozenset(
    {"access_token", "token_digest", "old_token_digest", "digest", "vector", "embedding", "lease_owner"}
)
LONG = ("TextField", "JSONField", "BinaryField")
CELL = 120
"""Characters of a long text in a list; the row's own page shows all of it."""


class InfinitePaginator(paginator.InfinitePaginator):
    """Unfold's templates know it by this name. Nothing is counted; a page far behind finds its ids first, so that what lies before it is not joined for nothing."""

    def page(self, number: Any) -> Any:
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        rows = self.object_list
        if first:
            rows = rows.filter(pk__in=list(rows.values_list("pk", flat=True)[first : first + self.per_page]))
        else:
            rows = rows[: self.per_page]
        return self._get_page(rows, number, self)


class Table(ModelAdmin):
    """Nothing is added, changed or deleted here but what a subclass opens, through `gateway.changes`."""

    # Each cell is drawn by templates: thirty rows of ten take a tenth of a second.
    list_per_page = 30
    show_full_result_count = False
    paginator = InfinitePaginator
    actions = None
    ordering = ("-pk",)
    # Any other column would sort a million rows.
    sortable_by: Sequence[str] = ()
    warn_unsaved_form = True
    compressed_fields = True
    list_fullwidth = True
    save_as_continue = False

    none_yet: ClassVar[str] = "Rows come by themselves as the team works."
    """What stands on the empty list."""

    editable: ClassVar[tuple[str, ...]] = ()
    neighbours: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """(label, table such as `gateway_message`, its field that points here)."""

    def changed(self, request: HttpRequest, obj: Any, values: dict[str, Any]) -> None:
        """Make the change through the function that API and commands use too. Raises ChangeError."""
        raise NotImplementedError

    # Who may

    def has_module_permission(self, request: HttpRequest) -> bool:
        return staff.may_look(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return staff.may_look(request.user)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(self.editable) and staff.may_change(request.user)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # The list

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Yes and no as words: a drawn switch is a template of its own in each cell, and says less."""
        fields = {field.name: field for field in self.opts.concrete_fields}
        return [
            yes_no_column(name) if isinstance(fields.get(name), BooleanField) else name for name in self.list_display
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        is_list = getattr(request.resolver_match, "url_name", "").endswith("_changelist")
        unseen = self._unseen(is_list=is_list)
        return rows.defer(*unseen) if unseen else rows

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Links from neighbours filter by their id."""
        name = lookup.split("__", maxsplit=1)[0]
        is_neighbour = any(field.name == name and field.is_relation for field in self.opts.get_fields())
        allowed: bool = super().lookup_allowed(lookup, value, request)
        return allowed or (is_neighbour and lookup in (name, f"{name}__exact", f"{name}__id__exact"))

    # One row

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        if obj is None:
            return self.editable
        open_ones = self._open_ones(request)
        shown = [field.name for field in self._shown() if field.name not in self.editable]
        words = {field.name for field in self._shown() if isinstance(field, BooleanField)} - set(open_ones)
        many = [field.name for field in self.opts.many_to_many if field.name not in self.editable]
        names = (*self.editable, *shown, *many, *(("links",) if self.neighbours else ()))
        return tuple(yes_no_column(name, no="no") if name in words else name for name in names)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        open_ones = self._open_ones(request)
        return tuple(name for name in self.get_fields(request, obj) if name not in open_ones)

    def _open_ones(self, request: HttpRequest) -> tuple[str, ...]:
        return self.editable if staff.may_change(request.user) else ()

    def links(self, obj: Any) -> SafeString:
        return format_html_join(
            " · ",
            '<a class="nx-link" href="{}?{}">{}</a>',
            (
                (reverse(f"admin:{table}_changelist"), urlencode({f"{field}__id__exact": obj.pk}), label)
                for label, table, field in self.neighbours
            ),
        )

    links.short_description = "Neighbours"  # type: ignore[attr-defined]

    # Changing

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Only what the form changed goes to `changed`; the row itself is never saved from here."""
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        try:
            if values:
                self.changed(request, obj, values)
        except ChangeError as error:
            request.nexus_refusal = str(error)  # type: ignore[attr-defined]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Lists of people are set by `changed`."""

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        refusal = getattr(request, "nexus_refusal", "")
        if not refusal:
            response: HttpResponse = super().response_change(request, obj)
            return response
        messages.error(request, f"Nothing was changed: {refusal}.")
        return self.redirect_to(obj.pk)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Our own audit log has it."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """Our own audit log has it."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:
        """Our own audit log has it."""

    def redirect_to(self, pk: object) -> HttpResponse:
        return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[pk]))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The audit log is the history."""
        return HttpResponseRedirect(reverse("admin:gateway_auditentry_changelist"))

    def _shown(self) -> list["Field[Any, Any]"]:
        return [field for field in self.opts.concrete_fields if field.name not in HIDDEN]

    def _unseen(self, *, is_list: bool) -> list[str]:
        """Columns that are not worth carrying: never shown ones, and in lists long ones."""
        fields = self.opts.concrete_fields
        shown = {*self.list_display, *self.needs}
        return [
            field.name
            for field in fields
            if field.name in HIDDEN - {"digest"}
            or (is_list and field.get_internal_type() in LONG and field.name not in shown)
        ]

    needs: ClassVar[tuple[str, ...]] = ()
    """Long columns that a column of the list is made from."""


def actor(request: HttpRequest) -> str:
    return f"site:{staff.name_of(request.user)}"


def cut(text: str, *, at: int = CELL) -> str:
    line = " ".join(text.split())
    return line if len(line) <= at else f"{line[: at - 1]}…"


def link(obj: Model | None, *, text: str = "") -> SafeString | str:
    """To an object's own page."""
    if obj is None:
        return "–"
    url = reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change", args=[obj.pk])
    return format_html('<a class="nx-link" href="{}">{}</a>', url, text or str(obj))


def link_column(field: str, *, description: str = "") -> Any:
    """A list column with the related object as a link."""

    @admin.display(description=description or field.replace("_", " "))
    def column(_table: Table, obj: Any) -> SafeString | str:
        return link(getattr(obj, field))

    return column


@functools.cache
def yes_no_column(field: str, *, no: str = "–") -> Any:
    """Yes and no as words: a red cross beside "is broken" would say the opposite of what it means."""

    @admin.display(description=field.replace("_", " "))
    def column(obj: Any) -> str:
        return "yes" if getattr(obj, field) else no

    return column


def text_column(field: str, *, description: str = "") -> Any:
    """A list column with the start of a long text."""

    @admin.display(description=description or field.replace("_", " "))
    def column(_table: Table, obj: Any) -> str:
        return cut(str(getattr(obj, field)))

    return column
