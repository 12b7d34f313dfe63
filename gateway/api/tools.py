"""MCP servers, and leave for their tools by room."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from gateway import changes
from gateway.api.base import Listed
from gateway.api.doors import name_of
from gateway.api.lists import Filter, flag, number, words
from gateway.api.reading import Strict, Text, Whole
from gateway.models import McpServer, RoomTool


class ServerRow(serializers.ModelSerializer[McpServer]):
    tools = serializers.SerializerMethodField()
    is_approved = serializers.SerializerMethodField()

    class Meta:
        model = McpServer
        fields = (
            *("id", "name", "transport", "is_enabled", "is_approved", "definition_hash", "approved_hash"),
            *("approved_by", "tools", "created_at"),
        )

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_tools(self, server: McpServer) -> list[str]:
        return changes.names_of(server)

    def get_is_approved(self, server: McpServer) -> bool:
        return bool(server.definition_hash) and server.definition_hash == server.approved_hash


class Leave(Strict):
    room = Whole(min_value=1, max_value=2**62)
    tool = Text(max_length=128)
    leave = serializers.ChoiceField(choices=[(one, one) for one in changes.LEAVES])


class Changed(serializers.Serializer[Any]):
    changed = serializers.BooleanField()


class Servers(Listed):
    queryset = McpServer.objects.all()
    serializer_class = ServerRow
    filters: ClassVar[dict[str, Filter]] = {
        "name": words("name", text="The whole name."),
        "is_enabled": flag("is_enabled"),
    }

    @extend_schema(request=Leave, responses=Changed)
    @action(detail=True, methods=["post"], url_path="leave")
    def leave(self, request: Request, pk: str) -> Response:
        """Say whether agents of a room may call one of its tools: no, ask (a person each time), yes."""
        given = self.read(request, Leave)
        is_new = changes.set_leave(
            room_id=given["room"], server_id=int(pk), tool=given["tool"], leave=given["leave"], actor=name_of(request)
        )
        return Response({"changed": is_new})


class LeaveRow(serializers.ModelSerializer[RoomTool]):
    class Meta:
        model = RoomTool
        fields = ("id", "room", "server", "tool", "needs_approval", "created_at")


class Leaves(Listed):
    queryset = RoomTool.objects.all()
    serializer_class = LeaveRow
    filters: ClassVar[dict[str, Filter]] = {
        "room": number("room_id"),
        "server": number("server_id"),
        "tool": words("tool", text="The whole name."),
        "needs_approval": flag("needs_approval"),
    }
