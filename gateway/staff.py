"""Who may look after this Nexus? Named staff accounts, and whoever holds NEXUS_ADMIN_TOKEN; one door for site and API."""

import hashlib
import hmac
import logging
import time
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from gateway import audit
from gateway.guessing import FailureLimit

logger = logging.getLogger(__name__)

TOKEN_ACCOUNT: Final = "admin-token"  # noqa: S105 - a name
"""The account behind the admin token. It has no password, and its sessions end when the token changes."""

FRESH_S: Final = 15 * 60
"""Whoever logged in longer ago shows again who he is before a bridge token is made."""

_LOGGED_IN_AT: Final = "nexus_logged_in_at"

WRONG: Final = "This name and password, or this admin token, is not right."
TOO_MANY: Final = "Too many failed logins from this address, or for this account; wait a minute."

_failures = FailureLimit()


class LoginRefusedError(Exception):
    """The text says why; `is_limited` when the address has to wait."""

    def __init__(self, *, is_limited: bool) -> None:
        super().__init__(TOO_MANY if is_limited else WRONG)
        self.is_limited = is_limited


class TokenBackend(ModelBackend):
    """Logs in by admin token. A session made with another token than today's is over."""

    def authenticate(self, request: HttpRequest | None, *, admin_token: str = "", **_: Any) -> AbstractBaseUser | None:  # type: ignore[override]
        return _account() if is_admin_token(admin_token) else None

    def get_user(self, user_id: int) -> Any:
        user = super().get_user(user_id)
        is_current = user is not None and hmac.compare_digest(user.password, _mark())
        return user if is_current else None


def log_in(*, request: HttpRequest, username: str, secret: str) -> AbstractBaseUser:
    """The account of a name and password, or of the admin token where no name is given. Raises LoginRefusedError.

    Whether a name exists can't be told from the answer; failures are counted per address whatever was tried, and per name.
    """
    address = address_of(request)
    account = _digest(username.casefold()).hex() if username else TOKEN_ACCOUNT
    if _failures.is_over(address=address, secret=account):
        raise LoginRefusedError(is_limited=True)
    if username:
        user = authenticate(request, username=username, password=secret)
    else:
        user = authenticate(request, admin_token=secret)
    if user is None or not (user.is_active and getattr(user, "is_staff", False)):
        _failures.failed(address=address, secret=account)
        logger.warning("admin login refused", extra={"address": address})
        raise LoginRefusedError(is_limited=False)
    _failures.passed(address=address, secret=account)
    audit.record(actor=name_of(user), action="admin_login", target=address)
    return user


def is_admin_token(token: str) -> bool:
    """Compared as digests, in a time that says nothing about either."""
    return hmac.compare_digest(_digest(token), _digest(settings.NEXUS_ADMIN_TOKEN))


def check_bearer(*, request: HttpRequest, token: str) -> AbstractBaseUser:
    """The token account for an Authorization header. Raises LoginRefusedError."""
    address = address_of(request)
    if _failures.is_over(address=address, secret=TOKEN_ACCOUNT):
        raise LoginRefusedError(is_limited=True)
    if not is_admin_token(token):
        _failures.failed(address=address, secret=TOKEN_ACCOUNT)
        raise LoginRefusedError(is_limited=False)
    _failures.passed(address=address, secret=TOKEN_ACCOUNT)
    return _account()


def may_look(user: Any) -> bool:
    return bool(user.is_authenticated and user.is_active and user.is_staff)


def may_change(user: Any) -> bool:
    return bool(may_look(user) and user.is_superuser)


def name_of(user: Any) -> str:
    return str(user.get_username())


def mark_fresh(session: SessionBase) -> None:
    session[_LOGGED_IN_AT] = int(time.time())


def is_fresh(session: SessionBase) -> bool:
    return time.time() - float(session.get(_LOGGED_IN_AT, 0)) < FRESH_S


def address_of(request: HttpRequest) -> str:
    """The peer itself: what a header says about other addresses is anybody's word."""
    return str(request.META.get("REMOTE_ADDR") or "unknown")


def _account() -> AbstractBaseUser:
    made, _ = get_user_model().objects.get_or_create(
        username=TOKEN_ACCOUNT, defaults={"is_staff": True, "is_superuser": True, "password": _mark()}
    )
    if not hmac.compare_digest(made.password, _mark()) or not (made.is_active and made.is_superuser and made.is_staff):
        made.password, made.is_active, made.is_staff, made.is_superuser = _mark(), True, True, True
        made.save(update_fields=["password", "is_active", "is_staff", "is_superuser"])
    return made


def _mark() -> str:
    """In the place of a password, which it can't be: changes with the token, and so ends its sessions."""
    seed = hmac.digest(settings.SECRET_KEY.encode(), settings.NEXUS_ADMIN_TOKEN.encode(), "sha256")
    return UNUSABLE_PASSWORD_PREFIX + seed.hex()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
