"""Bridges: made with their agent, listed, given another token, revoked, joined by link."""

from typing import Any, ClassVar, Final, get_args

from django.conf import settings
from django.db import transaction
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Now
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from gateway import bridges, changes
from gateway.api.base import IF_MATCH, Listed
from gateway.api.doors import name_of
from gateway.api.errors import ConflictError, UnprocessableError
from gateway.api.lists import Filter, number, words
from gateway.api.reading import Flag, Strict, Text, Whole
from gateway.models import LIVE, Bridge, CliKind, Invocation, WhoMayAsk
from nexus_bridge.protocol import Verdict

MAX_OVERLAP_S: Final = 7 * 86_400
_ONLINE: Final = Q(lease_until__gt=Now(), revoked_at=None)
_IS: Final = {"online": _ONLINE, "asleep": ~_ONLINE & Q(revoked_at=None), "revoked": Q(revoked_at__isnull=False)}
_RULES: Final = {
    "type": "object",
    "properties": {"rules": {"type": "integer"}, "tools": {"type": "array", "items": {"type": "string"}}},
}
_POLICY: Final = {
    "type": "object",
    "properties": {
        "default": {"type": "string", "enum": list(get_args(Verdict))},
        **dict.fromkeys(get_args(Verdict), _RULES),
        "callers": {"type": "integer"},
        "rooms": {"type": "integer"},
    },
}
_POLICIES: Final = (
    "By agent, how strict its owner's own rules are, as the bridge told: counts and tools, not the rules."
)


class BridgeRow(serializers.ModelSerializer[Bridge]):
    owner: Any = serializers.SlugRelatedField(slug_field="username", read_only=True, allow_null=True)
    agents: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True, many=True)
    is_online = serializers.SerializerMethodField()
    offers = serializers.SerializerMethodField()
    policies = serializers.SerializerMethodField()
    load = serializers.SerializerMethodField()

    class Meta:
        model = Bridge
        fields = (
            *("id", "name", "owner", "agents", "is_online", "client_version", "last_seen_at"),
            *("offers", "policies", "load"),
            *("token_version", "token_made_at", "old_token_until", "revoked_at", "created_at"),
        )

    def get_is_online(self, bridge: Bridge) -> bool:
        return bool(getattr(bridge, "is_live", False))

    @extend_schema_field({"type": "object", "description": "Of its last heartbeat; empty while it is not there."})
    def get_load(self, bridge: Bridge) -> dict[str, Any]:
        return bridge.load if self.get_is_online(bridge) and isinstance(bridge.load, dict) else {}

    @extend_schema_field({"type": "array", "items": {"type": "object"}, "description": "Agents of its last hello."})
    def get_offers(self, bridge: Bridge) -> list[Any]:
        return [one for one in bridge.offers if isinstance(one, dict)] if isinstance(bridge.offers, list) else []

    @extend_schema_field({"type": "object", "additionalProperties": _POLICY, "description": _POLICIES})
    def get_policies(self, bridge: Bridge) -> dict[str, Any]:
        return bridge.policies if isinstance(bridge.policies, dict) else {}


class NewBridge(Strict):
    user = Text(max_length=200, help_text="The owner's name in the chat.")
    cli = serializers.ChoiceField(choices=CliKind.choices)
    role = Text(max_length=30, required=False, default="")
    rooms = serializers.ListField(child=Text(max_length=200), max_length=50, required=False, default=list)
    who_may_ask = serializers.ChoiceField(choices=WhoMayAsk.choices, required=False, default=WhoMayAsk.OWNER.value)
    parallel = Whole(min_value=1, max_value=32, required=False, default=1)


class MadeBridge(serializers.Serializer[Any]):
    bridge = serializers.IntegerField()
    agent = serializers.IntegerField()
    slug = serializers.CharField()
    token = serializers.CharField(help_text="The bridge token, here and never again; empty when it was there already.")
    config = serializers.CharField(help_text="bridge.toml; empty when there is no token to put into it.")


class Name(Strict):
    name = Text(max_length=100)


class Overlap(Strict):
    overlap_s = Whole(
        min_value=0,
        max_value=MAX_OVERLAP_S,
        required=False,
        default=3_600,
        help_text="How long the old token lives on.",
    )


class Force(Strict):
    force = Flag(required=False, default=False, help_text="Also while runs are under way; they are cut off.")


class NewToken(serializers.Serializer[Any]):
    token = serializers.CharField()
    config = serializers.CharField()


class Config(serializers.Serializer[Any]):
    config = serializers.CharField(help_text="bridge.toml, with a place for the token.")


class Hours(Strict):
    hours = Whole(min_value=1, max_value=168, required=False, default=24)


class JoinLink(serializers.Serializer[Any]):
    url = serializers.CharField(help_text="Good once; told once.")
    expires_at = serializers.DateTimeField()


def _is_read(value: str) -> str:
    if value not in _IS:
        raise ValueError(f"is one of {', '.join(_IS)}")
    return value


class Bridges(Listed):
    queryset = Bridge.objects.all()
    serializer_class = BridgeRow
    volatile = frozenset({"is_online", "last_seen_at", "offers", "policies", "load", "client_version"})
    filters: ClassVar[dict[str, Filter]] = {
        "owner": words("owner__username", text="The owner's username."),
        "agent": words("agents__slug", text="The slug of an agent behind it."),
        "name": words("name"),
        "is": Filter(lambda value: _IS[value], _is_read, {"type": "string", "enum": list(_IS)}, "What it is now."),
        "token_version": number("token_version"),
    }
    also_answers: ClassVar[dict[str, tuple[int, ...]]] = {"create": (424,), "destroy": (412,)}

    def get_queryset(self) -> Any:
        live = Case(When(_ONLINE, then=Value(True)), default=Value(False))
        return super().get_queryset().select_related("owner").prefetch_related("agents").annotate(is_live=live)

    @extend_schema(request=NewBridge, responses={200: MadeBridge, 201: MadeBridge})
    def create(self, request: Request) -> Response:
        """Make an agent with its bot account behind a new bridge; 200 when it was there and only rooms were added."""
        given = self.read(request, NewBridge)
        made = bridges.create(**given, actor=name_of(request))
        config = self._config(made.bridge_id, token=made.token) if made.token else ""
        told = {
            "bridge": made.bridge_id,
            "agent": made.agent_id,
            "slug": made.slug,
            "token": made.token,
            "config": config,
        }
        return Response(told, status=201 if made.is_new else 200)

    @extend_schema(request=Name, parameters=[IF_MATCH])
    def partial_update(self, request: Request, pk: str) -> Response:
        """Another name; its agents keep theirs."""
        given = self.read(request, Name)
        with transaction.atomic():
            self.check_match(request, self.row())
            changes.rename_bridge(bridge_id=int(pk), actor=name_of(request), name=given["name"])
        return self.shown(self.row())

    @extend_schema(
        responses={204: None},
        parameters=[IF_MATCH, OpenApiParameter("force", OpenApiTypes.BOOL, required=False)],
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Revoke it. The row stays, for what its agents said stays."""
        force = request.query_params.get("force", "false")
        if force not in ("true", "false"):
            raise UnprocessableError("force is true or false")
        with transaction.atomic():
            self.check_match(request, self.row())
            self._revoke(request, pk, force=force == "true")
        return Response(status=204)

    @extend_schema(request=Force, responses=BridgeRow)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """End it for good; its sockets close within seconds."""
        self._revoke(request, pk, force=self.read(request, Force)["force"])
        return self.shown(self.row())

    @extend_schema(request=Overlap, responses=NewToken)
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        """Another token; the old one goes on for `overlap_s`."""
        given = self.read(request, Overlap)
        self.row()
        token = bridges.rotate(bridge_id=int(pk), actor=name_of(request), overlap_s=float(given["overlap_s"]))
        return Response({"token": token, "config": self._config(int(pk), token=token)})

    @extend_schema(request=Hours, responses={201: JoinLink})
    @action(detail=True, methods=["post"], url_path="join-link")
    def join_link(self, request: Request, pk: str) -> Response:
        """A one-shot link for `nexus-bridge join`; links made before and not used are void."""
        given = self.read(request, Hours)
        self.row()
        issued = bridges.issue_join(bridge_id=int(pk), actor=name_of(request), valid_s=given["hours"] * 3_600.0)
        return Response({"url": issued.url, "expires_at": issued.expires_at}, status=201)

    @extend_schema(responses=Config)
    @action(detail=True, methods=["get"])
    def config(self, _request: Request, pk: str) -> Response:
        """bridge.toml; only a digest of the token is here, so its place is empty."""
        self.row()
        return Response({"config": self._config(int(pk), token="PUT THE BRIDGE TOKEN HERE")})

    def _revoke(self, request: Request, pk: str, *, force: bool) -> None:
        bridge = self.row()
        live = Invocation.objects.filter(agent__bridge=bridge, state__in=LIVE).count()
        if live and not force:
            raise ConflictError(f"{live} of its runs are under way; force=true cuts them off")
        bridges.revoke(bridge_id=int(pk), actor=name_of(request))

    def _config(self, pk: int, *, token: str) -> str:
        return bridges.config_of(bridge_id=pk, hub=settings.NEXUS_PUBLIC_URL, token=token)
