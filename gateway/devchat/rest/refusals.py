"""How does a refusal read on REST, in version 8 and as announced for 9?"""

from gateway.devchat.errors import (
    BareFailureError,
    ChatError,
    ForbiddenError,
    NotLoggedInError,
    PlainError,
    UnauthorizedError,
    rest_body,
)
from gateway.devchat.rest.calls import Reply
from gateway.devchat.wire import Document

REFUSALS = (ChatError, PlainError, NotLoggedInError, UnauthorizedError, ForbiddenError, BareFailureError)
NOT_LOGGED_IN: Document = {"success": False, "error": "You must be logged in to do this."}
LACKS_PERMISSION: Document = {
    "success": False,
    "error": "User does not have the permissions required for this action [error-unauthorized]",
}


def refusal(error: Exception, *, is_nine: bool) -> Reply:
    """From 9 on a missing permission has the status of a refused token, and the old fields of that body are gone."""
    match error:
        case ChatError():
            return Reply(400, rest_body(error))
        case NotLoggedInError():
            old = {} if is_nine else {"status": "error", "message": NOT_LOGGED_IN["error"]}
            return Reply(401, NOT_LOGGED_IN | old)
        case UnauthorizedError():
            return Reply(401 if is_nine else 403, LACKS_PERMISSION)
        case ForbiddenError():
            return Reply(403, {"success": False, "error": "forbidden" if is_nine else "unauthorized"})
        case BareFailureError():
            return Reply(400, {"success": False})
        case _:
            return Reply(400, {"success": False, "error": str(error)})
