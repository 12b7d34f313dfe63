"""Which refusals does Rocket.Chat know, and how do they read on REST and on DDP?"""

from gateway.devchat.wire import Document


class ChatError(Exception):
    """A Meteor.Error: a code, a sentence, details. REST answers 400 with it, DDP an error object."""

    def __init__(self, code: str, reason: str = "", details: Document | None = None) -> None:
        super().__init__(f"{reason} [{code}]" if reason else f"[{code}]")
        self.code = code
        self.reason = reason
        self.details = details


class PlainError(Exception):
    """An ordinary exception of the server: REST shows its bare text, DDP only an internal error."""


class UnauthorizedError(Exception):
    """The caller lacks a permission that the endpoint declares (403; 401 from version 9 on)."""


class ForbiddenError(Exception):
    """The caller may do this, but not here (403)."""


class NotLoggedInError(Exception):
    """No token, or one that is not known (401)."""


class BareFailureError(Exception):
    """A 400 that says nothing at all."""


def rest_body(error: ChatError) -> Document:
    body: Document = {"success": False, "error": str(error), "errorType": error.code}
    if error.details is not None:
        body["details"] = error.details
    return body


def ddp_error(error: ChatError) -> Document:
    code: str | int = int(error.code) if error.code.isdigit() else error.code
    body: Document = {
        "isClientSafe": True,
        "error": code,
        "reason": error.reason,
        "message": str(error),
        "errorType": "Meteor.Error",
    }
    if error.details is not None:
        body["details"] = error.details
    return body


INTERNAL_ERROR: Document = {
    "isClientSafe": True,
    "error": 500,
    "reason": "Internal server error",
    "message": "Internal server error [500]",
    "errorType": "Meteor.Error",
}


def not_allowed(method: str, reason: str = "Not allowed") -> ChatError:
    return ChatError("error-not-allowed", reason, {"method": method})


def action_not_allowed(action: str, reason: str) -> ChatError:
    return ChatError("error-action-not-allowed", reason, {"method": action, "action": action})


def totp_required(method: str, user_name: str) -> ChatError:
    details = {
        "method": method,
        "emailOrUsername": user_name,
        "availableMethods": [] if method == "password" else [method],
    }
    return ChatError("totp-required", "TOTP Required", details)
