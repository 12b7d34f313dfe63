"""How much a permission request could break, in words for its card. Pure; a hint for people, never a rule."""

import re
from typing import Final, Literal

Level = Literal["low", "medium", "high"]

_DANGERS: Final[tuple[tuple[str, str], ...]] = (
    (r"\brm\s+(-\S*[rf]|--recursive|--force)", "deletes files"),
    (r"\b(sudo|doas|su)\b", "acts as another user"),
    (
        r"\bgit\s+push\b.*(--force|-f\b|\+\S)|\bgit\s+(reset\s+--hard|clean\s+-\S*f)|--no-verify",
        "rewrites or drops work in git",
    ),
    (r"(curl|wget|fetch)\b[^\n]*\|\s*(sudo\s+)?(ba|z|da)?sh\b", "runs what it downloads"),
    (r"\b(mkfs|dd\s+if=|fdisk|shutdown|reboot|kill(all)?\s+-9|pkill)\b", "touches disks or other programs"),
    (r"\bch(mod|own)\s+(-R|--recursive|[0-7]*777)", "changes rights widely"),
    (r"\b(drop|truncate)\s+(table|database|schema)\b|\bdelete\s+from\b", "deletes data"),
    (
        r"\b(kubectl|helm|terraform|aws|gcloud|az)\b.*\b(delete|destroy|apply|terminate)\b",
        "changes what runs elsewhere",
    ),
    (r"(\.ssh|\.aws|\.gnupg|\.netrc|\.env|id_rsa|credentials|\.kube/config)\b", "is near keys and passwords"),
    (r"(^|[\s>])(/etc|/usr|/boot|/var|/root|~/\.)", "reaches outside the project"),
    (r"\b(npm|pip|cargo|gem|twine)\s+(publish|upload|push)\b", "publishes"),
    (r":\(\)\s*\{|\bfork\b.*while", "may take the machine down"),
)
_QUIET: Final = frozenset({"read", "search"})


def level(*, tool_kind: str, detail: str) -> tuple[Level, str]:
    """The class, and why where it is high."""
    found = next((why for pattern, why in _DANGERS if re.search(pattern, detail, re.IGNORECASE)), "")
    if found:
        return "high", found
    return ("low", "") if tool_kind in _QUIET else ("medium", "")
