"""Keeps secrets that the bridge knows of out of what a CLI says: exact words, however the stream is cut."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from nexus_bridge.packing import Cleaner

MASK: Final = "[secret]"
MIN_LENGTH: Final = 8
"""Shorter values are words that anybody may say."""

_SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
_NO_SECRET_NAME: Final = re.compile(r"_(?:FILE|PATH|DIR|SOCK|ID)\Z|\ASSH_AUTH", re.IGNORECASE)


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """Values of variables that are named like secrets."""
    return [
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and not _NO_SECRET_NAME.search(name) and len(value) >= MIN_LENGTH
    ]


def masking(cleaner: Callable[[], Cleaner], *, secrets: Iterable[str]) -> Callable[[], Cleaner]:
    """Cleaners that also mask; without secrets, the ones that were given."""
    known = tuple(sorted({secret for secret in secrets if len(secret) >= MIN_LENGTH}, key=len, reverse=True))
    if not known:
        return cleaner
    pattern = re.compile("|".join(map(re.escape, known)))
    return lambda: _Masking(cleaner(), secrets=known, pattern=pattern)


class _Masking:
    """Cleans first: an escape sequence inside a secret must not save it. What may be a secret's beginning waits."""

    def __init__(self, cleaner: Cleaner, *, secrets: Sequence[str], pattern: re.Pattern[str]) -> None:
        self._cleaner = cleaner
        self._secrets = secrets
        self._pattern = pattern
        self._held = ""

    def feed(self, text: str) -> str:
        return self._mask(self._cleaner.feed(text))

    def finish(self) -> str:
        said = self._mask(self._cleaner.finish())
        held, self._held = self._held, ""
        return said + self._pattern.sub(MASK, held)

    def _mask(self, text: str) -> str:
        text = self._held + text
        begun = self._begun(text)
        self._held = text[begun:]
        return self._pattern.sub(MASK, text[:begun])

    def _begun(self, text: str) -> int:
        """Where a secret may begin whose rest has not come yet; also where a whole one may become a longer one."""
        whole = list(self._pattern.finditer(text))
        after = whole[-1].end() if whole else 0
        starts = [
            *(found.start() for found in whole),
            *range(max(after, len(text) - len(self._secrets[0])), len(text)),
        ]
        return next((start for start in starts if self._is_beginning(text[start:])), len(text))

    def _is_beginning(self, text: str) -> bool:
        return any(secret.startswith(text) and secret != text for secret in self._secrets)
