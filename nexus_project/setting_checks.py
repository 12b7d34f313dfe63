"""Are the settings those of a host that others may reach?"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings

from nexus_project import safety
from nexus_project.env import Environment
from nexus_project.finding import Check, Finding, critical, good, warning

SECRETS: Final = (
    *("SECRET_KEY", "NEXUS_FIELD_KEY", "NEXUS_ADMIN_TOKEN", "NEXUS_WEBHOOK_TOKEN", "NEXUS_MEM0_KEY"),
    *("NEXUS_METRICS_TOKEN", "NEXUS_BACKUP_KEY"),
)
OPTIONAL: Final = frozenset({"NEXUS_WEBHOOK_TOKEN", "NEXUS_METRICS_TOKEN", "NEXUS_BACKUP_KEY"})
FEWEST_SIGNS: Final = 12
"""Of a password of a neighbour, which we did not choose."""

MOST_PROXIES: Final = 256
"""Addresses of one public network that may stand before a gateway; private ones may be as large as they are."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _safe(rule: Callable[[Any], safety.Danger | None], text: str) -> Callable[[Any], Finding]:
    def judge(found: Any) -> Finding:
        danger = rule(found)
        if danger is None:
            return good(text)
        return critical(danger.text, danger.cure) if safety.is_reachable(found) else warning(danger.text, danger.cure)

    return judge


def judge_secrets(values: Mapping[str, str]) -> Finding:
    """By the same rules with which a process refuses its environment."""
    environment = Environment(values=values)
    for name in values:
        environment.secret(name, default="" if name in OPTIONAL else None)
    if environment.problems:
        return critical(
            "; ".join(one.partition("; make")[0] for one in environment.problems),
            "give each secret its own value, made with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'",
        )
    return good(f"{sum(map(bool, values.values()))} secrets, each its own and long enough")


def judge_neighbours(values: Mapping[str, str]) -> Finding:
    """Passwords of databases and chat: long, and nobody's else."""
    given = {name: value for name, value in values.items() if value}
    weak = [name for name, value in given.items() if name not in SECRETS and len(value) < FEWEST_SIGNS]
    if weak:
        return critical(
            f"{', '.join(weak)}: shorter than {FEWEST_SIGNS} signs", "choose a longer password there and here"
        )
    seen: dict[str, str] = {}
    for name, value in given.items():
        if value in seen:
            return critical(f"{name} and {seen[value]} have the same value", "give each its own")
        seen[value] = name
    return good("passwords of neighbours are long, and each its own")


def read_neighbours() -> dict[str, str]:
    own = {name: str(getattr(settings, name)) for name in SECRETS}
    return own | {
        "the password in NEXUS_DATABASE_URL": str(settings.DATABASES["default"].get("PASSWORD") or ""),
        "the password in NEXUS_REDIS_URL": urlsplit(settings.NEXUS_REDIS_URL).password or "",
        "NEXUS_ROCKETCHAT_ADMIN_PASSWORD": settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD,
    }


def judge_cookies(given: Any) -> Finding:
    """Sessions of the admin site stay in the browser and on our pages."""
    wrong = []
    is_https = given.NEXUS_PUBLIC_URL.startswith("https://")
    if is_https and not (given.SESSION_COOKIE_SECURE and given.CSRF_COOKIE_SECURE):
        wrong.append("cookies also travel over plain http")
    if not given.SESSION_COOKIE_HTTPONLY:
        wrong.append("scripts can read the session")
    if given.SESSION_COOKIE_SAMESITE not in ("Lax", "Strict"):
        wrong.append("the session goes along with other sites' requests")
    if [*given.CSRF_TRUSTED_ORIGINS] != [given.NEXUS_PUBLIC_URL]:
        wrong.append("origins other than NEXUS_PUBLIC_URL are trusted")
    if wrong:
        return critical("; ".join(wrong), "undo the change of nexus_project/settings.py that did this")
    return good("sessions are kept to this site")


def judge_celery(given: Any) -> Finding:
    """A task that is delivered again while it still runs would run twice at once."""
    visible = given.CELERY_BROKER_TRANSPORT_OPTIONS.get("visibility_timeout")
    if visible != given.CELERY_VISIBILITY_TIMEOUT:
        return critical(
            "Celery's two visibility timeouts differ; the shorter one wins",
            "make them equal in nexus_project/settings.py",
        )
    if visible <= given.CELERY_TASK_TIME_LIMIT:
        return critical(
            f"tasks are delivered again after {visible} s but may run {given.CELERY_TASK_TIME_LIMIT} s",
            "make the visibility timeout longer than the time limit",
        )
    return good(f"tasks end after {given.CELERY_TASK_TIME_LIMIT} s; none is delivered again before")


def judge_proxies(networks: Sequence[Network]) -> Finding:
    """A proxy is believed about who calls: whoever is believed can be anybody, and is never made to wait."""
    wide = [str(one) for one in networks if not one.is_private and one.num_addresses > MOST_PROXIES]
    if wide:
        return critical(
            f"NEXUS_TRUSTED_PROXIES believes all of {', '.join(wide)} about where a caller is",
            "name the proxy's own address there",
        )
    return good(f"{len(networks)} networks of proxies are believed about where a caller is")


def read_webhook() -> Mapping[str, str]:
    return {"token": settings.NEXUS_WEBHOOK_TOKEN, "url": settings.NEXUS_WEBHOOK_URL}


def judge_webhook(given: Mapping[str, str]) -> Finding:
    if not given["token"]:
        return warning(
            "the webhook is off, so a room that nobody listens in is looked at once a minute only",
            "set NEXUS_WEBHOOK_TOKEN and run bootstrap",
        )
    if urlsplit(given["url"]).path != "/rc/webhook":
        return critical(f"NEXUS_WEBHOOK_URL leads to {given['url']}, where no webhook is", "let it end in /rc/webhook")
    return good(f"the chat calls {given['url']}")


CHECKS: Final = (
    Check("settings.debug", lambda: settings, _safe(safety.debug, "debug pages are off")),
    Check("settings.hosts", lambda: settings, _safe(safety.hosts, "the gateway answers to its own names only")),
    Check(
        "settings.public_url",
        lambda: settings,
        _safe(safety.public_url, "tokens travel encrypted, or in a private network"),
    ),
    Check("settings.passwords", lambda: settings, _safe(safety.passwords, "Postgres and Redis want a password")),
    Check("settings.secrets", lambda: {name: str(getattr(settings, name)) for name in SECRETS}, judge_secrets),
    Check("settings.neighbours", read_neighbours, judge_neighbours),
    Check("settings.cookies", lambda: settings, judge_cookies),
    Check("settings.celery", lambda: settings, judge_celery),
    Check("settings.proxies", lambda: settings.NEXUS_TRUSTED_PROXIES, judge_proxies),
    Check("settings.webhook", read_webhook, judge_webhook),
)
