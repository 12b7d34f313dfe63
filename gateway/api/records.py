"""The audit log and its chain, the figures of the dashboard, and whether each part works."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gateway import audit, parts, stats
from gateway.api.base import Listed
from gateway.api.knowledge import AnyJSON
from gateway.api.lists import Filter, moment, words
from gateway.api.people import Times
from gateway.models import AuditEntry


class EntryRow(serializers.ModelSerializer[AuditEntry]):
    detail = AnyJSON()

    class Meta:
        model = AuditEntry
        fields = ("id", "actor", "action", "target", "detail", "at")


class Entries(Listed):
    queryset = AuditEntry.objects.all()
    serializer_class = EntryRow
    filters: ClassVar[dict[str, Filter]] = {
        "action": words("action", text="The whole action."),
        "actor": words("actor", text="The whole actor."),
        "target": words("target", text="The whole target."),
        "since": moment("at__gte", text="At or after this."),
    }


class Broken(serializers.Serializer[Any]):
    seal_id = serializers.IntegerField()
    first_id = serializers.IntegerField()
    last_id = serializers.IntegerField()


class Verdict(serializers.Serializer[Any]):
    holds = serializers.BooleanField()
    broken = Broken(allow_null=True, help_text="The first seal whose entries are not what it says.")


class Verify(APIView):
    @extend_schema(operation_id="audit_verify", responses=Verdict, tags=["audit"])
    def get(self, _request: Request) -> Response:
        """Walk the hash chain over the audit log."""
        broken = audit.verify()
        told = (
            None
            if broken is None
            else {"seal_id": broken.seal_id, "first_id": broken.first_id, "last_id": broken.last_id}
        )
        return Response({"holds": broken is None, "broken": told})


class Part(serializers.Serializer[Any]):
    name = serializers.CharField()
    is_ok = serializers.BooleanField()
    detail = serializers.CharField()


class HealthAnswer(serializers.Serializer[Any]):
    is_ok = serializers.BooleanField()
    parts = Part(many=True)


class Health(APIView):
    @extend_schema(operation_id="health", responses=HealthAnswer, tags=["health"])
    def get(self, _request: Request) -> Response:
        """Each part of the host, and whether it works right now."""
        found = parts.look()
        return Response({"is_ok": all(part["is_ok"] for part in found), "parts": found})


class TimesOf(serializers.Serializer[Any]):
    counted = serializers.IntegerField()
    first_text = Times()
    end = Times()


class Reason(serializers.Serializer[Any]):
    reason = serializers.CharField()
    count = serializers.IntegerField()


class Waiting(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    agent = serializers.CharField()
    state = serializers.CharField()
    waited_s = serializers.FloatField()


class Day(serializers.Serializer[Any]):
    day = serializers.DateField()
    invocations = serializers.IntegerField()
    token_count = serializers.IntegerField()
    cost_usd = serializers.FloatField()


class Spent(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    invocations = serializers.IntegerField()
    token_count = serializers.IntegerField()
    cost_usd = serializers.FloatField()


class Figures(serializers.Serializer[Any]):
    agents = serializers.DictField(child=serializers.IntegerField())
    invocations = serializers.DictField(child=serializers.IntegerField())
    times = TimesOf()
    errors = Reason(many=True)  # type: ignore[assignment]
    oldest_waiting = Waiting(allow_null=True)
    days = Day(many=True)
    by_agent = Spent(many=True)
    by_room = Spent(many=True)


class Stats(APIView):
    @extend_schema(operation_id="stats", responses=Figures, tags=["stats"])
    def get(self, _request: Request) -> Response:
        """The dashboard's figures; times are seconds."""
        return Response(stats.overview())
