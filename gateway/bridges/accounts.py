"""The bot account of an agent in the chat: made, healed after a half-done attempt, or taken away again."""

import logging
import secrets
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from gateway.bridges.errors import ChatTroubleError, NoSuchRoomError, NoSuchUserError, TakenError
from gateway.models import Agent, BotAccount
from gateway.rocketchat.admin import IMPATIENT, Login, Patience
from gateway.rocketchat.calls import RefusedError, RestError
from gateway.rocketchat.events import Document
from gateway.secrets import seal

logger = logging.getLogger(__name__)

EMAIL_DOMAIN: Final = "bots.nexus.invalid"
"""Marks accounts that Nexus made: a name of this domain belongs to nobody else."""

TOKEN_NAME: Final = "nexus"  # noqa: S105 - a label
ROLES: Final = ("bot", "user")


@dataclass(frozen=True, slots=True)
class Account:
    """A bot account; `is_new` says whether it is ours to take away again."""

    user_id: str
    username: str
    access_token: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Person:
    user_id: str
    username: str
    name: str


@dataclass(frozen=True, slots=True)
class RoomThere:
    rid: str
    kind: str
    name: str


def admin_login(*, code: str = "", patience: Patience = IMPATIENT) -> Login:
    return Login(
        base_url=settings.NEXUS_ROCKETCHAT_URL,
        user=settings.NEXUS_ROCKETCHAT_ADMIN,
        password=settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD,
        code=code,
        patience=patience,
        ca_file=settings.NEXUS_ROCKETCHAT_CA,
    )


def find_person(admin: Login, *, username: str) -> Person:
    """Raises NoSuchUserError."""
    found = admin.find_user(username=username) if username.strip() else None
    if found is None:
        raise NoSuchUserError(username=username)
    return Person(user_id=str(found["_id"]), username=username, name=str(found.get("name") or ""))


def find_rooms(admin: Login, *, names: tuple[str, ...]) -> list[RoomThere]:
    """Raises NoSuchRoomError for the first that is not there."""
    rooms = []
    for name in names:
        found = admin.find_room(name=name.removeprefix("#")) if name.removeprefix("#").strip() else None
        if found is None:
            raise NoSuchRoomError(name=name)
        rooms.append(RoomThere(rid=str(found["_id"]), kind=str(found.get("t") or "c"), name=name.removeprefix("#")))
    return rooms


def ensure_account(admin: Login, *, slug: str, name: str) -> Account:
    """The bot account of this slug with a fresh access token. Raises TakenError, RestError."""
    password = secrets.token_urlsafe(32)
    email = f"{slug}@{EMAIL_DOMAIN}"
    found = admin.find_user(username=slug)
    if found is None:
        try:
            made = admin.create_user(username=slug, name=name, email=email, password=password, roles=ROLES)
        except RefusedError as error:
            raise TakenError(f"the chat does not take the name {slug!r}: {error}; choose another --role") from error
        user_id = str(made["_id"])
    elif _is_ours(found, email=email):
        user_id = str(found["_id"])
        admin.set_password(user_id=user_id, password=password)
    else:
        raise TakenError(f"{slug!r} is an account of somebody else in the chat; choose another --role")
    try:
        # Logins are limited by address, whoever logs in: many accounts in one go need the caller's patience.
        login = Login(
            base_url=admin.base_url, user=slug, password=password, patience=admin.patience, ca_file=admin.ca_file
        )
        with login as bot:
            token = bot.personal_token(name=TOKEN_NAME)
    except RestError:
        if found is None:
            take_away(admin, user_id=user_id)
        raise
    return Account(user_id=user_id, username=slug, access_token=token, is_new=found is None)


def invite(admin: Login, *, account_id: str, rooms: list[RoomThere]) -> None:
    """Raises ChatTroubleError naming the room."""
    for room in rooms:
        try:
            admin.invite(rid=room.rid, kind=room.kind, user_id=account_id)
        except RefusedError as error:
            raise ChatTroubleError(f"the bot can't be invited: {invitation_cure(room, error)}") from error


def invitation_cure(room: RoomThere, error: RefusedError) -> str:
    """Into a private room only its own people invite: no role has that right from outside."""
    who = "an owner or moderator of it" if room.kind == "p" else "somebody in it"
    return (
        f"{room.name!r} refuses ({error}); {who} can type /invite @NAME there, "
        f"or add Nexus's admin account to it and run this again"
    )


def store_account(*, agent: Agent | None, account: Account) -> None:
    """Keep an account's access token, sealed; the row of an account that was made anew goes on as that one's."""
    rows = BotAccount.objects.filter(agent=agent) if agent else BotAccount.objects.filter(username=account.username)
    found = rows.first() or BotAccount.objects.filter(rocketchat_id=account.user_id).first() or BotAccount()
    found.agent = agent
    found.rocketchat_id = account.user_id
    found.username = account.username
    found.access_token = seal(account.access_token)
    found.is_broken, found.broken_reason = False, ""
    found.save()


def take_away(admin: Login, *, user_id: str) -> None:
    """Best effort, after another error: what stays is found and used by the next attempt."""
    try:
        admin.delete_user(user_id=user_id)
    except RestError as error:
        logger.warning("half-made bot account stays", extra={"account": user_id, "error": repr(error)})


def _is_ours(found: Document, *, email: str) -> bool:
    """By the e-mail address, which the chat tells admins; people can't set one of our domain and be confirmed."""
    emails = found.get("emails")
    addresses = [one.get("address") for one in emails if isinstance(one, dict)] if isinstance(emails, list) else []
    roles = found.get("roles")
    return email in addresses and isinstance(roles, list) and "bot" in roles
