"""Room × tool: which tools may agents of which room call, and which need a yes each time. No leave is the default."""

from typing import Any, Final

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase

from admin_ui.pages.drawing import back_to, draw
from admin_ui.tables.base import actor
from gateway import changes, staff
from gateway.models import McpServer, Room, RoomTool

ROOMS: Final = 25
MAX_CHANGES: Final = 2_000


def show(request: HttpRequest) -> HttpResponseBase:
    servers = list(McpServer.objects.exclude(transport="nexus").order_by("name"))
    chosen = next(
        (one for one in servers if str(one.pk) == request.GET.get("server")), servers[0] if servers else None
    )
    words = request.GET.get("q", "").strip()[:100]
    rooms = Room.objects.filter(is_archived=False)
    if words:
        rooms = rooms.filter(Q(name__icontains=words) | Q(title__icontains=words))
    shown = list(rooms.order_by("name", "pk")[:ROOMS])
    if request.method == "POST" and chosen is not None:
        return _save(request, server=chosen, rooms=shown)
    tools = changes.names_of(chosen) if chosen is not None else []
    return draw(
        request,
        "nexus/matrix.html",
        title="Room × tool",
        servers=servers,
        chosen=chosen,
        tools=tools,
        rows=_rows(chosen, shown, tools) if chosen is not None else [],
        words=words,
        leaves=changes.LEAVES,
        limit=ROOMS,
    )


def _rows(server: McpServer, rooms: list[Room], tools: list[str]) -> list[dict[str, Any]]:
    leave = {
        (row.room_id, row.tool): "ask" if row.needs_approval else "yes"
        for row in RoomTool.objects.filter(server=server, room__in=rooms)
    }
    return [
        {
            "room": room,
            "cells": [(f"leave.{room.pk}.{tool}", tool, leave.get((room.pk, tool), "no")) for tool in tools],
        }
        for room in rooms
    ]


def _save(request: HttpRequest, *, server: McpServer, rooms: list[Room]) -> HttpResponseBase:
    if not staff.may_change(request.user):
        return back_to(request, "tool_matrix", error="Only operators may change this.")
    wanted = {
        (room.pk, tool): request.POST.get(f"leave.{room.pk}.{tool}", "")
        for room in rooms
        for tool in changes.names_of(server)
        if request.POST.get(f"leave.{room.pk}.{tool}") in changes.LEAVES
    }
    count = sum(
        changes.set_leave(room_id=room_id, server_id=server.pk, tool=tool, leave=leave, actor=actor(request))
        for (room_id, tool), leave in list(wanted.items())[:MAX_CHANGES]
    )
    messages.success(request, f"{count} changed." if count else "Nothing was different.")
    return HttpResponseRedirect(request.get_full_path())
