"""How does each REST call of bootstrap and create_bridge look? Accounts, permissions, invitations, the webhook."""

from collections.abc import Mapping

from gateway.rocketchat.calls import Call, family
from gateway.rocketchat.events import Document


def login(*, user: str, password: str, code: str = "") -> Call:
    return Call("POST", "login", body={"user": user, "password": password} | ({"code": code} if code else {}))


def logout() -> Call:
    return Call("POST", "logout")


def user_info(*, username: str) -> Call:
    return Call("GET", "users.info", {"username": username})


def create_user(*, username: str, name: str, email: str, password: str, roles: tuple[str, ...]) -> Call:
    """Not verified: a verified address is enrolled in two-factor by mail, and then the password alone no longer logs in."""
    body: Document = {
        "username": username,
        "name": name,
        "email": email,
        "password": password,
        "roles": list(roles),
        "verified": False,
        "joinDefaultChannels": False,
        "requirePasswordChange": False,
        "sendWelcomeEmail": False,
    }
    return Call("POST", "users.create", body=body)


def set_password(*, user_id: str, password: str) -> Call:
    """Not verified, as at its making: only a verified address is asked for a mailed code."""
    data = {"password": password, "verified": False}
    return Call("POST", "users.update", body={"userId": user_id, "data": data})


def set_avatar(*, image: bytes) -> Call:
    """The caller's own. Uploaded: the chat fetches no picture from a private address."""
    return Call("POST", "users.setAvatar", upload=("avatar.png", "image/png", image), upload_field="image")


def set_status_text(*, text: str) -> Call:
    return Call("POST", "users.setStatus", body={"message": text})


def delete_user(*, user_id: str) -> Call:
    return Call("POST", "users.delete", body={"userId": user_id})


def personal_token(*, name: str) -> Call:
    return Call("POST", "users.generatePersonalAccessToken", body={"tokenName": name, "bypassTwoFactor": True})


def regenerate_token(*, name: str) -> Call:
    return Call("POST", "users.regeneratePersonalAccessToken", body={"tokenName": name})


def permissions(*, grants: Mapping[str, tuple[str, ...]]) -> Call:
    body: Document = {"permissions": [{"_id": name, "roles": list(roles)} for name, roles in grants.items()]}
    return Call("POST", "permissions.update", body=body)


def list_permissions() -> Call:
    return Call("GET", "permissions.listAll")


def room_named(*, name: str) -> Call:
    return Call("GET", "rooms.info", {"roomName": name})


def any_room(*, name: str) -> Call:
    """Rooms with this in their names, private ones too, for who may administrate rooms."""
    return Call("GET", "rooms.adminRooms", {"filter": name, "count": 100})


def create_room(*, kind: str, name: str, members: tuple[str, ...]) -> Call:
    return Call("POST", f"{family(kind)}.create", body={"name": name, "members": list(members)})


def invite(*, rid: str, kind: str, user_id: str) -> Call:
    return Call("POST", f"{family(kind)}.invite", body={"roomId": rid, "userId": user_id})


def create_webhook(*, name: str, url: str, token: str, username: str) -> Call:
    body: Document = {
        "type": "webhook-outgoing",
        "name": name,
        "enabled": True,
        "event": "sendMessage",
        "username": username,
        "channel": "all_public_channels,all_private_groups,all_direct_messages",
        "urls": [url],
        "scriptEnabled": False,
        "token": token,
        "triggerWords": [],
        "triggerWordAnywhere": False,
        "runOnEdits": False,
        "retryFailedCalls": True,
        "retryCount": 6,
        "retryDelay": "powers-of-ten",
        "impersonateUser": False,
    }
    return Call("POST", "integrations.create", body=body)


def integrations(*, offset: int = 0) -> Call:
    return Call("GET", "integrations.list", {"count": 100, "offset": offset})


def remove_webhook(*, integration_id: str) -> Call:
    body = {"type": "webhook-outgoing", "integrationId": integration_id}
    return Call("POST", "integrations.remove", body=body)


def public_settings(*, names: tuple[str, ...]) -> Call:
    return Call("GET", "settings.public", {"_id": ",".join(names), "count": 100})


def info() -> Call:
    return Call("GET", "/api/info")


def two_factor(*, method: str, code: str) -> dict[str, str]:
    """Headers for calls that want a second factor: `totp`, `email`, or `password` with its SHA-256 where it stands in."""
    return {"x-2fa-method": method, "x-2fa-code": code}
