"""What is one REST call, and which handlers are there for it?"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.devchat.accounts import SecondFactor, pass_two_factor
from gateway.devchat.errors import NotLoggedInError, PlainError, UnauthorizedError
from gateway.devchat.models import Token, User
from gateway.devchat.rest.schema import Schema
from gateway.devchat.store import Store
from gateway.devchat.wire import Document

if TYPE_CHECKING:
    from starlette.datastructures import FormData

    from gateway.devchat.workspace import Workspace

DEFAULT_COUNT, MAX_COUNT = 50, 100


@dataclass(slots=True)
class Call:
    workspace: "Workspace"
    method: str
    route: str
    parts: list[str]
    query: dict[str, str]
    body: Any
    headers: dict[str, str]
    caller: User | None = None
    token: Token | None = None
    form: "FormData | None" = None

    @property
    def store(self) -> Store:
        return self.workspace.store

    @property
    def user(self) -> User:
        if self.caller is None:
            raise NotLoggedInError
        return self.caller

    @property
    def second_factor(self) -> SecondFactor:
        return SecondFactor(self.headers.get("x-2fa-method", ""), self.headers.get("x-2fa-code", ""))

    def require(self, permission: str) -> None:
        if not self.store.may(self.user, permission):
            raise UnauthorizedError

    def pass_two_factor(self) -> None:
        pass_two_factor(self.store, user=self.user, token=self.token, factor=self.second_factor)

    def text(self, name: str) -> str:
        """A parameter of the query, or of the body; empty when absent."""
        value = self.query.get(name)
        if value is None and isinstance(self.body, dict):
            value = self.body.get(name)
        return "" if value is None else str(value)

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.text(name)
        return value.lower() == "true" if value else default

    def page(self, key: str, items: list[Any]) -> Document:
        """One page of a list with Rocket.Chat's counters; a large `count` is silently clamped."""
        count, offset = self.count(), self.number("offset", 0)
        shown = items[offset : offset + count if count else None]
        return {key: shown, "count": len(shown), "offset": offset, "total": len(items)}

    def count(self, default: int = DEFAULT_COUNT) -> int:
        return min(self.number("count", default), MAX_COUNT)

    def number(self, name: str, default: int) -> int:
        value = self.text(name)
        if not value:
            return default
        if not value.isdigit():
            raise PlainError(f"The `{name}` parameter must be a number")
        return int(value)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is not the usual 200 with `success`."""

    status: int
    body: Document


Handler = Callable[[Call], Document | Reply]


@dataclass(frozen=True, slots=True)
class Route:
    handler: Handler
    needs_login: bool = True
    permission: str = ""
    schema: Schema | None = None
    is_limited: bool = True
    takes_form: bool = False


ROUTES: dict[tuple[str, str], Route] = {}


@dataclass(frozen=True, slots=True)
class Options:
    needs_login: bool = True
    permission: str = ""
    schema: Schema | None = None
    is_limited: bool = True
    takes_form: bool = False
    aliases: tuple[str, ...] = field(default=())


DEFAULT = Options()


def get(name: str, options: Options = DEFAULT) -> Callable[[Handler], Handler]:
    return _register("GET", name, options)


def post(name: str, options: Options = DEFAULT) -> Callable[[Handler], Handler]:
    return _register("POST", name, options)


def _register(method: str, name: str, options: Options) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for each in (name, *options.aliases):
            ROUTES[(method, each)] = Route(
                handler,
                options.needs_login,
                options.permission,
                options.schema,
                options.is_limited,
                options.takes_form,
            )
        return handler

    return register
