"""Which terms does a text have? Words without their endings, identifiers whole and in parts, signs of Chinese in pairs."""

import re
from pathlib import Path
from typing import Final

MAX_TERMS: Final = 2_000
"""Of a longer text the rest is not searchable by word."""

MAX_TERM_CHARS: Final = 60
MAX_KNOWN_WORDS: Final = 60_000
"""Words whose terms are kept, some 15 MB; above it all are forgotten and worked out again."""

STOPWORDS: Final = frozenset((Path(__file__).parent / "stopwords.txt").read_text(encoding="utf-8").split())
"""Words of English, German and Russian that say nothing about what a message is about."""

_WORDS: Final = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]+"  # scripts without blanks
    r"|[^\W_]+(?:[._:/@+#-]+[^\W_]+)*",
)
_PARTS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_PLAIN: Final = re.compile(r"[a-z]+")
_APOSTROPHES: Final = re.compile(r"(?<=\w)['’´`](?=\w)")
_CJK_FIRST, _CJK_LAST = "\u3040", "\ufaff"

_known: dict[str, tuple[str, ...]] = {}


def terms(text: str) -> list[str]:
    """All terms in their order, repeated ones too."""
    found: list[str] = []
    for match in _WORDS.finditer(_APOSTROPHES.sub(" ", text)):
        word = match[0]
        known = _known.get(word)
        if known is None:
            known = _learn(word)
        found += known
        if len(found) >= MAX_TERMS:
            return found[:MAX_TERMS]
    return found


def _learn(word: str) -> tuple[str, ...]:
    if len(_known) >= MAX_KNOWN_WORDS:
        _known.clear()
    found = _of_word(word)
    if len(word) <= MAX_TERM_CHARS:
        _known[word] = found
    return found


def _of_word(word: str) -> tuple[str, ...]:
    """A word's stem; of something composed, the whole and its parts."""
    if _CJK_FIRST <= word[0] <= _CJK_LAST:
        return tuple(word[at : at + 2] for at in range(len(word) - 1)) or (word,)
    parts = [part.lower() for part in _PARTS.findall(word)]
    whole = word.casefold()
    if len(parts) <= 1:
        return () if whole in STOPWORDS else (stem(whole),)
    kept = dict.fromkeys(stem(part) for part in parts if part not in STOPWORDS)
    return (whole[:MAX_TERM_CHARS], *kept)


def stem(word: str) -> str:
    """English endings off: enough that "deploys", "deployed" and "deploying" meet. Other words stay as they are."""
    if len(word) <= 3 or not _PLAIN.fullmatch(word):
        return word[:MAX_TERM_CHARS]
    word = _without_plural(word)
    word = _without_participle(word)
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            word = word[: -len(ending)] + instead
            break
    if word.endswith("y") and len(word) > 3:
        word = word[:-1] + "i"
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


_ENDINGS: Final = (
    ("ational", "at"), ("ization", "iz"), ("fulness", "ful"), ("ousness", "ous"), ("iveness", "iv"), ("ation", "at"),
    ("ator", "at"), ("ment", ""), ("ness", ""), ("ful", ""), ("ity", ""), ("ally", "al"), ("ly", ""), ("ive", ""), ("ion", ""),
    ("able", ""), ("ance", ""), ("ence", ""), ("al", ""), ("er", ""), ("or", ""), ("ist", ""),
)  # fmt: skip


def _without_plural(word: str) -> str:
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _without_participle(word: str) -> str:
    for ending in ("ing", "ed"):
        bare = word[: -len(ending)]
        if word.endswith(ending) and len(bare) >= 3 and any(vowel in bare for vowel in "aeiouy"):
            if bare[-1] == bare[-2] and bare[-1] not in "lsz":
                return bare[:-1]
            return bare
    return word
