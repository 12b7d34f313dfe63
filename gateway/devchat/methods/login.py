"""Logging in and out over the socket, presence, and what clients ask at the start."""

from typing import Any

from gateway.devchat import accounts
from gateway.devchat.accounts import digest_of
from gateway.devchat.ddp import Session
from gateway.devchat.errors import ChatError, NotLoggedInError
from gateway.devchat.methods.registry import me, method
from gateway.devchat.models import User
from gateway.devchat.wire import Document, Moment

LOGGED_OUT = "You've been logged out by the server. Please log in again."


@method("login")
def _login(session: Session, params: list[Any]) -> Document:
    options = params[0]
    code = ""
    if "totp" in options:
        code, options = str(options["totp"].get("code", "")), options["totp"]["login"]
    user, secret, kind = _log_in(session, options, code)
    token = next(token for token in user.tokens if token.hashed == accounts.hash_token(secret))
    session.set_user(user, token.hashed)
    session.send(
        {
            "msg": "added",
            "collection": "users",
            "id": user.id,
            "fields": {"username": user.username, "name": user.name},
        }
    )
    expires_at = token.expires_at or session.host.store.now() + accounts.LOGIN_LIFETIME_MS
    return {"id": user.id, "token": secret, "tokenExpires": Moment(expires_at), "type": kind}


def _log_in(session: Session, options: Document, code: str) -> tuple[User, str, str]:
    store = session.host.store
    if "resume" in options:
        try:
            user, _ = accounts.resume(store, str(options["resume"]))
        except NotLoggedInError:
            raise ChatError("403", LOGGED_OUT) from None
        return user, str(options["resume"]), "resume"
    subject = options["user"]
    login = str(subject.get("username") or subject.get("email") or "")
    try:
        user, secret = accounts.log_in(store, login=login, digest=digest_of(options.get("password")), code=code)
    except NotLoggedInError:
        raise ChatError("403", "User not found") from None
    return user, secret, "password"


@method("logout")
def _logout(session: Session, _params: list[Any]) -> None:
    user, hashed = session.user, session.hashed_token
    session.set_user(None, None)
    token = next((token for token in user.tokens if token.hashed == hashed), None) if user else None
    if user is not None and token is not None:
        accounts.drop_token(session.host.store, user, token)


@method("UserPresence:online")
def _online(session: Session, _params: list[Any]) -> None:
    accounts.set_status(session.host.store, me(session), status="online")


@method("UserPresence:away")
def _away(session: Session, _params: list[Any]) -> None:
    accounts.set_status(session.host.store, me(session), status="away")


@method("UserPresence:setDefaultStatus")
def _default_status(session: Session, params: list[Any]) -> None:
    accounts.set_status(session.host.store, me(session), status=str(params[0]))


@method("getUserRoles")
def _user_roles(session: Session, _params: list[Any]) -> list[Document]:
    admins = (user for user in session.host.store.users.values() if "admin" in user.roles)
    return [{"_id": user.id, "username": user.username, "roles": user.roles} for user in admins]


@method("public-settings/get")
def _public_settings(session: Session, _params: list[Any]) -> list[Document]:
    return [{"_id": "Message_MaxAllowedSize", "value": session.host.store.switches.max_message_size}]
