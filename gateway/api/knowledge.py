"""What the team knows: facts, landmarks, memories."""

import uuid
from typing import Any, ClassVar

from django.db import transaction
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from composer.memory.fact_words import MAX_VALUE_CHARS
from composer.models import Fact, Landmark, Memory
from gateway import changes
from gateway.api.base import IF_MATCH, Listed
from gateway.api.doors import name_of
from gateway.api.errors import UnprocessableError
from gateway.api.lists import Filter, choice, flag, number, words
from gateway.api.reading import Flag, Strict

ANY = {"description": "Any JSON value."}


@extend_schema_field(ANY)
class AnyJSON(serializers.JSONField):
    """A JSON value of any kind."""


class FactRow(serializers.ModelSerializer[Fact]):
    value = AnyJSON()
    set_by: Any = serializers.SlugRelatedField(slug_field="username", read_only=True, allow_null=True)

    class Meta:
        model = Fact
        fields = (
            *("id", "scope", "key", "value", "confidence", "source_message", "set_by", "expires_at"),
            *("created_at", "updated_at"),
        )


class FactChange(Strict):
    value = AnyJSON(required=False)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)


class Facts(Listed):
    queryset = Fact.objects.select_related("set_by")
    serializer_class = FactRow
    filters: ClassVar[dict[str, Filter]] = {
        "scope": words("scope", text="The whole scope, like room:<rid>."),
        "key": words("key", text="The whole key."),
        "source_message": number("source_message_id"),
    }

    @extend_schema(request=FactChange, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str) -> Response:
        """Correct it: another value, another end."""
        given = self.read(request, FactChange)
        with transaction.atomic():
            row = self.row()
            self.check_match(request, row)
            changes.correct_fact(
                fact_id=row.pk,
                actor=name_of(request),
                value=given.get("value", row.value),
                expires_at=given.get("expires_at", row.expires_at),
            )
        return self.shown(self.row())

    @extend_schema(responses={204: None}, parameters=[IF_MATCH])
    def destroy(self, request: Request, pk: str) -> Response:
        """Forget it."""
        with transaction.atomic():
            self.check_match(request, self.row())
            changes.forget_fact(fact_id=int(pk), actor=name_of(request))
        return Response(status=204)


class LandmarkRow(serializers.ModelSerializer[Landmark]):
    text = serializers.CharField(source="message.text", read_only=True)
    room = serializers.IntegerField(source="message.room_id", read_only=True)

    class Meta:
        model = Landmark
        fields = ("id", "message", "room", "kind", "text", "superseded_by", "unpinned_at", "created_at")


class LandmarkChange(Strict):
    kind = serializers.ChoiceField(choices=[(kind, kind) for kind in changes.LANDMARK_KINDS], required=False)
    is_pinned = Flag(required=False)


class Landmarks(Listed):
    queryset = Landmark.objects.select_related("message")
    serializer_class = LandmarkRow
    filters: ClassVar[dict[str, Filter]] = {
        "kind": choice("kind", options=changes.LANDMARK_KINDS),
        "room": number("message__room_id"),
        "is_pinned": flag("unpinned_at__isnull", text="false: taken down."),
    }

    @extend_schema(request=LandmarkChange, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str) -> Response:
        """Another kind; taken down, or pinned again."""
        given = self.read(request, LandmarkChange)
        with transaction.atomic():
            self.check_match(request, self.row())
            changes.change_landmark(landmark_id=int(pk), actor=name_of(request), **given)
        return self.shown(self.row())


class MemoryRow(serializers.ModelSerializer[Memory]):
    scope = serializers.SerializerMethodField()
    text = serializers.SerializerMethodField()
    message = serializers.SerializerMethodField()

    class Meta:
        model = Memory
        fields = ("id", "scope", "text", "message")

    def get_scope(self, memory: Memory) -> str:
        return str((memory.payload or {}).get("run_id", ""))

    def get_text(self, memory: Memory) -> str:
        return str((memory.payload or {}).get("data", ""))

    def get_message(self, memory: Memory) -> str:
        return str((memory.payload or {}).get("msg", ""))


class MemoryCorrection(Strict):
    text = serializers.CharField(max_length=MAX_VALUE_CHARS)


class Memories(Listed):
    queryset = Memory.objects.defer("vector")
    serializer_class = MemoryRow
    lookup_value_regex = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    after_schema: ClassVar[dict[str, Any]] = {"type": "string", "format": "uuid"}
    filters: ClassVar[dict[str, Filter]] = {"scope": words("payload__run_id", text="The whole scope.")}

    def read_after(self, text: str) -> Any:
        try:
            return uuid.UUID(text)
        except ValueError:
            raise UnprocessableError("after is the id of a memory") from None

    def row(self) -> Memory:
        found = self.get_queryset().filter(pk=uuid.UUID(self.kwargs["pk"])).first()
        if found is None:
            raise NotFound(f"There is no memory {self.kwargs['pk']}.")
        return found  # type: ignore[no-any-return]

    @extend_schema(request=MemoryCorrection, responses=FactRow, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str) -> Response:
        """Correct it: the answer is the fact that says from now on what holds instead."""
        given = self.read(request, MemoryCorrection)
        with transaction.atomic():
            row = self.row()
            self.check_match(request, row)
            fact_id = changes.correct_memory(memory_id=row.pk, actor=name_of(request), text=given["text"])
        return Response(FactRow(Fact.objects.select_related("set_by").get(pk=fact_id)).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Have mem0-api forget all memories of this one's message."""
        changes.forget_memory(memory_id=uuid.UUID(pk), actor=name_of(request))
        return Response(status=204)
