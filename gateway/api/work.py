"""Invocations with their prompt and chunks, stopped and asked again; messages; standing grants."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from composer.models import Prompt
from gateway import changes, redaction
from gateway.api.base import Listed
from gateway.api.doors import name_of
from gateway.api.lists import Filter, choice, moment, number, words
from gateway.models import Grant, Invocation, Message, Purpose, State
from runtime.models import Chunk


class InvocationRow(serializers.ModelSerializer[Invocation]):
    agent_slug = serializers.CharField(source="agent.slug", read_only=True)
    room_name = serializers.CharField(source="room.name", read_only=True)
    asker = serializers.CharField(source="root_asker.username", read_only=True)

    class Meta:
        model = Invocation
        fields = (
            *("id", "state", "reason", "detail", "agent", "agent_slug", "room", "room_name", "asker", "message"),
            *("thread", "attempt", "retry_of", "hop", "crashes", "last_seq", "exit_code", "wait_until"),
            *("opened_at", "composed_at", "offered_at", "running_at", "first_text_at", "ended_at"),
            *("cancel_requested_at", "input_tokens", "output_tokens", "cached_tokens", "cost_usd", "purpose"),
        )


class PromptRow(serializers.ModelSerializer[Prompt]):
    sections = serializers.ListField(child=serializers.DictField(), source="parts")
    left_out = serializers.ListField(child=serializers.DictField())

    class Meta:
        model = Prompt
        fields = ("invocation", "text", "sections", "left_out", "token_count", "budget", "created_at")


class ChunkRow(serializers.ModelSerializer[Chunk]):
    payload = serializers.SerializerMethodField()

    class Meta:
        model = Chunk
        fields = ("seq", "kind", "payload", "stored_at")

    def get_payload(self, chunk: Chunk) -> str:
        return redaction.masked(chunk.payload)


class Chunks(serializers.Serializer[Any]):
    state = serializers.CharField(help_text="Of the invocation; final means that no more will come.")
    chunks = ChunkRow(many=True)


CHUNK_PAGE = 500


class Invocations(Listed):
    queryset = Invocation.objects.select_related("agent", "room", "root_asker")
    serializer_class = InvocationRow
    filters: ClassVar[dict[str, Filter]] = {
        "state": choice("state", options=State.values),
        "purpose": choice("purpose", options=Purpose.values),
        "agent": words("agent__slug", text="The agent's slug."),
        "room": number("room_id"),
        "asker": words("root_asker__username", text="The asker's username."),
        "reason": words("reason", text="The whole reason."),
        "opened_after": moment("opened_at__gt", text="Opened later than this."),
        "opened_before": moment("opened_at__lt", text="Opened before this."),
    }

    @extend_schema(responses=PromptRow)
    @action(detail=True, methods=["get"])
    def prompt(self, _request: Request, pk: str) -> Response:
        """What the agent saw: sections, token counts, sources, and what was left out and why."""
        found = Prompt.objects.filter(invocation_id=pk).first()
        if found is None:
            raise NotFound(f"No prompt of invocation {pk} is kept.")
        return Response(PromptRow(found).data)

    @extend_schema(responses=Chunks, parameters=[])
    @action(detail=True, methods=["get"], url_path="chunks/(?P<after>[0-9]{1,18})")
    def chunks(self, _request: Request, pk: str, after: str) -> Response:
        """Its output behind this seq (0: from the start), at most 500 pieces."""
        row = self.row()
        found = Chunk.objects.filter(invocation_id=pk, seq__gt=int(after)).order_by("seq")[:CHUNK_PAGE]
        return Response({"state": row.state, "chunks": ChunkRow(found, many=True).data})

    @extend_schema(request=None, responses={202: InvocationRow})
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, pk: str) -> Response:
        """As `!stop` in the room: at once, or as soon as its bridge has ended it."""
        changes.stop(invocation_id=int(pk), actor=name_of(request))
        return self.shown(self.row(), status=202)

    @extend_schema(request=None, responses={201: InvocationRow})
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """As `!retry` in the room: a new invocation."""
        made = changes.ask_again(invocation_id=int(pk), actor=name_of(request))
        return self.shown(self.get_queryset().get(pk=made.pk), status=201)


class MessageRow(serializers.ModelSerializer[Message]):
    user: Any = serializers.SlugRelatedField(slug_field="username", read_only=True, allow_null=True)
    agent: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True, allow_null=True)

    class Meta:
        model = Message
        fields = ("id", "rc_id", "room", "user", "agent", "text", "thread", "ts", "edited_at", "deleted_at")


class Messages(Listed):
    queryset = Message.objects.select_related("user", "agent")
    serializer_class = MessageRow
    filters: ClassVar[dict[str, Filter]] = {
        "room": number("room_id"),
        "rc_id": words("rc_id", text="Its id in the chat."),
        "thread": words("thread", text="The chat id of the thread's root."),
        "user": words("user__username", text="The writer's username."),
        "since": moment("ts__gte", text="Written at or after this."),
        "until": moment("ts__lt", text="Written before this."),
    }


class GrantRow(serializers.ModelSerializer[Grant]):
    agent: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    granted_by: Any = serializers.SlugRelatedField(slug_field="username", read_only=True)

    class Meta:
        model = Grant
        fields = ("id", "agent", "room", "tool", "until", "granted_by", "created_at")


class Grants(Listed):
    queryset = Grant.objects.select_related("agent", "granted_by")
    serializer_class = GrantRow
    filters: ClassVar[dict[str, Filter]] = {
        "agent": words("agent__slug", text="The agent's slug."),
        "room": number("room_id"),
    }

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Take a standing yes back."""
        changes.take_back_grant(grant_id=int(pk), actor=name_of(request))
        return Response(status=204)
