"""What kind of failure an HTTP status or a CLI's own words mean; one reading for all CLIs."""

import json
import re
from typing import Final

from nexus_bridge.adapters.lines import text_of
from nexus_bridge.events import Done, ErrorKind
from nexus_bridge.strip import clean

STATUS_KINDS: Final[dict[int, ErrorKind]] = {
    401: "auth",
    402: "rate_limit",
    403: "auth",
    404: "model",
    408: "timeout",
    429: "rate_limit",
    500: "overloaded",
    502: "overloaded",
    503: "overloaded",
    504: "overloaded",
    529: "overloaded",
}
_WORDS: Final[tuple[tuple[str, ErrorKind], ...]] = (
    (r"unauthori[sz]ed|not logged in|authenticat|api[ _-]?key|credentials", "auth"),
    (r"rate.?limit|quota|usage.?limit|too many requests", "rate_limit"),
    (r"overloaded|capacity|unavailable|server.?error", "overloaded"),
    (r"context.?(length|window)|model .*not found|unknown model", "model"),
    (r"connect|network|socket|stream|disconnect|ECONN|fetch failed|terminated", "network"),
)
_STATUS: Final = re.compile(r"\b(?:status|HTTP|code|error)\D{0,3}([45]\d\d)\b", re.IGNORECASE)


def kind_of_words(words: str) -> ErrorKind:
    """By a status that stands in the words, else by the words themselves; empty when they say nothing."""
    found = _STATUS.search(words)
    if found is not None and (kind := STATUS_KINDS.get(int(found.group(1)))) is not None:
        return kind
    return next((kind for pattern, kind in _WORDS if re.search(pattern, words, re.IGNORECASE)), "")


def plain_message(words: str) -> str:
    """The sentence inside an error that is a JSON text of its own."""
    try:
        found = json.loads(words) if words.lstrip().startswith("{") else {}
    except ValueError:
        return words
    return text_of(found, "error", "message") or text_of(found, "message") or words


def ended_in_turn(title: str, *, code: int, words: str, is_asked: bool) -> Done:
    """The process is gone and its turn was open. `words`: its last ones; `is_asked`: somebody had asked it to stop."""
    if is_asked:
        return Done(status="interrupted")
    why = telling_line(words)
    message = f"{title} ended in the middle of its turn (exit code {code}). {why}".rstrip()
    return Done(status="error", error_kind=kind_of_words(why) or "crash", message=message)


def telling_line(words: str) -> str:
    """Of a program's last words the line that says why it ended: what is indented or without a word is its detail."""
    text = plain_message(clean(words).strip())
    lines = text.splitlines()
    said = [line for line in lines if re.match(r"[^\s]*\w", line)]
    return (said or lines or [""])[-1].strip()
