"""Does a request body have the shape that 8.x demands? Extra keys are refused like wrong types."""

from dataclasses import dataclass, field

from gateway.devchat.errors import ChatError
from gateway.devchat.wire import Document

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
}


@dataclass(frozen=True, slots=True)
class Schema:
    """`required` and `optional` name a type per key; several types are parted by "|"."""

    required: dict[str, str] = field(default_factory=dict)
    optional: dict[str, str] = field(default_factory=dict)
    one_of: tuple[str, ...] = ()
    is_strict: bool = True

    def check(self, body: object) -> None:
        """Raises invalid-params with all complaints."""
        if not isinstance(body, dict):
            raise ChatError("invalid-params", "must be object")
        complaints = [*self._missing(body), *self._unknown(body), *self._mistyped(body)]
        if complaints:
            raise ChatError("invalid-params", "\n ".join(complaints))

    def _missing(self, body: Document) -> list[str]:
        complaints = [f"must have required property '{key}'" for key in self.required if body.get(key) is None]
        if self.one_of and sum(key in body for key in self.one_of) != 1:
            complaints += [f"must have required property '{key}'" for key in self.one_of if key not in body]
            complaints.append("must match exactly one schema in oneOf")
        return complaints

    def _unknown(self, body: Document) -> list[str]:
        known = {*self.required, *self.optional, *self.one_of}
        return ["must NOT have additional properties"] if self.is_strict and set(body) - known else []

    def _mistyped(self, body: Document) -> list[str]:
        complaints = []
        for key, names in (self.optional | self.required).items():
            value = body.get(key)
            if value is None or _fits(value, names):
                continue
            coerced = _coerced(value, names)
            if coerced is None:
                complaints.append(f"must be {names.replace('|', ',')}")
            else:
                body[key] = coerced
        return complaints


def _coerced(value: object, names: str) -> object:
    """Upstream's checker turns plain values into each other where nothing is lost; None when it cannot."""
    if names == "string" and isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if names == "boolean" and value in ("true", "false"):
        return value == "true"
    if names == "number" and isinstance(value, str) and value.isdigit():
        return int(value)
    return None


def _fits(value: object, names: str) -> bool:
    for name in names.split("|"):
        if isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool)):
            return True
    return False
