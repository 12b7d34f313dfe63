"""The one form of every error below /api/v1/: {"error": {code, message, hint, request_id}}."""

import logging
import secrets
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions, serializers, status
from rest_framework.response import Response

from gateway import changes, mcp
from gateway.bridges import errors as bridge_errors

logger = logging.getLogger(__name__)

CODES: Final = {
    400: "bad_request",
    401: "not_logged_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "changed_meanwhile",
    413: "too_large",
    415: "bad_content_type",
    422: "bad_value",
    424: "no_good_answer",
    429: "rate_limited",
}
HINTS: Final = {
    401: "Send `Authorization: Bearer <NEXUS_ADMIN_TOKEN>`, or log in at /api/v1/login.",
    403: "Staff may look; operators may change. Browsers send X-CSRFToken with what changes something.",
    404: "The document at /api/v1/openapi.json names every path.",
    412: "Read it again, and send the new ETag as If-Match.",
    415: "Send application/json.",
    429: "Wait a minute.",
}


class Problem(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="For programs: what kind of trouble it is.")
    message = serializers.CharField(help_text="What is wrong.")
    hint = serializers.CharField(help_text="What to do about it; may be empty.")
    request_id = serializers.CharField(help_text="Stands in the host's log beside the details.")


class Error(serializers.Serializer[Any]):
    error = Problem()


class UnprocessableError(exceptions.APIException):
    """The request is JSON, and says what can't be."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY

    def __init__(self, message: str, *, code: str = "bad_value") -> None:
        super().__init__(message, code)


class ConflictError(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT


class ChangedMeanwhileError(exceptions.APIException):
    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_detail = "It was changed since you read it."


class ChatTroubleError(exceptions.APIException):
    """The chat did not do it. No 5xx: this server is well, and says what went wrong."""

    status_code = status.HTTP_424_FAILED_DEPENDENCY
    default_code = "chat_trouble"


class UpstreamTroubleError(exceptions.APIException):
    """An MCP server did not do it."""

    status_code = status.HTTP_424_FAILED_DEPENDENCY
    default_code = "mcp_server_trouble"


def answer(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook: what a view raised, as a response. None lets Django answer, and log, a 500."""
    error = _known(error)
    if not isinstance(error, exceptions.APIException):
        return None
    code, message = _words(error)
    response = Response(body(status=error.status_code, code=code, message=message), status=error.status_code)
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        response["WWW-Authenticate"] = "Bearer"
    if isinstance(error, exceptions.Throttled):
        response["Retry-After"] = "60"
    if isinstance(error, exceptions.MethodNotAllowed):
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response


def body(*, status: int, code: str = "", message: str = "") -> dict[str, Any]:
    request_id = secrets.token_hex(8)
    logger.info("api refusal", extra={"request": request_id, "status": status, "code": code})
    return {
        "error": {
            "code": code or CODES.get(status, "error"),
            "message": message,
            "hint": HINTS.get(status, ""),
            "request_id": request_id,
        }
    }


def no_such_path(_request: HttpRequest) -> JsonResponse:
    return JsonResponse(body(status=404, message="There is nothing at this path."), status=404)


def _known(error: Exception) -> Exception:
    """Errors of our own and of Django as those of DRF."""
    match error:
        case mcp.McpError():
            return _of_tools(error)
        case Http404() | changes.GoneError() | bridge_errors.NoSuchBridgeError():
            return exceptions.NotFound(str(error) if not isinstance(error, Http404) else None)
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case changes.ConflictError() | bridge_errors.TakenError():
            return ConflictError(str(error))
        case changes.ChangeError():
            return UnprocessableError(str(error))
        case bridge_errors.ChatTroubleError():
            return ChatTroubleError(str(error))
        case bridge_errors.BridgeError():
            return UnprocessableError(str(error))
        case exceptions.ValidationError():
            return UnprocessableError(_flat(error.detail), code=_first_code(error))
        case _:
            return error


def _of_tools(error: mcp.McpError) -> exceptions.APIException:
    match error:
        case mcp.NoSuchServerError() | mcp.NoSuchSecretError():
            return exceptions.NotFound(str(error))
        case mcp.ServerConflictError():
            return ConflictError(str(error))
        case mcp.BadDefinitionError() | mcp.BadSecretError():
            return UnprocessableError(str(error))
        case _:
            # The server itself, or the host's file of secrets.
            return UpstreamTroubleError(str(error))


def _words(error: exceptions.APIException) -> tuple[str, str]:
    code = error.get_codes()
    own = (
        code if isinstance(code, str) and code not in ("error", "invalid", "parse_error", "not_authenticated") else ""
    )
    known = CODES.get(error.status_code, "error")
    return (own if error.status_code in (422, 424) and own else known), _flat(error.detail)


def _first_code(error: exceptions.ValidationError) -> str:
    codes = error.get_codes()
    if isinstance(codes, dict) and "unknown_field" in str(codes):
        return "unknown_field"
    return "bad_value"


def _flat(detail: Any, *, name: str = "") -> str:
    """DRF's tree of complaints as one line."""
    if isinstance(detail, dict):
        return "; ".join(_flat(one, name="" if key == "non_field_errors" else str(key)) for key, one in detail.items())
    if isinstance(detail, list):
        return " ".join(_flat(one, name=name) for one in detail)
    return f"{name}: {detail}" if name else str(detail)
