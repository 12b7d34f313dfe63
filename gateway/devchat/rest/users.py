"""Users: create, look up, change, avatars, status."""

from gateway.devchat import accounts
from gateway.devchat.errors import ChatError, PlainError, UnauthorizedError, not_allowed
from gateway.devchat.events import LoggedNotice, Occurrence
from gateway.devchat.models import CHANNEL, User
from gateway.devchat.permissions import ADMIN
from gateway.devchat.rest.calls import Call, Options, get, post
from gateway.devchat.rest.schema import Schema
from gateway.devchat.rooms import join
from gateway.devchat.wire import Document

CREATE = Schema(
    {"email": "string", "name": "string", "password": "string", "username": "string"},
    {
        "active": "boolean",
        "bio": "string",
        "nickname": "string",
        "statusText": "string",
        "roles": "array",
        "joinDefaultChannels": "boolean",
        "requirePasswordChange": "boolean",
        "setRandomPassword": "boolean",
        "sendWelcomeEmail": "boolean",
        "verified": "boolean",
        "customFields": "object",
        "fields": "string",
        "freeSwitchExtension": "string",
    },
)


@post("users.create", Options(schema=CREATE))
def create(call: Call) -> Document:
    if not call.store.may(call.user, "create-user"):
        raise UnauthorizedError
    body, roles = call.body, call.body.get("roles") or []
    if ADMIN in roles:
        call.require("assign-admin-role")
    if "active" in body:
        call.require("edit-other-user-active-status")
    user = accounts.create_user(
        call.store,
        username=body["username"],
        name=body["name"],
        email=body["email"],
        password=body["password"],
        roles=[str(role) for role in roles],
        verified=body.get("verified") is True,
    )
    user.status_text = body.get("statusText") or ""
    if body.get("active") is False:
        user.active = False
    if body.get("joinDefaultChannels", True):
        join_default_rooms(call, user)
    call.store.publish(Occurrence("userCreated", None, user))
    return {"user": shown(call, user)}


def join_default_rooms(call: Call, user: User) -> None:
    for room in list(call.store.rooms.values()):
        if room.is_default and room.t == CHANNEL:
            join(call.store, room=room, user=user)


def shown(call: Call, user: User) -> Document:
    """Roles and mail addresses are for the user himself and for the privileged."""
    sees_all = call.user.id == user.id or call.store.may(call.user, "view-full-other-user-info")
    return user.full() if sees_all else user.public()


def named_user(call: Call, *, default_self: bool = False) -> User:
    user_id, username = call.text("userId"), call.text("username") or call.text("user")
    if not user_id and not username:
        if default_self:
            return call.user
        raise ChatError(
            "error-user-param-not-provided",
            'The required "userId" or "username" param was not provided',
        )
    user = call.store.users.get(user_id) if user_id else call.store.user_named(username)
    if user is None:
        raise PlainError("User not found.")
    return user


@get("users.info")
def info(call: Call) -> Document:
    if not call.text("userId") and not call.text("username"):
        raise ChatError(
            "invalid-params", "must have required property 'userId'\n must have required property 'username'"
        )
    return {"user": shown(call, named_user(call))}


@get("users.list", Options(permission="view-d-room"))
def list_users(call: Call) -> Document:
    found = sorted(call.store.users.values(), key=lambda user: user.username)
    return call.page("users", [shown(call, user) for user in found])


UPDATE_DATA = Schema(
    {},
    {
        "email": "string",
        "name": "string",
        "password": "string",
        "username": "string",
        "bio": "string",
        "nickname": "string",
        "statusText": "string",
        "roles": "array",
        "active": "boolean",
        "joinDefaultChannels": "boolean",
        "requirePasswordChange": "boolean",
        "setRandomPassword": "boolean",
        "sendWelcomeEmail": "boolean",
        "verified": "boolean",
        "customFields": "object",
        "language": "string",
        "freeSwitchExtension": "string",
    },
)


@post("users.update", Options(schema=Schema({"userId": "string", "data": "object"}, {"confirmRelinquish": "boolean"})))
def update(call: Call) -> Document:
    UPDATE_DATA.check(call.body["data"])
    call.pass_two_factor()
    user = named_user(call)
    if user.id != call.user.id:
        call.require("edit-other-user-info")
    return {"user": _apply(call, user, call.body["data"])}


def _apply(call: Call, user: User, data: Document) -> Document:
    store = call.store
    if "username" in data and data["username"] != user.username:
        if store.user_named(data["username"]):
            raise ChatError("error-field-unavailable", f"{data['username']} is already in use :(")
        store.rename_user(user, str(data["username"]))
    user.name = str(data.get("name", user.name))
    user.email = str(data.get("email", user.email))
    user.verified = data.get("verified", user.verified) is True
    user.status_text = str(data.get("statusText", user.status_text))
    if "password" in data:
        accounts.set_password(store, user, str(data["password"]))
    if "roles" in data:
        accounts.set_roles(store, call.user, user, [str(role) for role in data["roles"]])
    if "active" in data:
        accounts.set_active(store, user, is_active=data["active"] is True)
    user.updated_at = store.now()
    store.changes += 1
    return shown(call, user)


@post(
    "users.setActiveStatus",
    Options(schema=Schema({"userId": "string", "activeStatus": "boolean"}, {"confirmRelinquish": "boolean"})),
)
def set_active_status(call: Call) -> Document:
    call.require("edit-other-user-active-status")
    user = named_user(call)
    accounts.set_active(call.store, user, is_active=call.body["activeStatus"])
    return {"user": shown(call, user)}


@post("users.delete")
def delete(call: Call) -> Document:
    call.require("delete-user")
    accounts.delete_user(call.store, named_user(call))
    return {}


@post(
    "users.setStatus",
    Options(schema=Schema({}, {"status": "string", "message": "string", "userId": "string", "username": "string"})),
)
def set_status(call: Call) -> Document:
    user = named_user(call, default_self=True)
    if user.id != call.user.id:
        call.require("edit-other-user-info")
    accounts.set_status(call.store, user, status=call.body.get("status"), text=call.body.get("message"))
    return {}


@get("users.getStatus")
def get_status(call: Call) -> Document:
    user = named_user(call, default_self=True)
    return {"_id": user.id, "status": user.status, "message": user.status_text, "connectionStatus": user.status}


@get("users.getPresence")
def get_presence(call: Call) -> Document:
    return {"presence": named_user(call, default_self=True).status}


@post("users.setAvatar", Options(takes_form=True))
def set_avatar(call: Call) -> Document:
    user = _avatar_owner(call)
    image = call.workspace.uploads.image_of(call.form) if call.form is not None else None
    if image is None:
        # The stand-in fetches nothing from other hosts, so an avatar has to be uploaded.
        raise ChatError("error-avatar-invalid-url", "Invalid avatar URL", {"function": "setAvatarFromServiceData"})
    call.workspace.uploads.keep_avatar(user, image)
    call.store.changes += 1
    call.store.publish(LoggedNotice("updateAvatar", [{"username": user.username, "etag": user.avatar_etag}]))
    return {}


def _avatar_owner(call: Call) -> User:
    names = {key: str(value) for key, value in (call.form or {}).items() if key in ("userId", "username")}
    user_id, username = names.get("userId") or call.text("userId"), names.get("username") or call.text("username")
    user = call.store.users.get(user_id) if user_id else call.store.user_named(username) if username else call.user
    if user is None:
        raise ChatError(
            "error-invalid-user", 'The optional "userId" or "username" param provided does not match any users'
        )
    if user.id != call.user.id and not call.store.may(call.user, "edit-other-user-avatar"):
        raise not_allowed("setAvatar")
    return user


@post("users.resetAvatar")
def reset_avatar(call: Call) -> Document:
    user = named_user(call, default_self=True)
    if user.id != call.user.id and not call.store.may(call.user, "edit-other-user-avatar"):
        raise not_allowed("resetAvatar")
    user.avatar_etag = user.avatar_type = ""
    call.store.changes += 1
    return {}


@get("users.getAvatarSuggestion")
def avatar_suggestion(_call: Call) -> Document:
    return {"suggestions": {}}


@get("users.autocomplete")
def autocomplete(call: Call) -> Document:
    term = call.text("selector").lower()
    found = [user for user in call.store.users.values() if user.username.lower() in term or not term]
    return {"items": [user.public() for user in found][:10]}


@post("permissions.update", Options(permission="access-permissions", schema=Schema({"permissions": "array"})))
def update_permissions(call: Call) -> Document:
    grants = call.store.grants
    for entry in call.body["permissions"]:
        if not isinstance(entry, dict) or not grants.knows(str(entry.get("_id"))):
            raise PlainError("Invalid permission")
        grants.grant(str(entry["_id"]), [str(role) for role in entry.get("roles") or []])
    call.store.changes += 1
    return {"permissions": _permissions(call)}


@get("permissions.listAll")
def list_permissions(call: Call) -> Document:
    return {"update": _permissions(call), "remove": []}


def _permissions(call: Call) -> list[Document]:
    return [{"_id": name, "roles": roles} for name, roles in call.store.grants.as_lists().items()]
