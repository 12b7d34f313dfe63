"""Which words never leave the hub, whatever an agent says? The hub's own secrets, and what looks like a token.

Bridges mask as well; this is for bridges that are old or hostile, and for secrets that only the hub knows.
"""

from functools import lru_cache
from urllib.parse import unquote, urlsplit

from django.conf import settings

from nexus_bridge.masking import Secrets, secrets_in


def secrets() -> Secrets:
    """Of the settings as they are now."""
    ours = {name: value for name in _names() if (value := _text(name))}
    passwords = [str(settings.DATABASES["default"].get("PASSWORD") or ""), urlsplit(settings.NEXUS_REDIS_URL).password]
    known = [*secrets_in(ours), _text("SECRET_KEY"), *(unquote(word) for word in passwords if word)]
    return _made_of(tuple(sorted(set(known))))


def masked(text: str) -> str:
    """One whole text."""
    return secrets().masked(text)


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    """Of our settings that may hold a secret, by their names; a process has the same ones all its life."""
    ours = [name for name in dir(settings) if name.startswith("NEXUS_")]
    return tuple(name for name in ours if secrets_in({name: "as long as a secret"}))


def _text(name: str) -> str:
    value = getattr(settings, name, "")
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=4)
def _made_of(known: tuple[str, ...]) -> Secrets:
    return Secrets(known)
