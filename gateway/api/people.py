"""Agents with their figures and personas, users, projects, rooms."""

from typing import Any, ClassVar

from django.db import transaction
from django.db.models.functions import Now
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from gateway import changes, stats
from gateway.api.base import IF_MATCH, Listed
from gateway.api.doors import name_of
from gateway.api.lists import Filter, choice, flag, number, words
from gateway.api.reading import Flag, Strict, Text, Whole
from gateway.models import Agent, Bridge, CliKind, PersonaVersion, Project, Room, RoomKind, User, WhoMayAsk

_Ids = serializers.ListField
MAX_NAMED = 500


def _ids(text: str) -> Any:
    return _Ids(child=Whole(min_value=1, max_value=2**62), max_length=MAX_NAMED, required=False, help_text=text)


class AgentRow(serializers.ModelSerializer[Agent]):
    owner: Any = serializers.SlugRelatedField(slug_field="username", read_only=True, allow_null=True)
    is_online = serializers.SerializerMethodField()

    class Meta:
        model = Agent
        fields = (
            *("id", "slug", "cli_kind", "bridge", "owner", "is_online", "is_enabled", "persona", "who_may_ask"),
            *(
                "allowed_askers",
                "approvers",
                "accepts_handover_from",
                "parallel",
                "prompt_budget",
                "token_percent",
                "created_at",
            ),
        )

    def get_is_online(self, agent: Agent) -> bool:
        return bool(getattr(agent, "is_live", False))


class AgentChange(Strict):
    persona = Text(required=False, allow_blank=True, max_length=8_000, trim_whitespace=False)
    who_may_ask = serializers.ChoiceField(choices=WhoMayAsk.choices, required=False)
    allowed_askers = _ids("Ids of users.")
    approvers = _ids("Ids of users.")
    accepts_handover_from = _ids("Ids of agents.")
    parallel = Whole(min_value=1, max_value=32, required=False)
    prompt_budget = Whole(min_value=500, max_value=500_000, required=False, allow_null=True)
    token_percent = Whole(min_value=25, max_value=400, required=False)
    is_enabled = Flag(required=False)


class Times(serializers.Serializer[Any]):
    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)


class AgentStats(serializers.Serializer[Any]):
    days = serializers.IntegerField()
    invocations = serializers.IntegerField()
    done = serializers.IntegerField()
    failed = serializers.IntegerField()
    first_text = Times()
    end = Times()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = serializers.FloatField()


class Persona(serializers.ModelSerializer[PersonaVersion]):
    class Meta:
        model = PersonaVersion
        fields = ("id", "text", "changed_by", "created_at")


class Agents(Listed):
    queryset = Agent.objects.all()
    serializer_class = AgentRow
    volatile = frozenset({"is_online"})
    filters: ClassVar[dict[str, Filter]] = {
        "slug": words("slug", text="The whole slug."),
        "cli_kind": choice("cli_kind", options=CliKind.values),
        "owner": words("owner__username", text="The owner's username."),
        "bridge": number("bridge_id"),
        "is_enabled": flag("is_enabled"),
    }

    def get_queryset(self) -> Any:
        from django.db.models import Exists, OuterRef

        live = Exists(Bridge.objects.filter(pk=OuterRef("bridge_id"), revoked_at=None, lease_until__gt=Now()))
        named = ("allowed_askers", "approvers", "accepts_handover_from")
        return super().get_queryset().select_related("owner").prefetch_related(*named).annotate(is_live=live)

    @extend_schema(request=AgentChange, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change its persona (the old one is kept), its rights, its lanes; switch it on or off."""
        given = self.read(request, AgentChange)
        with transaction.atomic():
            self.check_match(request, self.row())
            changes.change_agent(agent_id=int(pk), actor=name_of(request), values=given)
        return self.shown(self.row())

    @extend_schema(responses=AgentStats)
    @action(detail=True, methods=["get"])
    def stats(self, _request: Request, pk: str) -> Response:
        """What it did in the last days; times are seconds."""
        self.row()
        return Response(stats.of_agent(agent_id=int(pk)))

    @extend_schema(responses=Persona(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None, filter_backends=[])
    def personas(self, _request: Request, pk: str) -> Response:
        """What its persona said before, newest first; the last 100."""
        self.row()
        rows = PersonaVersion.objects.filter(agent_id=pk).order_by("-pk")[:100]
        return Response(Persona(rows, many=True).data)


class UserRow(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ("id", "rocketchat_id", "username", "display_name", "role", "is_foreign_bot", "created_at")


class UserChange(Strict):
    role = serializers.ChoiceField(choices=[(role, role) for role in changes.ROLES])


class Forgotten(serializers.Serializer[Any]):
    messages = serializers.IntegerField(help_text="How many become tombstones within minutes.")


class Users(Listed):
    queryset = User.objects.all()
    serializer_class = UserRow
    filters: ClassVar[dict[str, Filter]] = {
        "username": words("username", text="The whole username."),
        "role": choice("role", options=changes.ROLES),
        "is_foreign_bot": flag("is_foreign_bot"),
    }

    @extend_schema(request=UserChange, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str) -> Response:
        """Make somebody an admin of the chat commands, or a plain user."""
        given = self.read(request, UserChange)
        with transaction.atomic():
            self.check_match(request, self.row())
            changes.change_user(user_id=int(pk), actor=name_of(request), role=given["role"])
        return self.shown(self.row())

    @extend_schema(request=None, responses={202: Forgotten})
    @action(detail=True, methods=["post"])
    def forget(self, request: Request, pk: str) -> Response:
        """Take all that this person has written out of memory, as `!forget me` does. It can't be undone."""
        count = changes.forget_person(user_id=int(pk), actor=name_of(request))
        return Response({"messages": count}, status=202)


class ProjectRow(serializers.ModelSerializer[Project]):
    class Meta:
        model = Project
        fields = ("id", "slug", "title", "managers", "created_at")


class NewProject(Strict):
    slug = Text(max_length=64)
    title = Text(max_length=200, required=False, allow_blank=True, default="")
    managers = _ids("Ids of users.")


class ProjectChange(Strict):
    slug = Text(max_length=64, required=False)
    title = Text(max_length=200, required=False)
    managers = _ids("Ids of users.")


class Projects(Listed):
    queryset = Project.objects.prefetch_related("managers")
    serializer_class = ProjectRow
    filters: ClassVar[dict[str, Filter]] = {"slug": words("slug", text="The whole slug.")}

    @extend_schema(request=NewProject, responses={201: ProjectRow})
    def create(self, request: Request) -> Response:
        """Make a project."""
        given = self.read(request, NewProject)
        made = changes.add_project(actor=name_of(request), **given)
        return self.shown(Project.objects.get(pk=made.pk), status=201)

    @extend_schema(request=ProjectChange, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str) -> Response:
        """Another slug, title or managers."""
        given = self.read(request, ProjectChange)
        with transaction.atomic():
            self.check_match(request, self.row())
            changes.change_project(project_id=int(pk), actor=name_of(request), values=given)
        return self.shown(self.row())

    @extend_schema(responses={204: None}, parameters=[IF_MATCH])
    def destroy(self, request: Request, pk: str) -> Response:
        """Remove it with what is known of it; 409 while rooms belong to it."""
        with transaction.atomic():
            self.check_match(request, self.row())
            changes.remove_project(project_id=int(pk), actor=name_of(request))
        return Response(status=204)


class RoomRow(serializers.ModelSerializer[Room]):
    class Meta:
        model = Room
        fields = (
            *("id", "rid", "kind", "name", "title", "topic", "project", "is_quiet", "is_serial"),
            *("is_archived", "is_read_only", "is_encrypted", "created_at"),
        )


class RoomChange(Strict):
    is_quiet = Flag(required=False)
    is_serial = Flag(required=False)
    project = Whole(min_value=1, max_value=2**62, required=False, allow_null=True)


class Rooms(Listed):
    queryset = Room.objects.all()
    serializer_class = RoomRow
    filters: ClassVar[dict[str, Filter]] = {
        "kind": choice("kind", options=RoomKind.values),
        "name": words("name", text="The whole name."),
        "q": words("name__icontains", "title__icontains"),
        "project": number("project_id"),
        "is_serial": flag("is_serial"),
        "is_archived": flag("is_archived"),
    }

    @extend_schema(request=RoomChange, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str) -> Response:
        """Quiet, serial, or of another project."""
        given = self.read(request, RoomChange)
        with transaction.atomic():
            self.check_match(request, self.row())
            changes.change_room(room_id=int(pk), actor=name_of(request), values=given)
        return self.shown(self.row())
