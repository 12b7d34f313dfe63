"""Which messages are landmarks by what they say? Pure."""

import re
from typing import Final

MAX_CHARS: Final = 20_000
"""Of a longer message only the head is looked at."""

LONG_CODE_LINES: Final = 12
LONG_CODE_CHARS: Final = 600
"""A fenced block of so many lines or characters is worth keeping word for word."""

LIKENESS: Final = 0.5
"""Share of words that two decisions must have in common for the later one to be about the same thing."""

# Behind mentions, quotes' links and the usual decoration of a line.
_LEAD: Final = r"^[ \t]*(?:@\S+[ \t]+|\[[^\]\n]{0,3}\]\([^)\n]*\)[ \t]*|[-*_#✅📌🔨][ \t]?){0,6}"
_DECISION: Final = re.compile(
    _LEAD + r"(?:final )?(?:decisions?|decided|entscheidung|décision|decisión|решение)\b[^:\n]{0,60}:",
    re.IGNORECASE | re.MULTILINE,
)
_SPEC: Final = re.compile(_LEAD + r"(?:specs?|specification)\b[^:\n]{0,60}:", re.IGNORECASE | re.MULTILINE)
_QUESTION: Final = re.compile(_LEAD + r"(?:open )?question\b[^:\n]{0,40}:", re.IGNORECASE | re.MULTILINE)
_TASK: Final = re.compile(
    _LEAD + r"(?:\[[ x]?\][ \t]*)?(?:to-?do|tasks?|actions?|action items?)\b[^@\n]{0,30}@[0-9A-Za-z]",
    re.IGNORECASE | re.MULTILINE,
)
_TICK_BOX: Final = re.compile(r"^[ \t]*[-*][ \t]*\[[ ]?\][ \t]*@[0-9A-Za-z]", re.MULTILINE)
_SPEC_LINK: Final = re.compile(
    r"https?://[^\s<>()]{0,300}?(?:[/_.-](?:specs?|specifications?|adrs?|rfcs?|rfc-?\d+|design-?docs?|openapi|swagger)"
    r"(?=[/_.?#-]|\s|$)|\.proto\b)",
    re.IGNORECASE,
)
_FENCED: Final = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_REPLACES: Final = re.compile(r"\b(?:replaces|supersedes|instead of|ersetzt)[ \t]+#(\d{1,18})\b", re.IGNORECASE)
_CHANGE: Final = re.compile(
    r"\b(?:instead|no longer|not any ?more|any ?more|from now on|now|changed?|switch\w*|mov(?:e|es|ed|ing)"
    r"|revert\w*|replac\w*|drop(?:s|ped)?|revis\w*|correct(?:ion|ed)?|overrul\w*|after all)\b",
    re.IGNORECASE,
)
_WORDS: Final = re.compile(r"[^\W_]{2,}")
_COMMON: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "decided",
        "decision",
        "do",
        "for",
        "from",
        "go",
        "goes",
        "had",
        "has",
        "have",
        "in",
        "instead",
        "into",
        "is",
        "it",
        "its",
        "longer",
        "more",
        "no",
        "not",
        "now",
        "of",
        "on",
        "one",
        "or",
        "our",
        "shall",
        "so",
        "spec",
        "stay",
        "stays",
        "that",
        "the",
        "their",
        "then",
        "there",
        "this",
        "to",
        "use",
        "uses",
        "using",
        "was",
        "we",
        "will",
        "with",
    ]
)


def kind_of(text: str) -> str | None:
    """decision, spec, action, question or code; None for talk."""
    head = text[:MAX_CHARS]
    # Most messages are short talk: what none of the rules can match is seen at once.
    if ":" not in head and "@" not in head and "```" not in head:
        return None
    prose = _FENCED.sub("\n", head) if "```" in head else head
    if ":" in prose:
        for kind, form in (("decision", _DECISION), ("spec", _SPEC), ("question", _QUESTION)):
            if form.search(prose):
                return kind
    if "@" in prose and (_TASK.search(prose) or _TICK_BOX.search(prose)):
        return "action"
    if "://" in prose and _SPEC_LINK.search(prose):
        return "spec"
    return "code" if "```" in head and _has_long_code(head) else None


def replaced_number(text: str) -> int | None:
    """The landmark that a text says it replaces: `decision (replaces #12): …`."""
    found = _REPLACES.search(text[:MAX_CHARS])
    return int(found[1]) if found else None


def is_about_the_same(*, later: str, earlier: str) -> bool:
    """Whether a later decision takes an earlier one back: much the same words, and it says that something changes."""
    if not _CHANGE.search(later[:1_000]):
        return False
    ours, theirs = _words(later), _words(earlier)
    return bool(ours and theirs) and len(ours & theirs) / len(ours | theirs) >= LIKENESS


def overlap(*, text: str, question: str) -> int:
    """How many of the question's words a text has."""
    return len(_words(question) & _words(text))


def _has_long_code(text: str) -> bool:
    blocks = [found[1] for found in _FENCED.finditer(text)]
    return any(block.count("\n") >= LONG_CODE_LINES or len(block) >= LONG_CODE_CHARS for block in blocks)


def _words(text: str) -> set[str]:
    return set(_WORDS.findall(text[:1_000].casefold())) - _COMMON
