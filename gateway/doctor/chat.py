"""Is the chat there, does it do what Nexus takes for granted, and do the bot accounts work?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from gateway import webhook_claims
from gateway.bootstrap import hook, server
from gateway.bootstrap.bots import SERVICE, Bot
from gateway.bootstrap.steps import Step, Verdict
from gateway.bridges.accounts import admin_login
from gateway.models import BotAccount, Room, RoomKind
from gateway.rocketchat import admin_calls, calls
from gateway.rocketchat.admin import Caller
from gateway.rocketchat.calls import RestError, UnauthorizedError
from gateway.secrets import UnreadableSecretError, unseal
from nexus_project.finding import Check, Finding, critical, good, skipped, warning

NEEDS: Final = ("chat.reachable", "database.migrations")
SURE: Final = "run: manage.py bootstrap"


@dataclass(frozen=True, slots=True)
class Account:
    """A bot account as the chat sees it; `error` is why it could not be asked.

    `missing` are rooms in which we believe its agent to be, and the chat does not.
    """

    username: str
    roles: tuple[str, ...] = ()
    error: str = ""
    missing: tuple[str, ...] = ()


def read_reachable() -> Step:
    return server.wait(
        base_url=settings.NEXUS_ROCKETCHAT_URL,
        ca_file=settings.NEXUS_ROCKETCHAT_CA,
        limit_s=0.0,
        sleep=lambda _s: None,
    )


def judge_step(step: Step) -> Finding:
    """A step of bootstrap, in the doctor's words."""
    if step.verdict is Verdict.FAILED:
        return critical(f"{step.subject}: {step.text}", SURE)
    if step.verdict is Verdict.NOTE:
        return warning(f"{step.subject}: {step.text}", SURE)
    return good(f"{step.subject}: {step.text}")


def judge_steps(steps: Sequence[Step]) -> Finding:
    """The worst decides; the others like it are told with it."""
    for verdict in (Verdict.FAILED, Verdict.NOTE):
        found = [one for one in steps if one.verdict is verdict]
        if found:
            return judge_step(
                Step(
                    verdict,
                    found[0].subject,
                    "; ".join([found[0].text, *(f"{one.subject}: {one.text}" for one in found[1:])]),
                )
            )
    return good("the admin's rights and the server's settings are as Nexus needs them")


def read_broken() -> list[tuple[str, str]]:
    return list(
        BotAccount.objects.filter(is_broken=True).order_by("username").values_list("username", "broken_reason")
    )


def judge_broken(found: Sequence[tuple[str, str]]) -> Finding:
    if found:
        told = ", ".join(f"@{name} ({reason})" if reason else f"@{name}" for name, reason in found)
        return critical(f"these bot accounts can't log in to the chat: {told}", SURE)
    return good("no bot account was refused")


def judge_claims(count: int) -> Finding:
    if told := webhook_claims.problem(count=count):
        return critical(told, "set a new NEXUS_WEBHOOK_TOKEN, then run: manage.py bootstrap")
    return good(f"webhook calls of the last day that named no message of the chat: {count}")


def judge_password(is_set: bool) -> Finding:
    if not is_set:
        return warning(
            "NEXUS_ROCKETCHAT_ADMIN_PASSWORD is not set, so create_bridge and bootstrap can't make accounts",
            "set it, or leave it so once everything is set up",
        )
    return good("the chat's admin is known")


# Deep: what asks the chat with somebody's login


def read_server() -> list[Step]:
    if not settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD:
        return []
    try:
        with admin_login() as admin:
            steps = list(server.check(admin, wants_hook=bool(settings.NEXUS_WEBHOOK_TOKEN)))
            if settings.NEXUS_WEBHOOK_TOKEN:
                steps += hook.look(admin, url=settings.NEXUS_WEBHOOK_URL)
            return [*steps, *_registration(admin)]
    except RestError as error:
        return [Step(Verdict.FAILED, "admin", server.login_cure(error))]


def _registration(admin: Caller) -> list[Step]:
    """Whoever may make himself an account may ask agents that a whole room may ask."""
    call = admin_calls.public_settings(names=("Accounts_RegistrationForm", "Accounts_AllowedDomainsList"))
    found = {
        str(one.get("_id")): one.get("value")
        for one in calls.texts(admin.call(call).get("settings"))
        if isinstance(one, dict)
    }
    if found.get("Accounts_RegistrationForm") == "Public" and not found.get("Accounts_AllowedDomainsList"):
        return [
            Step(
                Verdict.NOTE,
                "registration",
                "anybody may make an account in the chat; set Accounts_RegistrationForm to Disabled or SecretURL",
            )
        ]
    return []


def read_accounts() -> list[Account]:
    return [_ask(row) for row in BotAccount.objects.order_by("username")]


def _ask(row: BotAccount) -> Account:
    try:
        with _as(row) as caller:
            roles = calls.texts(caller.me().get("roles"))
            # What we believe is read first: who has just been invited is not missed.
            wanted = _rooms_of(row)
            there = caller.room_ids() if wanted else set()
            missing = sorted(name for rid, name in wanted.items() if rid not in there)
    except UnauthorizedError:
        return Account(row.username, error="its access token is refused")
    except (RestError, UnreadableSecretError) as error:
        return Account(row.username, error=str(error))
    return Account(row.username, roles=tuple(str(one) for one in roles), missing=tuple(missing))


def _rooms_of(row: BotAccount) -> dict[str, str]:
    """By the chat's id, the names of the rooms where its agent can be asked. `nexus` may be in none."""
    rooms = Room.objects.filter(members__agent=row.agent_id, is_archived=False).exclude(kind=RoomKind.DM)
    return {} if row.agent_id is None else {room.rid: str(room) for room in rooms}


def _as(row: BotAccount) -> Caller:
    return Caller(
        base_url=settings.NEXUS_ROCKETCHAT_URL,
        user_id=row.rocketchat_id,
        token=unseal(row.access_token),
        ca_file=settings.NEXUS_ROCKETCHAT_CA,
    )


def judge_accounts(found: Sequence[Account]) -> Finding:
    mute = [f"@{one.username} ({one.error})" for one in found if one.error]
    if mute:
        return critical(f"these bot accounts don't work: {', '.join(mute)}", SURE)
    mighty = [f"@{one.username}" for one in found if "admin" in one.roles]
    if mighty:
        return critical(
            f"these bot accounts are admins of the chat: {', '.join(mighty)}",
            "take the role admin from them: a bot needs bot and user",
        )
    absent = [f"@{one.username} in {', '.join(one.missing)}" for one in found if one.missing]
    if absent:
        return critical(
            f"these bot accounts are no members of rooms where they can be asked: {'; '.join(absent)}",
            "invite them there again, or start the chat process anew, which looks who is where",
        )
    plain = [f"@{one.username}" for one in found if "bot" not in one.roles]
    if plain:
        return warning(f"without the role bot, people's limits bind {', '.join(plain)}", "give them the role bot")
    return good(f"{len(found)} bot accounts work, none is an admin")


def read_posting() -> Step | None:
    """Edits the one message that bootstrap wrote to the admin, to what it says already."""
    row = BotAccount.objects.filter(agent=None, username=SERVICE).first()
    if row is None or not settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD:
        return None
    told: list[Step] = []
    try:
        with admin_login() as admin:
            server.probe(admin, bot=Bot(row.rocketchat_id, row.username, unseal(row.access_token)), tell=told.append)
    except (RestError, UnreadableSecretError) as error:
        return Step(Verdict.FAILED, "posting", str(error))
    return told[-1]


def judge_posting(step: Step | None) -> Finding:
    return (
        skipped("bootstrap has not made @nexus yet, or the admin's password is not set")
        if step is None
        else judge_step(step)
    )


CHECKS: Final = (
    Check("chat.reachable", read_reachable, judge_step),
    Check("chat.refused", read_broken, judge_broken, ("database.migrations",)),
    Check("chat.webhook_calls", webhook_claims.today, judge_claims, ("database.migrations",)),
    Check("chat.admin", lambda: bool(settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD), judge_password),
    Check("chat.server", read_server, judge_steps, NEEDS, is_deep=True),
    Check("chat.accounts", read_accounts, judge_accounts, NEEDS, is_deep=True),
    Check("chat.posting", read_posting, judge_posting, NEEDS, is_deep=True),
)
