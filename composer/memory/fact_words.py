"""What does somebody want to be remembered, about what, and until when? Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

MAX_KEY_CHARS: Final = 60
MAX_VALUE_CHARS: Final = 1_000

_ABOUT: Final = re.compile(
    r"(?P<word>me|myself|project|team|here|room)\b[ \t]*[:,]?[ \t]*(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
_ABOUTS: Final = {"me": "me", "myself": "me", "project": "project", "team": "team", "here": "room", "room": "room"}
_FOR: Final = re.compile(
    r"for[ \t]+(?P<count>\d{1,4})[ \t]*(?P<unit>minute|hour|day|week|month|year)s?\b[ \t]*[:,]?[ \t]*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_UNTIL: Final = re.compile(
    r"until[ \t]+(?P<day>\d{4}-\d\d-\d\d)(?:[T ](?P<time>\d\d:\d\d))?[ \t]*[:,]?[ \t]*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_UNITS: Final = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
}
# A link or a time has a colon too, but no blank behind it.
_KEYED: Final = re.compile(r"(?P<key>[^\s:=][^\n:=]{0,59}?)[ \t]*(?::|=)[ \t]+(?P<value>\S.*)", re.DOTALL)


class NotUnderstoodError(ValueError):
    """The text tells its writer what is wrong."""


@dataclass(frozen=True, slots=True)
class Wish:
    """`about`: room, me, project or team, by the first word alone. Without a key it is a note."""

    about: str
    key: str
    value: str
    expires_at: datetime | None


def read(text: str, *, now: datetime) -> Wish:
    """Read what follows `!remember`. Raises NotUnderstoodError."""
    about, text = _about(text.strip())
    expires_at, text = _expiry(text, now=now)
    # "!remember until … me …" reads as well as the other order.
    if not about:
        about, text = _about(text)
    if not text:
        raise NotUnderstoodError(
            "Say what I shall remember: `!remember deploy day: Friday`, `!remember me …`, `!remember project …`."
        )
    if expires_at is not None and expires_at <= now:
        raise NotUnderstoodError("That time has passed already; nothing is remembered.")
    keyed = _KEYED.fullmatch(text)
    key, value = (" ".join(keyed["key"].split()), keyed["value"].strip()) if keyed else ("", text)
    if len(value) > MAX_VALUE_CHARS:
        raise NotUnderstoodError(
            f"That is {len(value)} characters; a fact has at most {MAX_VALUE_CHARS}. `!pin` keeps a long message."
        )
    return Wish(about=about or "room", key=key.casefold(), value=value.replace("\x00", ""), expires_at=expires_at)


def _about(text: str) -> tuple[str, str]:
    found = _ABOUT.fullmatch(text)
    if found is None:
        return "", text
    return _ABOUTS[found["word"].lower()], found["rest"].strip()


def _expiry(text: str, *, now: datetime) -> tuple[datetime | None, str]:
    found = _FOR.fullmatch(text)
    if found is not None:
        return now + int(found["count"]) * _UNITS[found["unit"].lower()], found["rest"].strip()
    found = _UNTIL.fullmatch(text)
    if found is None:
        return None, text
    try:
        day = datetime.strptime(f"{found['day']} {found['time'] or '23:59'}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except ValueError:
        raise NotUnderstoodError(f"{found['day']} is no date; write it as 2026-12-24.") from None
    return day, found["rest"].strip()
