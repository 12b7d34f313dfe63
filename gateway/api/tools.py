"""MCP servers from their registration to their end, the names of their secrets, and leave for their tools by room."""

from typing import Any, ClassVar

from django.db import transaction
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gateway import changes, mcp
from gateway.api.base import IF_MATCH, Listed
from gateway.api.doors import name_of
from gateway.api.errors import Error
from gateway.api.knowledge import AnyJSON
from gateway.api.lists import Filter, flag, number, words
from gateway.api.reading import Strict, Table, Text, Whole
from gateway.models import McpServer, RoomTool


class SeenTool(serializers.Serializer[Any]):
    name = serializers.CharField()
    description = serializers.CharField()
    schema = AnyJSON()
    hash = serializers.CharField(help_text="Of name, description and schema.")
    standing = serializers.ChoiceField(
        choices=[(one, one) for one in ("approved", "changed", "new", "gone")], help_text="Since the last approval."
    )


class ServerRow(serializers.ModelSerializer[McpServer]):
    definition = serializers.DictField(read_only=True)
    state = serializers.SerializerMethodField(help_text="new, looked_at, changed, approved, off")
    tools = serializers.SerializerMethodField()

    class Meta:
        model = McpServer
        fields = (
            *("id", "name", "transport", "definition", "state", "is_enabled", "definition_hash", "approved_hash"),
            *("approved_by", "tools", "created_at"),
        )

    def get_state(self, server: McpServer) -> str:
        return mcp.state_of(server)

    @extend_schema_field(SeenTool(many=True))
    def get_tools(self, server: McpServer) -> Any:
        return SeenTool(mcp.tools_of(server), many=True).data


class Definition(Strict):
    transport = serializers.ChoiceField(choices=[("stdio", "stdio"), ("http", "http")])
    definition = Table(help_text='As docs/tools.md says; secrets as references, {"secret": "NAME"}.')


class NewServer(Definition):
    name = Text(max_length=64)


class LookedAt(Strict):
    definition_hash = Text(max_length=64, help_text="The one you have looked at.")


class Leave(Strict):
    room = Whole(min_value=1, max_value=2**62)
    tool = Text(max_length=128)
    leave = serializers.ChoiceField(choices=[(one, one) for one in changes.LEAVES])


class Changed(serializers.Serializer[Any]):
    changed = serializers.BooleanField()


class Servers(Listed):
    queryset = McpServer.objects.exclude(transport="nexus")
    serializer_class = ServerRow
    filters: ClassVar[dict[str, Filter]] = {
        "name": words("name", text="The whole name."),
        "is_enabled": flag("is_enabled"),
    }
    also_answers: ClassVar[dict[str, tuple[int, ...]]] = {"test": (424,)}

    @extend_schema(request=NewServer, responses={201: ServerRow})
    def create(self, request: Request) -> Response:
        """Register a server; it is off until it was tested and approved."""
        made = mcp.register(**self.read(request, NewServer), actor=name_of(request))
        return self.shown(made, status=201)

    @extend_schema(request=Definition, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str) -> Response:
        """Another definition; it is off until that was tested and approved."""
        given = self.read(request, Definition)
        with transaction.atomic():
            self.check_match(request, self.row())
            server = mcp.redefine(server_id=int(pk), **given, actor=name_of(request))
        return self.shown(server)

    @extend_schema(responses={204: None}, parameters=[IF_MATCH])
    def destroy(self, request: Request, pk: str) -> Response:
        """Remove it, with every room's leave for its tools."""
        with transaction.atomic():
            self.check_match(request, self.row())
            mcp.remove(server_id=int(pk), actor=name_of(request))
        return Response(status=204)

    @extend_schema(request=None, responses=ServerRow)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Ask it for its tools and keep what it says, with the hash; off, if that is not what was approved."""
        return self.shown(mcp.probe(server_id=int(pk), actor=name_of(request)))

    @extend_schema(request=LookedAt, responses=ServerRow)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        """Say yes to exactly what has this hash, and let it serve; 409 when it is another by now."""
        given = self.read(request, LookedAt)
        return self.shown(mcp.approve(server_id=int(pk), **given, actor=name_of(request)))

    @extend_schema(request=None, responses=ServerRow)
    @action(detail=True, methods=["post"], url_path="switch-off")
    def switch_off(self, request: Request, pk: str) -> Response:
        """It serves nobody until it is approved again."""
        mcp.switch_off(server_id=int(pk), actor=name_of(request))
        return self.shown(self.row())

    @extend_schema(request=Leave, responses=Changed)
    @action(detail=True, methods=["post"], url_path="leave")
    def leave(self, request: Request, pk: str) -> Response:
        """Say whether agents of a room may call one of its tools: no, ask (a person each time), yes."""
        given = self.read(request, Leave)
        is_new = changes.set_leave(
            room_id=given["room"], server_id=int(pk), tool=given["tool"], leave=given["leave"], actor=name_of(request)
        )
        return Response({"changed": is_new})


class SecretNames(serializers.Serializer[Any]):
    names = serializers.ListField(child=serializers.CharField())


class Secret(Strict):
    value = Text(max_length=8_000, write_only=True, trim_whitespace=False)


class Secrets(APIView):
    @extend_schema(operation_id="mcp_secrets", responses={200: SecretNames, 424: Error}, tags=["mcp-secrets"])
    def get(self, _request: Request) -> Response:
        """Which secrets definitions may refer to. No answer ever holds a value."""
        return Response({"names": mcp.secret_names()})


class OneSecret(APIView):
    @extend_schema(
        operation_id="mcp_secret_set", request=Secret, responses={204: None, 424: Error}, tags=["mcp-secrets"]
    )
    def put(self, request: Request, name: str) -> Response:
        """Give it, or another value for it; it stands in the host's file of secrets."""
        form = Secret(data=request.data if request.data is not None else {})
        form.is_valid(raise_exception=True)
        mcp.keep_secret(name=name, value=form.validated_data["value"], actor=name_of(request))
        return Response(status=204)

    @extend_schema(operation_id="mcp_secret_remove", responses={204: None, 424: Error}, tags=["mcp-secrets"])
    def delete(self, request: Request, name: str) -> Response:
        """Servers that refer to it answer nothing any more."""
        mcp.drop_secret(name=name, actor=name_of(request))
        return Response(status=204)


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
