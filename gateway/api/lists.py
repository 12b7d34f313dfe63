"""How do lists answer? Newest first, in pages by row id, filtered by names that the view declares; the rest is refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime
from rest_framework.filters import BaseFilterBackend
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from gateway.api.errors import UnprocessableError

PAGE: Final = 50
MAX_PAGE: Final = 200
PAGE_WORDS: Final = ("page_size", "after")
MAX_WORDS: Final = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """One query parameter: `read` makes its value, or raises ValueError; `where` the condition for it."""

    where: Callable[[Any], Q]
    read: Callable[[str], Any]
    schema: dict[str, Any]
    text: str


def number(lookup: str, *, text: str = "") -> Filter:
    schema = {"type": "integer", "minimum": 1, "maximum": 2**62}
    return Filter(lambda value: Q(**{lookup: value}), _number, schema, text)


def choice(lookup: str, *, options: Sequence[str], text: str = "") -> Filter:
    schema = {"type": "string", "enum": list(options)}

    def read(value: str) -> str:
        if value not in options:
            raise ValueError(f"is one of {', '.join(options)}")
        return value

    return Filter(lambda value: Q(**{lookup: value}), read, schema, text)


def flag(lookup: str, *, text: str = "") -> Filter:
    def read(value: str) -> bool:
        if value not in ("true", "false"):
            raise ValueError("is true or false")
        return value == "true"

    return Filter(lambda value: Q(**{lookup: value}), read, {"type": "boolean"}, text)


def words(*lookups: str, text: str = "Words to find.") -> Filter:
    def where(value: str) -> Q:
        found = Q()
        for lookup in lookups:
            found |= Q(**{lookup: value})
        return found

    return Filter(where, _words, {"type": "string", "minLength": 1, "maxLength": MAX_WORDS}, text)


def moment(lookup: str, *, text: str) -> Filter:
    return Filter(lambda value: Q(**{lookup: value}), _moment, {"type": "string", "format": "date-time"}, text)


class Filters(BaseFilterBackend):
    """Reads `filters` of the view; a name it does not have is answered with 422."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        known: dict[str, Filter] = getattr(view, "filters", {})
        for name, values in request.query_params.lists():
            if name in PAGE_WORDS:
                continue
            if name not in known:
                names = ", ".join(sorted([*known, *PAGE_WORDS]))
                raise UnprocessableError(f"{name!r} filters nothing here; these do: {names}", code="unknown_filter")
            if len(values) > 1:
                raise UnprocessableError(f"{name!r} stands there twice")
            try:
                queryset = queryset.filter(known[name].where(known[name].read(values[0])))
            except (ValueError, OverflowError) as error:
                raise UnprocessableError(f"{name} {error}") from None
        return queryset

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {"name": name, "in": "query", "required": False, "description": one.text, "schema": one.schema}
            for name, one in getattr(view, "filters", {}).items()
        ]


class Pages(BasePagination):
    """`results`, and in `next` the address of the page behind it, or null."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self._request = request
        size = _in_range(request, "page_size", default=PAGE, at_most=MAX_PAGE)
        after = request.query_params.get("after")
        self._key = getattr(view, "page_key", "pk")
        if after is not None:
            queryset = queryset.filter(**{f"{self._key}__lt": view.read_after(after)})
        rows = list(queryset.order_by(f"-{self._key}")[: size + 1])
        self._next = getattr(rows[size - 1], self._key) if len(rows) > size else None
        return rows[:size]

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._address(), "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["next", "results"],
            "properties": {
                "next": {"type": "string", "nullable": True, "description": "The next page's path and query."},
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        size = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE}
        return [
            {"name": "page_size", "in": "query", "required": False, "schema": size},
            {
                "name": "after",
                "in": "query",
                "required": False,
                "description": "The last id of the page before.",
                "schema": view.after_schema,
            },
        ]

    def _address(self) -> str | None:
        if self._next is None:
            return None
        query = {name: self._request.query_params[name] for name in self._request.query_params}
        return f"{self._request.path}?{urlencode({**query, 'after': self._next})}"


def _in_range(request: Request, name: str, *, default: int, at_most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= at_most):
        raise UnprocessableError(f"{name} is a number from 1 to {at_most}")
    return int(text)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and 1 <= int(text) <= 2**62):
        raise ValueError("is a number from 1")
    return int(text)


def read_number(text: str) -> int:
    """For `after` of rows with numbers. Raises UnprocessableError."""
    try:
        return _number(text)
    except ValueError:
        raise UnprocessableError("after is the id of a row") from None


def _words(text: str) -> str:
    if not 0 < len(text) <= MAX_WORDS or "\x00" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError(f"is 1 to {MAX_WORDS} characters without NUL")
    return text


def _moment(text: str) -> datetime:
    found = parse_datetime(text.replace(" ", "+"))
    if found is None or found.tzinfo is None:
        raise ValueError("is a time with its zone, like 2026-11-22T09:00:00Z")
    return found.astimezone(UTC)
