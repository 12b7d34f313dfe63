"""What of the bridge's environment a CLI may see: an allow-list, never a copy."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

BASE_NAMES: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR"),
    *("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"),
)

NEVER: Final = ("CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT", "NEXUS_*", "LD_*", "DYLD_*")
"""Not inherited even where an adapter's list would match: a CLI started inside a CLI, and our own secrets."""

QUIET: Final = {"TERM": "dumb", "NO_COLOR": "1", "CI": "1"}


def clean_env(
    *, inherited: Mapping[str, str], names: Sequence[str] = (), extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The whole environment of a CLI: `inherited` cut to the base list and `names` ("*" matches), then `extra` on top.

    `extra` is the owner's own word for this agent and may set anything.
    """
    allowed = (*BASE_NAMES, *names)
    kept = {name: value for name, value in inherited.items() if _matches(name, allowed) and not _matches(name, NEVER)}
    kept.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    kept.setdefault("LANG", "C.UTF-8")
    return {**kept, **QUIET, **(extra or {})}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
