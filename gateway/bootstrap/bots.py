"""The bot accounts: `nexus` itself and every enabled agent, each with a working access token, a picture and a status."""

from dataclasses import dataclass
from typing import Final

from django.db import transaction

from gateway import audit
from gateway.bootstrap.avatar import avatar
from gateway.bootstrap.steps import Say, done, failed, note, same
from gateway.bridges import accounts
from gateway.models import Agent, BotAccount
from gateway.rocketchat.admin import Caller, Login
from gateway.rocketchat.calls import RefusedError, UnauthorizedError
from gateway.rocketchat.events import Document
from gateway.secrets import UnreadableSecretError, unseal

SERVICE: Final = "nexus"
SERVICE_NAME: Final = "Nexus"
SERVICE_STATUS: Final = "Brings the team's agents into its rooms. Write !help"


@dataclass(frozen=True, slots=True)
class Bot:
    user_id: str
    username: str
    token: str


def ensure_service(admin: Login, *, tell: Say) -> Bot | None:
    row = BotAccount.objects.filter(agent=None, username=SERVICE).first()
    return _ensure(admin, agent=None, row=row, slug=SERVICE, name=SERVICE_NAME, status=SERVICE_STATUS, tell=tell)


def ensure_agent(admin: Login, agent: Agent, *, tell: Say) -> Bot | None:
    row = BotAccount.objects.filter(agent=agent).first()
    owner = agent.owner
    name = f"{owner.display_name or owner.username}'s {agent.cli_kind}" if owner else agent.slug
    whose = f"of @{owner.username}" if owner else "of this host"
    status = f"{agent.cli_kind} agent {whose}. Mention @{agent.slug}, or write !help"
    return _ensure(admin, agent=agent, row=row, slug=agent.slug, name=name, status=status, tell=tell)


def _ensure(
    admin: Login, *, agent: Agent | None, row: BotAccount | None, slug: str, name: str, status: str, tell: Say
) -> Bot | None:
    subject = f"bot account @{slug}"
    username = row.username if row else slug
    there = admin.find_user(username=username)
    if there is not None and there.get("active") is False:
        tell(
            failed(subject, "is deactivated; activate it under Administration > Users, or disable the agent in Nexus")
        )
        return None
    bot = _working(admin, row) if there is not None else None
    if bot is None:
        account = accounts.ensure_account(admin, slug=username, name=name)
        with transaction.atomic():
            accounts.store_account(agent=agent, account=account)
            audit.record(actor="bootstrap", action="bot_account_ready", target=username, is_new=account.is_new)
        bot = Bot(user_id=account.user_id, username=username, token=account.access_token)
        tell(done(subject, "made, with its access token" if account.is_new else "has a new access token"))
    else:
        tell(same(subject, "its access token works"))
    _check_roles(there, subject=subject, tell=tell)
    _dress(admin, bot=bot, there=there or {}, status=status, tell=tell)
    return bot


def _working(admin: Login, row: BotAccount | None) -> Bot | None:
    """The account with the token that we hold, if the chat still takes it."""
    if row is None or row.is_broken or not row.access_token:
        return None
    try:
        token = unseal(row.access_token)
        with Caller(base_url=admin.base_url, user_id=row.rocketchat_id, token=token, ca_file=admin.ca_file) as caller:
            caller.me()
    except (UnreadableSecretError, UnauthorizedError):
        return None
    return Bot(user_id=row.rocketchat_id, username=row.username, token=token)


def _check_roles(there: Document | None, *, subject: str, tell: Say) -> None:
    roles = there.get("roles") if there else None
    if isinstance(roles, list) and "bot" not in roles:
        tell(note(subject, "has not the role bot, so the limits for people bind it; give it that role"))


def _dress(admin: Login, *, bot: Bot, there: Document, status: str, tell: Say) -> None:
    """Picture and status where it has none; what somebody chose instead stays."""
    if there.get("avatarETag") and there.get("statusText"):
        return
    with Caller(base_url=admin.base_url, user_id=bot.user_id, token=bot.token, ca_file=admin.ca_file) as caller:
        try:
            if not there.get("avatarETag"):
                caller.set_avatar(image=avatar(name=bot.username))
                tell(done(f"picture of @{bot.username}", "set"))
            if not there.get("statusText"):
                caller.set_status_text(text=status[:120])
                tell(done(f"status of @{bot.username}", "set"))
        except RefusedError as error:
            cure = "Accounts_AllowUserAvatarChange and Accounts_AllowUserStatusMessageChange allow it"
            tell(note(f"looks of @{bot.username}", f"not set: {error}; {cure}"))
