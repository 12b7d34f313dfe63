"""What does Django itself say of these settings?"""

import re
from typing import Final

from django.core import checks as django_checks

from nexus_project.finding import Check, Finding, good, warning

HANDLED_BY_PROXY: Final = frozenset({"security.W004", "security.W008"})
"""HSTS and the redirect to https are the proxy's, which alone knows whether there is TLS (docker/)."""


def judge_django(messages: list[tuple[str, str]]) -> Finding:
    left = [(name, text) for name, text in messages if name not in HANDLED_BY_PROXY]
    if left:
        told = "; ".join(f"{name}: {_first_sentence(text)}" for name, text in left)
        return warning(told, "manage.py check --deploy tells more")
    return good("Django's own deployment checks are content")


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.])\s", text, maxsplit=1)[0]


def read_django() -> list[tuple[str, str]]:
    found = django_checks.run_checks(include_deployment_checks=True)
    return [(str(one.id), one.msg) for one in found]


CHECKS: Final = (Check("settings.django", read_django, judge_django),)
