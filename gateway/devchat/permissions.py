"""Who may do what: the default roles of Rocket.Chat's permissions, as far as clients meet them."""

from collections.abc import Iterable

ADMIN, USER, BOT, APP, GUEST = "admin", "user", "bot", "app", "guest"
OWNER, MODERATOR, LEADER = "owner", "moderator", "leader"
ROOM_ROLES = frozenset({OWNER, MODERATOR, LEADER})
KNOWN_ROLES = frozenset({ADMIN, USER, BOT, APP, GUEST, "anonymous", "livechat-agent", "livechat-manager"})

DEFAULT_GRANTS: dict[str, tuple[str, ...]] = {
    "access-permissions": (ADMIN,),
    "add-user-to-any-c-room": (ADMIN,),
    "add-user-to-any-p-room": (),
    "add-user-to-joined-room": (ADMIN, OWNER, MODERATOR),
    "api-bypass-rate-limit": (ADMIN, BOT, APP),
    "archive-room": (ADMIN, OWNER),
    "assign-admin-role": (ADMIN,),
    "bypass-time-limit-edit-and-delete": (BOT, APP),
    "create-c": (ADMIN, USER, BOT, APP),
    "create-d": (ADMIN, USER, BOT, APP),
    "create-p": (ADMIN, USER, BOT, APP),
    "create-personal-access-tokens": (ADMIN, USER),
    "create-user": (ADMIN,),
    "delete-c": (ADMIN, OWNER),
    "delete-message": (ADMIN, OWNER, MODERATOR),
    "delete-own-message": (ADMIN, USER),
    "delete-p": (ADMIN, OWNER),
    "delete-user": (ADMIN,),
    "edit-message": (ADMIN, OWNER, MODERATOR),
    "edit-other-user-active-status": (ADMIN,),
    "edit-other-user-avatar": (ADMIN,),
    "edit-other-user-info": (ADMIN,),
    "edit-other-user-password": (ADMIN,),
    "edit-privileged-setting": (ADMIN,),
    "edit-room": (ADMIN, OWNER, MODERATOR),
    "force-delete-message": (ADMIN, OWNER),
    "join-without-join-code": (ADMIN, BOT, APP),
    "leave-c": (ADMIN, USER, BOT, "anonymous", APP),
    "leave-p": (ADMIN, USER, BOT, "anonymous", APP),
    "manage-incoming-integrations": (ADMIN,),
    "manage-outgoing-integrations": (ADMIN,),
    "manage-own-outgoing-integrations": (ADMIN,),
    "mention-all": (ADMIN, OWNER, MODERATOR, USER),
    "mention-here": (ADMIN, OWNER, MODERATOR, USER),
    "message-impersonate": (BOT, APP),
    "mute-user": (ADMIN, OWNER, MODERATOR),
    "pin-message": (OWNER, MODERATOR, ADMIN),
    "post-readonly": (ADMIN, OWNER, MODERATOR),
    "preview-c-room": (ADMIN, USER, "anonymous"),
    "remove-user": (ADMIN, OWNER, MODERATOR),
    "send-many-messages": (ADMIN, BOT, APP),
    "set-moderator": (ADMIN, OWNER),
    "set-owner": (ADMIN, OWNER),
    "set-readonly": (ADMIN, OWNER),
    "start-discussion": (ADMIN, USER, GUEST),
    "user-generate-access-token": (ADMIN,),
    "view-c-room": (ADMIN, USER, BOT, APP, "anonymous"),
    "view-d-room": (ADMIN, USER, BOT, APP),
    "view-full-other-user-info": (ADMIN,),
    "view-joined-room": (GUEST, BOT, "anonymous", APP),
    "view-outside-room": (ADMIN, OWNER, MODERATOR, USER),
    "view-p-room": (ADMIN, USER, "anonymous", GUEST),
    "view-privileged-setting": (ADMIN,),
    "view-room-administration": (ADMIN,),
    "view-statistics": (ADMIN,),
}


class Grants:
    """The table as one workspace holds it; `permissions.update` changes it."""

    def __init__(self, changed: dict[str, list[str]] | None = None) -> None:
        self._roles = {name: frozenset(roles) for name, roles in DEFAULT_GRANTS.items()}
        for name, roles in (changed or {}).items():
            self.grant(name, roles)

    def allows(self, permission: str, roles: Iterable[str]) -> bool:
        granted = self._roles.get(permission)
        return granted is not None and not granted.isdisjoint(roles)

    def knows(self, permission: str) -> bool:
        return permission in self._roles

    def grant(self, permission: str, roles: Iterable[str]) -> None:
        self._roles[permission] = frozenset(roles)

    def as_lists(self) -> dict[str, list[str]]:
        return {name: sorted(roles) for name, roles in sorted(self._roles.items())}
