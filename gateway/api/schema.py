"""What the OpenAPI document says of every operation beyond its view: the errors it may answer."""

from typing import Any, Final, Literal

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse

from gateway.api import doors
from gateway.api.errors import Error

_BODY: Final = ("POST", "PUT", "PATCH")
_WORDS: Final = {
    400: "The request can't be read.",
    401: "Nobody is logged in.",
    403: "This account may not, or the CSRF token is missing.",
    404: "There is no such thing.",
    405: "Not with this method.",
    409: "Another row, or the state of this one, stands in the way.",
    412: "It was changed since it was read: If-Match names an older ETag.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The request says what can't be.",
    424: "The chat, or the MCP server, did not do what it was asked to.",
    429: "Too many failed logins from this address, or for this account.",
}


class Operation(AutoSchema):
    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> Any:
        found = super()._get_response_bodies(direction)
        for status in self._errors():
            if str(status) not in found:
                response = OpenApiResponse(Error, description=_WORDS[status])
                found[str(status)] = self._get_response_for_code(response, str(status))  # type: ignore[no-untyped-call]
        return found

    def _errors(self) -> list[int]:
        is_open = doors.Anyone in self.view.permission_classes
        found = [400, 401, 422, 429] if is_open else [400, 401, 403, 404, 422, 429]
        if self.method in _BODY:
            found += [409, 413, 415]
        if self.method in ("PATCH", "PUT", "DELETE"):
            found += [409, 412]
        extra = getattr(self.view, "also_answers", {}).get(getattr(self.view, "action", None) or "", ())
        return sorted({*found, *extra})
