"""Who is asking? A bearer of the admin token, or a browser with a session of the site."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions, permissions
from rest_framework.request import Request

from gateway import staff
from gateway.bridge_auth import bearer_of


class TokenDoor(authentication.BaseAuthentication):
    """`Authorization: Bearer <NEXUS_ADMIN_TOKEN>`: no session, no cookie, so no CSRF either."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        token = bearer_of(header)
        if token is None:
            raise exceptions.AuthenticationFailed("The Authorization header must be `Bearer <token>`.")
        try:
            return staff.check_bearer(request=request._request, token=token), None
        except staff.LoginRefusedError as refused:
            if refused.is_limited:
                raise exceptions.Throttled(detail=str(refused)) from refused
            raise exceptions.AuthenticationFailed(str(refused)) from refused

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionDoor(authentication.SessionAuthentication):
    """The site's session; whatever changes something carries the CSRF token, and its Origin is checked."""


class StaffLooksOperatorsChange(permissions.BasePermission):
    message = "This account may look, not change; or it is no staff account."

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.method in permissions.SAFE_METHODS:
            return staff.may_look(request.user)
        return staff.may_change(request.user)


class StaffLooks(permissions.BasePermission):
    """Whatever the method: what it changes is the caller's own session only."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return staff.may_look(request.user)


class Anyone(permissions.BasePermission):
    """The login itself."""


def name_of(request: Request) -> str:
    return f"api:{staff.name_of(request.user)}"


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "gateway.api.doors.TokenDoor"
    name = "adminToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "NEXUS_ADMIN_TOKEN"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "gateway.api.doors.SessionDoor"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
