"""Logging in and out, and who one is."""

from typing import Any

from django.contrib.auth import login, logout
from django.middleware.csrf import get_token
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gateway import staff
from gateway.api import doors
from gateway.api.reading import Strict, Text


class Credentials(Strict):
    token = Text(required=False, max_length=500, trim_whitespace=False, help_text="NEXUS_ADMIN_TOKEN")
    username = Text(required=False, max_length=150)
    password = Text(required=False, max_length=500, trim_whitespace=False)


class Me(serializers.Serializer[Any]):
    username = serializers.CharField()
    may_change = serializers.BooleanField()
    csrf_token = serializers.CharField(help_text="For the header X-CSRFToken of what changes something.")


class Login(APIView):
    # JSON only, which no other origin can send without a preflight that nobody answers; so no CSRF token yet.
    authentication_classes = ()
    permission_classes = (doors.Anyone,)

    def get_authenticate_header(self, request: Request) -> str:
        """Without one, DRF would answer a wrong password with 403."""
        return "Bearer"

    @extend_schema(operation_id="login", request=Credentials, responses=Me, tags=["session"])
    def post(self, request: Request) -> Response:
        """Log in by `token`, or by `username` and `password`; a session cookie comes back."""
        form = Credentials(data=request.data)
        form.is_valid(raise_exception=True)
        given = form.validated_data
        username = "" if "token" in given else given.get("username", "")
        secret = given.get("token") or given.get("password", "")
        try:
            user = staff.log_in(request=request._request, username=username, secret=secret)
        except staff.LoginRefusedError as refused:
            if refused.is_limited:
                raise exceptions.Throttled(detail=str(refused)) from refused
            raise exceptions.AuthenticationFailed(str(refused)) from refused
        login(request._request, user)  # type: ignore[arg-type]
        staff.mark_fresh(request._request.session)
        return Response(_me(request, user))


class Logout(APIView):
    permission_classes = (doors.StaffLooks,)

    @extend_schema(operation_id="logout", request=None, responses={204: None}, tags=["session"])
    def post(self, request: Request) -> Response:
        """End the session of this cookie."""
        logout(request._request)
        return Response(status=204)


class Who(APIView):
    @extend_schema(operation_id="me", responses=Me, tags=["session"])
    def get(self, request: Request) -> Response:
        """Who is logged in."""
        return Response(_me(request, request.user))


def _me(request: Request, user: Any) -> dict[str, Any]:
    return {
        "username": staff.name_of(user),
        "may_change": staff.may_change(user),
        "csrf_token": get_token(request._request),
    }
