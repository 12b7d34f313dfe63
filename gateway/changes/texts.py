"""Which texts may be stored? What people type in the site or send to the API is checked here once."""

import json
import unicodedata
from typing import Any

from gateway.changes.errors import BadValueError

_KEPT = frozenset("\n\t")
MAX_JSON = 20_000
MAX_DEPTH = 16


def checked(text: str, *, field: str, at_most: int, is_line: bool = False) -> str:
    """The text with plain line ends, cut of blanks around it. Raises BadValueError for controls and excess."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if len(plain) > at_most:
        raise BadValueError(f"{field} has {len(plain)} characters; {at_most} are the most", field=field)
    for sign in plain:
        if unicodedata.category(sign) in ("Cc", "Cs") and (is_line or sign not in _KEPT):
            raise BadValueError(f"{field} contains the control character U+{ord(sign):04X}; remove it", field=field)
    return plain


def checked_json(value: Any, *, field: str) -> Any:
    """A JSON value that the database can hold. Raises BadValueError."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError):
        raise BadValueError(f"{field} is not a JSON value that can be stored", field=field) from None
    if "\\u0000" in text or len(text) > MAX_JSON or _depth(value) > MAX_DEPTH:
        raise BadValueError(
            f"{field} must be JSON of at most {MAX_JSON} characters, {MAX_DEPTH} levels and without NUL", field=field
        )
    return value


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(one) for one in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(one) for one in value), default=0)
    return 0
