"""How do documents look on the wire: ids, times and JSON in REST form and in DDP form?"""

import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any

import orjson

# JSON documents as clients send and read them; their keys are Rocket.Chat's, so no narrower type holds.
Document = dict[str, Any]

# Meteor's alphabet: no sign that can be taken for another one.
ID_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz"
ID_LENGTH = 17
# One sign per random byte: cheap, and an id needs no even distribution.
_ID_SIGNS = "".join(ID_ALPHABET[value % len(ID_ALPHABET)] for value in range(256)).encode()


class Moment(int):
    """Milliseconds since 1970 in a document: an ISO string on REST, {"$date": n} on DDP."""

    __slots__ = ()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def random_id(length: int = ID_LENGTH) -> str:
    return secrets.token_bytes(length).translate(_ID_SIGNS).decode()


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def moment_from(value: object) -> int | None:
    """Reads the forms clients use for a time: EJSON, ISO text, epoch milliseconds."""
    if isinstance(value, dict):
        value = value.get("$date")
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return int(value)
    try:
        parsed = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def to_ddp(value: object) -> str:
    return orjson.dumps(value, default=_ejson, option=orjson.OPT_PASSTHROUGH_SUBCLASS).decode()


def to_rest(value: object) -> bytes:
    return orjson.dumps(value, default=_iso_default, option=orjson.OPT_PASSTHROUGH_SUBCLASS)


def from_json(text: str | bytes) -> Any:
    """Parses one JSON text; EJSON dates become moments. Raises ValueError."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = _loads_like_javascript(text)
    has_dates = b'"$date"' in text if isinstance(text, bytes) else '"$date"' in text
    return revive(value) if has_dates else value


def revive(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(value.get("$date"), int | float):
            return Moment(value["$date"])
        return {key: revive(item) for key, item in value.items()}
    if isinstance(value, list):
        return [revive(item) for item in value]
    return value


def utf16_length(text: str) -> int:
    """The length JavaScript sees, by which Rocket.Chat limits messages."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _loads_like_javascript(text: str | bytes) -> Any:
    # JavaScript accepts lone surrogates where orjson refuses; the database then stores U+FFFD for them.
    try:
        parsed = json.loads(text, parse_constant=_no_constant, parse_int=_javascript_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return json.loads(json.dumps(parsed, ensure_ascii=False).encode("utf-8", "replace"))


def _javascript_number(digits: str) -> int | float:
    # JavaScript has no larger whole numbers, and the encoder refuses them.
    return int(digits) if len(digits) < 16 else float(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _ejson(value: object) -> object:
    if isinstance(value, Moment):
        return {"$date": int(value)}
    raise TypeError(type(value).__name__)


def _iso_default(value: object) -> object:
    if isinstance(value, Moment):
        return iso(value)
    raise TypeError(type(value).__name__)
