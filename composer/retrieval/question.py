"""What does a question name: words, people, days? Pure."""

import re
from calendar import monthrange
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from composer.retrieval.channels import Query
from composer.retrieval.terms import STOPWORDS, terms

MAX_CHARS: Final = 4_000
"""Of a longer question the head and the tail count."""

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        ("january januar", "february februar", "march märz", "april", "may mai", "june juni", "july juli", "august",
         "september", "october oktober", "november", "december dezember"),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH: Final = re.compile(
    r"(?:\b(\d{1,2})(?:st|nd|rd|th|\.)?(?: of)? )?\b("
    + "|".join(_MONTHS)
    + r")\b(?: (\d{1,2})(?:st|nd|rd|th)?\b)?(?:,? (\d{4})\b)?",
    re.IGNORECASE,
)
_ISO: Final = re.compile(r"\b(\d{4})-(\d{2})(?:-(\d{2}))?\b")
_RELATIVE: Final = re.compile(
    r"\b(?:(yesterday|gestern)|(today|heute|this morning)|last (week|month|" + "|".join(_WEEKDAYS) + r")"
    r"|(?:on|since|this) (" + "|".join(_WEEKDAYS) + r")|this (week|month))\b",
    re.IGNORECASE,
)
_WANTS_TIME: Final = re.compile(
    r"^\W*(when|since when|how long|how old|wann|seit wann|когда|(what|which|on what|in what|in which)"
    r" (year|month|week|date|day|time|version was))\b",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\W_]+(?:[._-][^\W_]+)*")
_SENTENCE_START: Final = re.compile(r"(?:^|[.!?:]\s+)\W*$")
_AFTER: Final = timedelta(days=7)
"""People speak of a day for about a week."""


def parse(text: str, *, at: datetime, names: Mapping[str, Iterable[int]], first_year: int) -> Query:
    """`names` are casefolded words and the authors they may mean; `first_year` is when the room's talk began."""
    if len(text) > MAX_CHARS:
        text = f"{text[: MAX_CHARS // 2]} {text[-MAX_CHARS // 2 :]}"
    named, rest = _named(text, names)
    spans = [(_micros(first), _micros(last)) for first, last in _spans(text, at=at, first_year=first_year)]
    return Query(
        terms=Counter(terms(rest)),
        named=named,
        spans=spans,
        wants_time=_WANTS_TIME.search(text) is not None,
    )


def _named(text: str, names: Mapping[str, Iterable[int]]) -> tuple[list[int], str]:
    """Authors the question names, and the question without those names."""
    found: dict[int, None] = {}
    rest: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        for start, word in _candidates(match):
            authors = names.get(word.casefold())
            if authors is not None and _is_name(word, text, start):
                found |= dict.fromkeys(authors)
                rest.append(text[end:start])
                end = start + len(word)
    return list(found), "".join([*rest, text[end:]])


def _candidates(match: re.Match[str]) -> list[tuple[int, str]]:
    """The word as a whole, else its parts: a name may be followed by a full stop or be joined to something."""
    whole = match[0]
    parts = [(match.start() + part.start(), part[0]) for part in re.finditer(r"[^\W_]+", whole)]
    return [(match.start(), whole)] if len(parts) == 1 else [(match.start(), whole), *parts]


def _is_name(word: str, text: str, start: int) -> bool:
    """Will, Mark and May are names where they look like one."""
    if text[max(0, start - 1) : start] == "@":
        return True
    if word.casefold() in STOPWORDS or word.casefold() in _MONTHS:
        return word[0].isupper() and _SENTENCE_START.search(text[:start]) is None
    return True


def _spans(text: str, *, at: datetime, first_year: int) -> list[tuple[datetime, datetime]]:
    spans: list[tuple[datetime, datetime]] = []
    for match in _ISO.finditer(text):
        spans += _day_or_month(int(match[1]), int(match[2]), int(match[3] or 0))
    for match in _MONTH.finditer(text):
        word = match[2]
        # "may" and "march" in small letters are no months.
        if word in ("may", "march", "mai"):
            continue
        years = [int(match[4])] if match[4] else range(max(first_year, at.year - 5), at.year + 1)
        for year in years:
            spans += _day_or_month(year, _MONTHS[word.casefold()], int(match[1] or match[3] or 0))
    for match in _RELATIVE.finditer(text):
        spans.append(_relative(match, at=at))
    return spans


def _day_or_month(year: int, month: int, day: int) -> list[tuple[datetime, datetime]]:
    if not (1970 <= year <= 2200 and 1 <= month <= 12 and 0 <= day <= monthrange(year, month)[1]):
        return []
    first = datetime(year, month, day or 1, tzinfo=UTC)
    length = timedelta(days=1 if day else monthrange(year, month)[1])
    return [(first - timedelta(days=1 if day else 0), first + length + _AFTER)]


def _relative(match: re.Match[str], *, at: datetime) -> tuple[datetime, datetime]:
    today = at.replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday, is_today, last, on, this = (part.casefold() if part else "" for part in match.groups())
    if yesterday:
        return today - timedelta(days=1), today
    if is_today:
        return today, today + timedelta(days=1)
    if last == "week" or this == "week":
        monday = today - timedelta(days=today.weekday() + (7 if last else 0))
        return monday, monday + timedelta(days=7)
    if last == "month" or this == "month":
        first = today.replace(day=1)
        return ((first - timedelta(days=1)).replace(day=1), first) if last else (first, first + timedelta(days=31))
    back = (today.weekday() - _WEEKDAYS.index(last or on)) % 7 or 7
    return today - timedelta(days=back), today - timedelta(days=back - 1)


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000
