"""What the team knows: landmarks, facts, memories, summaries; and the audit log."""

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminTextareaWidget

from admin_ui.tables.base import Table, actor, cut, link_column, text_column
from admin_ui.tables.removing import Removable
from composer.memory.fact_words import MAX_VALUE_CHARS
from composer.models import Fact, Landmark, Memory, Summary
from gateway import changes
from gateway.models import AuditEntry, AuditSeal


class Landmarks(Table):
    list_display = ("created_at", "kind", "said", "room", "pinned_by", "unpinned_at")
    list_select_related = ("message__room", "pinned_by_user", "pinned_by_agent")
    list_filter = ("kind", ("unpinned_at", admin.EmptyFieldListFilter))
    search_fields = ("message__text", "message__room__name")
    editable = ("kind",)
    change_form_before_template = "nexus/landmark_actions.html"

    @admin.display(description="what")
    def said(self, landmark: Landmark) -> str:
        return cut(landmark.message.text)

    @admin.display(description="room")
    def room(self, landmark: Landmark) -> str:
        return str(landmark.message.room)

    @admin.display(description="pinned by")
    def pinned_by(self, landmark: Landmark) -> str:
        return str(landmark.pinned_by_user or landmark.pinned_by_agent or "a rule")

    def changed(self, request: HttpRequest, obj: Any, values: dict[str, Any]) -> None:
        changes.change_landmark(landmark_id=obj.pk, actor=actor(request), kind=values["kind"])


class Facts(Removable):
    list_display = ("scope", "key", "shown_value", "confidence", "source", "expires_at", "updated_at")
    list_select_related = ("source_message",)
    search_fields = ("scope", "key")
    editable = ("value", "expires_at")
    needs = ("value",)
    source = link_column("source_message", description="source")

    @admin.display(description="value")
    def shown_value(self, fact: Fact) -> str:
        return cut(json.dumps(fact.value, ensure_ascii=False))

    def changed(self, request: HttpRequest, obj: Any, values: dict[str, Any]) -> None:
        changes.correct_fact(
            fact_id=obj.pk,
            actor=actor(request),
            value=values.get("value", obj.value),
            expires_at=values.get("expires_at", obj.expires_at),
        )

    def remove(self, request: HttpRequest, obj: Any) -> None:
        changes.forget_fact(fact_id=obj.pk, actor=actor(request))


class MemoryForm(forms.ModelForm):  # type: ignore[type-arg]
    correction = forms.CharField(
        required=False,
        max_length=MAX_VALUE_CHARS,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="What holds instead. It becomes a fact that prompts carry; what was said stays as it was said.",
    )


class Memories(Removable):
    """Mem0's rows have no order of their own; they are found by scope or words."""

    form = MemoryForm
    editable = ("correction",)
    list_display = ("id", "scope", "said", "message")
    ordering = ("pk",)
    search_fields = ("payload__data", "=payload__run_id")
    search_help_text = "Words, or a scope such as room:…"
    needs = ("payload",)

    @admin.display(description="scope")
    def scope(self, memory: Memory) -> str:
        return str((memory.payload or {}).get("run_id", ""))

    @admin.display(description="memory")
    def said(self, memory: Memory) -> str:
        return cut(str((memory.payload or {}).get("data", "")))

    @admin.display(description="message")
    def message(self, memory: Memory) -> str:
        return str((memory.payload or {}).get("msg", ""))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return (found_memories(queryset, search_term), False) if search_term else (queryset, False)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        """Who may only look is shown no field that is no column."""
        names = super().get_fields(request, obj)
        return names if self._open_ones(request) else tuple(name for name in names if name not in self.editable)

    def changed(self, request: HttpRequest, obj: Any, values: dict[str, Any]) -> None:
        fact_id = changes.correct_memory(memory_id=obj.pk, actor=actor(request), text=values["correction"])
        where = reverse("admin:composer_fact_change", args=[fact_id])
        messages.info(request, format_html('<a class="nx-link" href="{}">Fact {}</a> says so now.', where, fact_id))

    def remove(self, request: HttpRequest, obj: Any) -> None:
        changes.forget_memory(memory_id=obj.pk, actor=actor(request))


RECENT_MEMORIES = 20_000


def found_memories(rows: QuerySet[Any], words: str) -> QuerySet[Any]:
    """Of one scope, by its index; else those that contain the words, in a bounded part of the table."""
    if ":" in words and " " not in words:
        return rows.filter(payload__run_id=words)
    last = rows.order_by("pk").values_list("pk", flat=True)[RECENT_MEMORIES : RECENT_MEMORIES + 1]
    rows = rows.filter(pk__lt=last[0]) if last else rows
    return rows.filter(payload__data__icontains=words)


class Summaries(Table):
    list_display = ("created_at", "room_link", "tier", "message_count", "token_count", "said", "made_by")
    list_select_related = ("room",)
    list_filter = ("tier",)
    search_fields = ("room__name", "text")
    needs = ("text",)
    room_link, said = link_column("room"), text_column("text")


class AuditEntries(Table):
    list_display = ("id", "at", "actor", "action", "target", "told")
    search_fields = ("actor", "action", "target")
    needs = ("detail",)
    list_before_template = "nexus/audit_actions.html"

    @admin.display(description="detail")
    def told(self, entry: AuditEntry) -> str:
        return cut(json.dumps(entry.detail, ensure_ascii=False)) if entry.detail else ""


class AuditSeals(Table):
    list_display = ("id", "first_id", "last_id", "entries", "sha256", "sealed_at")


def register(site: admin.AdminSite) -> None:
    site.register(Landmark, Landmarks)
    site.register(Fact, Facts)
    site.register(Memory, Memories)
    site.register(Summary, Summaries)
    site.register(AuditEntry, AuditEntries)
    site.register(AuditSeal, AuditSeals)
