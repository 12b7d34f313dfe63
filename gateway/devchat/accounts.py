"""Who is who: users, passwords, tokens, second factors."""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any

from gateway.devchat.errors import ChatError, NotLoggedInError, action_not_allowed, totp_required
from gateway.devchat.events import LoggedNotice, SessionsEnded
from gateway.devchat.models import Token, User
from gateway.devchat.permissions import ADMIN, KNOWN_ROLES
from gateway.devchat.store import Store
from gateway.devchat.wire import random_id

LOGIN_LIFETIME_MS = 90 * 24 * 3600 * 1000
MAX_LOGIN_TOKENS = 50
# So many wrong passwords of a user block him for so long.
MAX_FAILED_LOGINS, BLOCK_MS = 10, 300_000
# Freshly created users pass the two-factor gate: Rocket.Chat remembers their creation as a passed check.
GRACE_MS = 1_800_000
# No mail leaves the stand-in, so the code it "sends" is always the same one.
EMAIL_CODE = "424242"
HASH_ROUNDS = 1_000  # a stand-in on loopback; each test logs in many users
USERNAME = re.compile(r"[0-9a-zA-Z\-_.]+\Z")
STATUS_CODES = {"offline": 0, "online": 1, "away": 2, "busy": 3}


@dataclass(frozen=True, slots=True)
class SecondFactor:
    method: str = ""
    code: str = ""


NO_SECOND_FACTOR = SecondFactor()


def password_digest(password: str) -> str:
    """What clients may send instead of the password."""
    return hashlib.sha256(password.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of(password: Any) -> str:
    """Passwords come plain or as {digest, algorithm}."""
    if isinstance(password, dict):
        return str(password.get("digest", ""))
    return password_digest(str(password or ""))


def hash_token(token: str) -> str:
    return base64.b64encode(hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()).decode()


def create_user(
    store: Store,
    *,
    username: str,
    name: str,
    email: str,
    password: str,
    roles: list[str] | None = None,
    verified: bool = False,
    user_id: str | None = None,
) -> User:
    _check_new_user(store, username, email, roles or [])
    now = store.now()
    user = User(
        id=user_id or random_id(),
        username=username,
        name=name,
        email=email,
        roles=list(roles) if roles else ["user"],
        created_at=now,
        updated_at=now,
        password=_hash_password(password_digest(password)),
        verified=verified,
        email_two_factor=verified and bool(email) and store.switches.enrolls_email_two_factor,
    )
    store.add_user(user)
    return user


def _check_new_user(store: Store, username: str, email: str, roles: list[str]) -> None:
    if not USERNAME.match(username):
        raise ChatError(
            "error-input-is-not-a-valid-field",
            f"{username} is not a valid username",
            {"method": "saveUserData", "input": username, "field": "Username"},
        )
    if store.user_named(username):
        raise _taken(username, "username")
    if email and store.user_by_email(email):
        raise _taken(email, "email")
    unknown = [role for role in roles if role not in KNOWN_ROLES]
    if unknown:
        raise ChatError("error-role-not-found", "Role not found", {"roles": unknown})


def _taken(value: str, field: str) -> ChatError:
    return ChatError(
        "error-field-unavailable", f"{value} is already in use :(", {"method": "saveUserData", "field": field}
    )


def set_password(store: Store, user: User, password: str) -> None:
    user.password = _hash_password(password_digest(password))
    user.updated_at = store.now()
    store.changes += 1


def check_password(user: User, digest: str) -> bool:
    salt, _, hashed = user.password.partition("$")
    return bool(hashed) and hmac.compare_digest(hashed, _stretch(salt, digest))


def _hash_password(digest: str) -> str:
    salt = secrets.token_hex(8)
    return f"{salt}${_stretch(salt, digest)}"


def _stretch(salt: str, digest: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", digest.encode(), salt.encode(), HASH_ROUNDS).hex()


def log_in(store: Store, *, login: str, digest: str, code: str = "", factor_required: bool = True) -> tuple[User, str]:
    """Checks user name or mail address and password. Raises NotLoggedInError, or ChatError totp-required."""
    user = store.user_named(login) or store.user_by_email(login)
    if user is None or not user.active:
        raise NotLoggedInError
    failed = [at for at in store.failed_logins.get(user.id, []) if store.now() - at < BLOCK_MS]
    if len(failed) >= MAX_FAILED_LOGINS and store.switches.limits_enabled:
        raise ChatError("error-login-blocked-for-user", "Login has been temporarily blocked For User")
    if not check_password(user, digest):
        store.failed_logins[user.id] = [*failed, store.now()][-MAX_FAILED_LOGINS:]
        raise NotLoggedInError
    store.failed_logins.pop(user.id, None)
    if factor_required and _wants_mailed_code(store, user) and code != EMAIL_CODE:
        raise totp_required("email", user.username)
    return user, new_login_token(store, user).secret


def _wants_mailed_code(store: Store, user: User) -> bool:
    return store.switches.two_factor_enabled and user.email_two_factor and user.verified


@dataclass(frozen=True, slots=True)
class FreshToken:
    secret: str
    token: Token


def new_login_token(store: Store, user: User) -> FreshToken:
    now = store.now()
    fresh = _fresh_token(kind="login", now=now)
    fresh.token.expires_at = now + LOGIN_LIFETIME_MS
    logins = [token for token in user.tokens if token.kind == "login"]
    for oldest in logins[: len(logins) + 1 - MAX_LOGIN_TOKENS]:
        drop_token(store, user, oldest)
    _keep_token(store, user, fresh.token)
    return fresh


def new_personal_token(store: Store, user: User, *, name: str, bypass_two_factor: bool) -> str:
    if not store.may(user, "create-personal-access-tokens"):
        raise ChatError("not-authorized", "Not Authorized", {"method": "personalAccessTokens:generateToken"})
    if _personal_token(user, name):
        raise ChatError(
            "error-token-already-exists",
            "A token with this name already exists",
            {"method": "personalAccessTokens:generateToken"},
        )
    fresh = _fresh_token(kind="personal", now=store.now())
    fresh.token.name = name
    fresh.token.bypass_two_factor = bypass_two_factor
    _keep_token(store, user, fresh.token)
    return fresh.secret


def remove_personal_token(store: Store, user: User, *, name: str) -> Token:
    token = _personal_token(user, name)
    if token is None:
        raise ChatError(
            "error-token-does-not-exists", "Token does not exist", {"method": "personalAccessTokens:removeToken"}
        )
    drop_token(store, user, token)
    return token


def _personal_token(user: User, name: str) -> Token | None:
    return next((token for token in user.tokens if token.kind == "personal" and token.name == name), None)


def _fresh_token(*, kind: str, now: int) -> FreshToken:
    secret = random_id(43)
    token = Token(hashed=hash_token(secret), kind=kind, created_at=now, last_token_part=secret[-6:])
    return FreshToken(secret=secret, token=token)


def _keep_token(store: Store, user: User, token: Token) -> None:
    user.tokens.append(token)
    store.index_token(token.hashed, user.id)


def drop_token(store: Store, user: User, token: Token) -> None:
    user.tokens.remove(token)
    store.forget_token(token.hashed)
    store.publish(SessionsEnded(user_id=user.id, hashed_token=token.hashed))


def resume(store: Store, secret: str) -> tuple[User, Token]:
    """The user behind a login token or a personal access token. Raises NotLoggedInError."""
    hashed = hash_token(secret)
    user = store.user_of_token(hashed)
    if user is None or not user.active:
        raise NotLoggedInError
    token = next(token for token in user.tokens if token.hashed == hashed)
    if token.expires_at is not None and token.expires_at <= store.now():
        raise NotLoggedInError
    return user, token


def pass_two_factor(store: Store, *, user: User, token: Token | None, factor: SecondFactor = NO_SECOND_FACTOR) -> None:
    """The gate before sensitive endpoints. Raises totp-required."""
    if not store.switches.two_factor_enabled or (token and token.bypass_two_factor):
        return
    if store.now() - user.created_at < GRACE_MS:
        return
    method = "email" if user.email_two_factor and user.verified else "password"
    if factor.method == method and _factor_matches(user, factor):
        return
    raise totp_required(method, user.username)


def _factor_matches(user: User, factor: SecondFactor) -> bool:
    if factor.method == "password":
        return check_password(user, factor.code)
    return factor.code == EMAIL_CODE


def set_active(store: Store, user: User, *, is_active: bool) -> None:
    user.active = is_active
    user.updated_at = store.now()
    store.changes += 1
    if not is_active:
        for token in list(user.tokens):
            drop_token(store, user, token)


def delete_user(store: Store, user: User) -> None:
    set_active(store, user, is_active=False)
    for room in list(store.rooms_of(user)):
        room.members.pop(user.id, None)
    store.remove_user(user)
    store.publish(LoggedNotice("Users:Deleted", [{"userId": user.id}]))


def set_roles(store: Store, caller: User, user: User, roles: list[str]) -> None:
    if (ADMIN in roles) != (ADMIN in user.roles) and not store.may(caller, "assign-admin-role"):
        raise action_not_allowed("Assign_admin", "Assigning admin is not allowed")
    user.roles = list(roles)
    user.updated_at = store.now()
    store.changes += 1


def set_status(store: Store, user: User, *, status: str | None = None, text: str | None = None) -> None:
    if status is not None and status not in STATUS_CODES:
        raise ChatError("error-invalid-status", "Valid status types include online, away, offline, and busy.")
    before = (user.status, user.status_text)
    user.status = user.status if status is None else status
    user.status_text = user.status_text if text is None else text
    if before != (user.status, user.status_text):
        store.changes += 1
        store.publish(
            LoggedNotice("user-status", [[user.id, user.username, STATUS_CODES[user.status], user.status_text]])
        )
