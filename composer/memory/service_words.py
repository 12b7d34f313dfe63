"""What may callers of mem0-api send? Bodies, limits, and the answer to what is wrong. Pure."""

from collections.abc import Mapping
from typing import TypeVar
from uuid import UUID

import msgspec

from composer.memory.store import NewMemory

MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_MEMORIES = 100
MAX_TEXT_CHARS = 20_000
MAX_SCOPES = 8
MAX_LIMIT = 200
MAX_STEP = 100

T = TypeVar("T")


class AddRequest(msgspec.Struct, forbid_unknown_fields=True):
    memories: list[NewMemory]


class SearchRequest(msgspec.Struct, forbid_unknown_fields=True):
    query: str
    scope: str | list[str]
    limit: int = 20

    @property
    def scopes(self) -> list[str]:
        return [self.scope] if isinstance(self.scope, str) else self.scope


class StepRequest(msgspec.Struct, forbid_unknown_fields=True):
    """For /learn and /reembed: how many memories at most."""

    limit: int = 20


class RefusedError(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, *, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": code, "message": message, "hint": hint}}


def decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise bad(str(error)) from error


def checked_add(request: AddRequest) -> AddRequest:
    if not 0 < len(request.memories) <= MAX_MEMORIES:
        raise bad(f"`memories` must hold 1 to {MAX_MEMORIES} entries")
    for memory in request.memories:
        _check_scope(memory.scope)
        if not memory.text.strip() or len(memory.text) > MAX_TEXT_CHARS or "\x00" in memory.text:
            raise bad(f"the text of message {memory.msg} is empty, holds NUL or is longer than {MAX_TEXT_CHARS}")
    return request


def checked_search(request: SearchRequest) -> SearchRequest:
    if not 0 < len(request.scopes) <= MAX_SCOPES:
        raise bad(f"`scope` must be one scope or 1 to {MAX_SCOPES} of them")
    for scope in request.scopes:
        _check_scope(scope)
    if not request.query.strip() or len(request.query) > MAX_TEXT_CHARS or "\x00" in request.query:
        raise bad(f"`query` is empty, holds NUL or is longer than {MAX_TEXT_CHARS}")
    if not 0 < request.limit <= MAX_LIMIT:
        raise bad(f"`limit` must be from 1 to {MAX_LIMIT}")
    return request


def checked_step(request: StepRequest) -> StepRequest:
    if not 0 < request.limit <= MAX_STEP:
        raise bad(f"`limit` must be from 1 to {MAX_STEP}")
    return request


def _check_scope(scope: str) -> None:
    """Mem0 takes ids without blanks; `*` would mean every scope to it."""
    if not scope or len(scope) > 200 or scope == "*" or any(sign.isspace() or sign == "\x00" for sign in scope):
        raise bad("a scope is a word such as room:GENERAL")


def number(values: Mapping[str, list[str]], name: str, *, at_most: int) -> int:
    """A number of the query string, given once."""
    found = values.get(name, [])
    if len(found) != 1 or not found[0].isascii() or not found[0].isdigit() or len(found[0]) > 18:
        raise bad(f"say which: ?{name}=<a number>")
    if int(found[0]) > at_most:
        raise bad(f"`{name}` is at most {at_most}")
    return int(found[0])


def scope_of(values: Mapping[str, list[str]]) -> str:
    found = values.get("scope", [])
    if len(found) != 1:
        raise bad("say whose memory: ?scope=room:<id>")
    _check_scope(found[0])
    return found[0]


def memory_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise bad("a memory is named by its id, a UUID") from None


def bad(message: str) -> RefusedError:
    return RefusedError(status=422, code="bad_request", message=message, hint="docs/memory.md has the fields.")
