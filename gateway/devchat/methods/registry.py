"""How does a function become a DDP method, and who calls it?"""

from collections.abc import Callable

from gateway.devchat.ddp import Method, Session
from gateway.devchat.errors import ChatError
from gateway.devchat.models import User

METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    def register(function: Method) -> Method:
        METHODS[name] = function
        return function

    return register


def me(session: Session) -> User:
    if session.user is None:
        raise ChatError("error-invalid-user", "Invalid user")
    return session.user
