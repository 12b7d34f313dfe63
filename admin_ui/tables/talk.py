"""Rooms, who is in them, what was said there, and what could not be stored."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from admin_ui.tables.base import Table, actor, link, link_column, text_column
from gateway import changes
from gateway.models import File, Message, Notice, Reaction, Room, RoomCursor, RoomMember, SetAside


class Rooms(Table):
    list_display = ("shown_name", "kind", "project_link", "is_quiet", "is_serial", "is_archived", "created_at")
    list_select_related = ("project",)
    list_filter = ("kind", "is_quiet", "is_serial", "is_archived")
    search_fields = ("name", "title", "=rid")
    autocomplete_fields = ("project",)
    editable = ("is_quiet", "is_serial", "project")
    neighbours = (
        ("messages", "gateway_message", "room"),
        ("invocations", "gateway_invocation", "room"),
        ("members", "gateway_roommember", "room"),
        ("tools", "gateway_roomtool", "room"),
        ("summaries", "composer_summary", "room"),
        ("notices", "gateway_notice", "room"),
    )
    project_link = link_column("project")

    @admin.display(description="room")
    def shown_name(self, room: Room) -> str:
        return str(room)

    def changed(self, request: HttpRequest, obj: Any, values: dict[str, Any]) -> None:
        if "project" in values:
            values["project"] = values["project"].pk if values["project"] is not None else None
        changes.change_room(room_id=obj.pk, actor=actor(request), values=values)


class RoomMembers(Table):
    list_display = ("id", "room_link", "who", "is_owner", "joined_at")
    list_select_related = ("room", "user", "agent")
    list_filter = ("is_owner",)
    search_fields = ("room__name", "user__username", "agent__slug")
    room_link = link_column("room")

    @admin.display(description="who")
    def who(self, member: RoomMember) -> str:
        return link(member.user or member.agent)


class RoomCursors(Table):
    list_display = ("room_id", "room_link", "updated_to", "deleted_to", "caught_up_at")
    list_select_related = ("room",)
    search_fields = ("room__name", "=room__rid")
    room_link = link_column("room")


class Messages(Table):
    list_display = ("ts", "room_link", "writer", "said", "thread", "deleted_at")
    list_select_related = ("room", "user", "agent")
    search_fields = ("=rc_id", "=thread", "text")
    search_help_text = "Words of the message, or its id in the chat"
    needs = ("text",)
    neighbours = (
        ("invocations", "gateway_invocation", "message"),
        ("files", "gateway_file", "message"),
        ("facts", "composer_fact", "source_message"),
        ("landmark", "composer_landmark", "message"),
    )
    room_link, said = link_column("room"), text_column("text", description="text")

    @admin.display(description="who")
    def writer(self, message: Message) -> str:
        return link(message.user or message.agent)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return (found_by_words(queryset, search_term), False) if search_term else (queryset, False)


RECENT_MESSAGES = 20_000
"""A search looks through so many of the newest messages of what else was chosen; it has to end some time."""


def found_by_words(rows: QuerySet[Any], words: str) -> QuerySet[Any]:
    """The message with this id in the chat; else the newest that contain the words."""
    by_id = rows.filter(rc_id=words)
    if " " not in words and by_id.exists():
        return by_id
    oldest = rows.order_by("-pk").values_list("pk", flat=True)[RECENT_MESSAGES : RECENT_MESSAGES + 1]
    rows = rows.filter(pk__gt=oldest[0]) if oldest else rows
    for word in words.split():
        rows = rows.filter(text__icontains=word)
    return rows


class Files(Table):
    list_display = ("name", "size", "content_type", "message_link", "expires_at")
    list_select_related = ("message",)
    search_fields = ("name", "=sha256")
    message_link = link_column("message")


class Notices(Table):
    list_display = ("created_at", "kind", "room_link", "agent_link", "said", "posted_at", "failed_reason")
    list_select_related = ("room", "agent")
    list_filter = ("kind",)
    search_fields = ("=chat_id", "room__name", "agent__slug")
    needs = ("text",)
    room_link, agent_link, said = link_column("room"), link_column("agent"), text_column("text")


class SetAsides(Table):
    list_display = ("rc_id", "rid", "reason", "created_at")
    search_fields = ("rc_id", "rid", "reason")


class Reactions(Table):
    list_display = ("created_at", "actor", "emoji", "message_link")
    list_select_related = ("message",)
    search_fields = ("actor", "emoji")
    message_link = link_column("message")


def register(site: admin.AdminSite) -> None:
    site.register(Room, Rooms)
    site.register(RoomMember, RoomMembers)
    site.register(RoomCursor, RoomCursors)
    site.register(Message, Messages)
    site.register(File, Files)
    site.register(Notice, Notices)
    site.register(SetAside, SetAsides)
    site.register(Reaction, Reactions)
