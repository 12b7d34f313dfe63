"""Logging in and out, and the tokens that last."""

from gateway.devchat import accounts
from gateway.devchat.accounts import digest_of
from gateway.devchat.errors import ChatError, NotLoggedInError, PlainError
from gateway.devchat.models import User
from gateway.devchat.rest.calls import Call, Options, Reply, get, post
from gateway.devchat.rest.schema import Schema
from gateway.devchat.wire import Document, Moment

UNAUTHORIZED: Document = {"success": False, "status": "error", "error": "Unauthorized", "message": "Unauthorized"}


@post("login", Options(needs_login=False))
def login(call: Call) -> Reply:
    body = call.body if isinstance(call.body, dict) else {}
    try:
        user, secret = _log_in(call, body)
    except NotLoggedInError:
        return Reply(401, UNAUTHORIZED)
    except ChatError as error:
        refusal = {"success": False, "status": "error", "error": error.code, "message": error.reason}
        return Reply(401, refusal | {"details": error.details})
    data: Document = {"userId": user.id, "authToken": secret, "me": me_document(user)}
    return Reply(200, {"status": "success", "data": data})


def _log_in(call: Call, body: Document) -> tuple[User, str]:
    if "resume" in body and "password" not in body:
        user, _ = accounts.resume(call.store, str(body["resume"]))
        return user, str(body["resume"])
    subject = body.get("user") or body.get("username") or body.get("email") or ""
    if isinstance(subject, dict):
        subject = subject.get("username") or subject.get("email") or ""
    code = str(body.get("code") or call.headers.get("x-2fa-code", ""))
    return accounts.log_in(call.store, login=str(subject), digest=digest_of(body.get("password")), code=code)


def me_document(user: User) -> Document:
    return user.full() | {"email": user.email, "avatarUrl": f"/avatar/{user.username}"}


@get("me")
def me(call: Call) -> Document:
    return me_document(call.user)


@post("logout")
def logout(call: Call) -> Reply:
    if call.token is not None and call.token.kind == "login":
        accounts.drop_token(call.store, call.user, call.token)
    return Reply(200, {"status": "success", "data": {"message": "You've been logged out!"}})


@post(
    "users.generatePersonalAccessToken",
    Options(schema=Schema({"tokenName": "string"}, {"bypassTwoFactor": "boolean"})),
)
def generate_personal_token(call: Call) -> Document:
    call.pass_two_factor()
    bypass = call.flag("bypassTwoFactor")
    return {
        "token": accounts.new_personal_token(
            call.store, call.user, name=call.text("tokenName"), bypass_two_factor=bypass
        )
    }


@post("users.regeneratePersonalAccessToken", Options(schema=Schema({"tokenName": "string"})))
def regenerate_personal_token(call: Call) -> Document:
    call.pass_two_factor()
    name = call.text("tokenName")
    bypass = accounts.remove_personal_token(call.store, call.user, name=name).bypass_two_factor
    return {"token": accounts.new_personal_token(call.store, call.user, name=name, bypass_two_factor=bypass)}


@post("users.removePersonalAccessToken", Options(schema=Schema({"tokenName": "string"})))
def remove_personal_token(call: Call) -> Document:
    accounts.remove_personal_token(call.store, call.user, name=call.text("tokenName"))
    return {}


@get("users.getPersonalAccessTokens")
def personal_tokens(call: Call) -> Document:
    tokens = [token for token in call.user.tokens if token.kind == "personal"]
    return {
        "tokens": [
            {
                "name": token.name,
                "createdAt": Moment(token.created_at),
                "lastTokenPart": token.last_token_part,
                "bypassTwoFactor": token.bypass_two_factor,
            }
            for token in tokens
        ]
    }


@post("users.createToken", Options(schema=Schema({}, {"userId": "string", "secret": "string"})))
def create_token(call: Call) -> Document:
    call.pass_two_factor()
    secret, expected = call.text("secret"), call.store.switches.create_tokens_secret
    if not expected or secret != expected:
        raise PlainError("Not authorized")
    user = call.store.users.get(call.text("userId"))
    if user is None:
        raise ChatError("error-invalid-user", "Invalid user", {"method": "createToken"})
    if user.id != call.user.id:
        call.require("user-generate-access-token")
    return {"data": {"userId": user.id, "authToken": accounts.new_login_token(call.store, user).secret}}
