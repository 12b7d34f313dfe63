"""How are requests read? JSON only, strictly, and never another answer than JSON."""

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from rest_framework import exceptions, negotiation, parsers, renderers, serializers

MAX_BODY: Final = 256 * 1024
MAX_DEPTH: Final = 32


class TooLargeError(exceptions.APIException):
    status_code = 413
    default_detail = f"A body may have {MAX_BODY // 1024} KiB."


class AlwaysJSON(negotiation.BaseContentNegotiation):
    """Whatever a client says it accepts, there is JSON only."""

    def select_parser(self, request: Any, parser_list: Any) -> Any:
        return negotiation.DefaultContentNegotiation().select_parser(request, parser_list)

    def select_renderer(self, request: Any, renderer_list: Any, format_suffix: Any = None) -> Any:
        return renderer_list[0], renderer_list[0].media_type


class StrictJSONParser(parsers.BaseParser):
    """No duplicate keys, no NaN, no endless depth."""

    media_type = "application/json"
    renderer_class = renderers.JSONRenderer

    def parse(self, stream: Any, media_type: Any = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        content = stream.read(MAX_BODY + 1)
        if len(content) > MAX_BODY:
            raise TooLargeError
        try:
            value = json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise exceptions.ParseError(f"The body is not the JSON it should be: {error}") from None
        if _is_deep(value, MAX_DEPTH):
            raise exceptions.ParseError(f"The body is nested more than {MAX_DEPTH} levels deep.")
        return value


class Strict(serializers.Serializer[Any]):
    """Names of fields that are not here are told, not ignored."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            unknown = sorted(str(name) for name in set(data) - writable)
            if unknown:
                sentence = f"is not a field that can be set; these can: {', '.join(sorted(writable))}"
                raise serializers.ValidationError({name: [_Unknown(sentence)] for name in unknown[:20]})
        return super().to_internal_value(data)


class Flag(serializers.BooleanField):
    """true or false; nothing that looks like one of them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("must be true or false")
        return data


class Whole(serializers.IntegerField):
    """A number, not a text or a boolean that could be read as one."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            raise serializers.ValidationError("must be a whole number")
        return super().to_internal_value(data)


class Text(serializers.CharField):
    """A JSON string, not a number that could be written as one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("must be a string")
        return super().to_internal_value(data)


class Table(serializers.DictField):
    """A JSON object; whoever reads it says what may stand in it."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("must be an object")
        return data


def _Unknown(text: str) -> exceptions.ErrorDetail:  # noqa: N802 - reads as what it makes
    return exceptions.ErrorDetail(text, code="unknown_field")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _is_deep(value: Any, left: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_is_deep(one, left - 1) for one in inner)
