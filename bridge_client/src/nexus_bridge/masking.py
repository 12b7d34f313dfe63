"""Keeps secrets out of what a CLI says, however the stream is cut: exact words that are known, and what looks like a token."""

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from nexus_bridge.packing import Cleaner

MASK: Final = "[secret]"
MIN_LENGTH: Final = 8
"""Shorter values are words that anybody may say."""

MAX_HELD: Final = 16 * 1024
"""Characters that wait for the rest of what may be a secret; a longer one is judged by what is there."""

MAX_SEEN: Final = 3
"""The first characters of what may become a secret tell nobody anything; a word without its last letter looks wrong."""

_SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
_NO_SECRET_NAME: Final = re.compile(r"_(?:FILE|PATH|DIR|SOCK|ID)\Z|\ASSH_AUTH", re.IGNORECASE)

_TOKENS: Final[Sequence[tuple[Sequence[str], str, str]]] = (
    # What it begins with, the signs that may follow, the rest of a whole one. No word of any language begins like that.
    (("nxb_", "nxj_", "nxt_"), r"[\w-]", r"[A-Za-z0-9_-]{43}_[0-9a-f]{8}"),
    (("sk-ant-", "sk-proj-", "sk-svcacct-", "sk-admin-", "sk-or-"), r"[\w-]", r"[\w-]{20,}"),
    (("sk-",), r"[A-Za-z0-9]", r"[A-Za-z0-9]{32,}"),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"[A-Za-z0-9]", r"[A-Za-z0-9]{36,}"),
    (("github_pat_",), r"\w", r"\w{22,}"),
    (("glpat-",), r"[\w-]", r"[\w-]{20,}"),
    (("xoxa-", "xoxb-", "xoxp-", "xoxr-", "xoxs-"), r"[\w-]", r"[\w-]{10,}"),
    (("AKIA", "ASIA"), r"[0-9A-Z]", r"[0-9A-Z]{16,}"),
    (("AIza",), r"[\w-]", r"[\w-]{35,}"),
    (("hf_", "npm_"), r"[A-Za-z0-9]", r"[A-Za-z0-9]{30,}"),
    (("pypi-AgE",), r"[\w-]", r"[\w-]{50,}"),
    (("sk_live_", "sk_test_", "rk_live_"), r"[A-Za-z0-9]", r"[A-Za-z0-9]{20,}"),
    (("SG.",), r"[\w.-]", r"[\w-]{16,}\.[\w-]{16,}"),
    (("eyJ",), r"[\w.-]", r"[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    (
        tuple(f"-----BEGIN {kind}PRIVATE KEY-----" for kind in ("", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ")),
        r"[A-Za-z0-9+/=\s\\-]",
        (
            r"(?:(?:\s|\\[nr])+[A-Za-z0-9+/=]{20,})+(?:(?:\s|\\[nr])+[A-Za-z0-9+/=]{1,76})?"
            r"(?:(?:\s|\\[nr])*-----END [A-Z ]{0,20}PRIVATE KEY-----)?"
        ),
    ),
)
_BEGINNINGS: Final = tuple(prefix for prefixes, _, _ in _TOKENS for prefix in prefixes)
_HALF_BEGINNINGS: Final = tuple({prefix[:size] for prefix in _BEGINNINGS for size in range(1, len(prefix))})
_MARKS: Final = {
    mark: [one for one in _BEGINNINGS if next(sign for sign in "_-JGA" if sign in one) == mark] for mark in "_-JGA"
}
"""Beginnings by a sign that each holds: what has none of these signs needs no closer look."""

_SIGNS: Final = string.ascii_letters + string.digits + "_-."
_PEM: Final = "-----BEGIN "


def _one_of(prefixes: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, prefixes))})"


_WHOLE: Final = {
    prefix: re.compile(f"{re.escape(prefix)}{rest}", re.ASCII) for prefixes, _, rest in _TOKENS for prefix in prefixes
}
_TOKEN: Final = "|".join(f"{_one_of(prefixes)}{rest}" for prefixes, _, rest in _TOKENS)
_BEGUN_TOKEN: Final = re.compile(
    "|".join(rf"{_one_of(prefixes)}{signs}*\Z" for prefixes, signs, _ in _TOKENS), re.ASCII
)


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """Values of variables that are named like secrets."""
    return [
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and not _NO_SECRET_NAME.search(name) and len(value) >= MIN_LENGTH
    ]


class Secrets:
    """What must not be said: `known` words and every token by its form."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = sorted({secret for secret in known if len(secret) >= MIN_LENGTH}, key=len, reverse=True)
        self._pattern = re.compile("|".join([*map(re.escape, self._known), _TOKEN]), re.ASCII)

    def masked(self, text: str) -> str:
        """One whole text."""
        return self._pattern.sub(MASK, text) if self._holds(text) else text

    def open_from(self, text: str) -> int:
        """Where a secret may begin whose rest has not come yet; also where a whole one may become a longer one."""
        start = self._begun(text, 0)
        if start == len(text):
            return start
        whole = [found.span() for found in self._pattern.finditer(text)] if self._holds(text) else []
        for begin, end in whole:
            # A beginning inside a secret that ends here is a part of that secret, and goes with it.
            if begin < start < end:
                start = self._begun(text, end)
        return start if len(text) - start <= MAX_HELD else len(text)

    def _holds(self, text: str) -> bool:
        """Nearly always no: searching for fixed words costs next to nothing, the pattern would cost a lot."""
        return any(secret in text for secret in self._known) or any(
            mark in text and any(one in text and _WHOLE[one].search(text) for one in beginnings)
            for mark, beginnings in _MARKS.items()
        )

    def _begun(self, text: str, first: int) -> int:
        """The first place from there on where something begins that the end of the text leaves open."""
        begun = _begun_token(text, first)
        for secret in self._known:
            start = text.find(secret[0], max(first, len(text) - len(secret)), begun)
            while start >= 0 and not secret.startswith(text[start:]):
                start = text.find(secret[0], start + 1, begun)
            begun = start if start >= 0 else begun
        return begun


def _begun_token(text: str, first: int) -> int:
    """A token may begin in the last word, with half a beginning at the very end, or as a key of many lines."""
    begun = [len(text)]
    word = max(len(text.rstrip(_SIGNS)), len(text) - MAX_HELD, first)
    last = text[word:]
    if any(beginning in last for beginning in _BEGINNINGS) and (found := _BEGUN_TOKEN.search(text, word)):
        begun.append(found.start())
    if text.endswith(_HALF_BEGINNINGS):
        begun += [len(text) - len(half) for half in _HALF_BEGINNINGS if text.endswith(half)]
    if (key := text.rfind(_PEM, first)) >= 0 and _BEGUN_TOKEN.match(text, key):
        begun.append(key)
    return min(start for start in begun if start >= first)


class Masking:
    """A stream without secrets. Cleans first: an escape sequence inside a secret must not save it."""

    def __init__(self, cleaner: Cleaner, *, secrets: Secrets) -> None:
        self._cleaner = cleaner
        self._secrets = secrets
        self._held = ""

    def feed(self, text: str) -> str:
        return self._mask(self._cleaner.feed(text))

    def peek(self) -> str:
        """What is held back, while it is too short to be of use to anybody: for a text that is edited when more comes."""
        return self._held if len(self._held) <= MAX_SEEN else ""

    def finish(self) -> str:
        """Nothing comes behind this: what was held back is judged as it stands."""
        said = self._mask(self._cleaner.finish())
        held, self._held = self._held, ""
        return said + self._secrets.masked(held)

    def _mask(self, text: str) -> str:
        text = self._held + text
        begun = self._secrets.open_from(text)
        self._held = text[begun:]
        return self._secrets.masked(text[:begun])


def masking(cleaner: Callable[[], Cleaner], *, secrets: Iterable[str]) -> Callable[[], Cleaner]:
    """Cleaners that also mask."""
    all_secrets = Secrets(secrets)
    return lambda: Masking(cleaner(), secrets=all_secrets)
