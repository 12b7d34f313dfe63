"""Is the server there, may we do what we need there, and what of its settings will bite later?"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from gateway.bootstrap.bots import Bot
from gateway.bootstrap.steps import Say, Step, done, failed, note, same
from gateway.invocations import chat_message_id
from gateway.rocketchat import calls
from gateway.rocketchat.admin import Caller, Login
from gateway.rocketchat.calls import RateLimitedError, RefusedError, RestError, UnauthorizedError, UnreachableError

LOOK_EVERY_S: Final = 1.0
OLDEST: Final = (7, 10)
PROBE_TEXT: Final = "Nexus is set up. Agents can post here."
SMALLEST_MESSAGE: Final = 5_000
SETTINGS: Final = ("Message_MaxAllowedSize", "Message_AllowEditing", "UI_Use_Real_Name", "API_Enable_Rate_Limiter")

NEEDED: Final = {
    "create-user": "makes the bots' accounts",
    "edit-other-user-info": "renews a bot's access",
    "edit-other-user-password": "renews a bot's access",
    "view-full-other-user-info": "tells accounts of ours from others",
}
NEEDED_FOR_HOOK: Final = {"manage-outgoing-integrations": "makes the webhook"}
BOT_NEEDS: Final = {
    "api-bypass-rate-limit": "answers are edited less often and come later, within 10 calls a minute",
    "send-many-messages": "an agent posts at most 5 messages a second",
}
TOKENS: Final = "create-personal-access-tokens"

CURES: Final = {
    "totp-required": "the account wants a second factor ({method}). For the admin: run again with --code CODE; for a bot: "
    "turn off Accounts_TwoFactorAuthentication_By_Email_Auto_Opt_In and e-mail verification for it, then run again",
    "restricted-workspace": "the workspace is restricted: it has no licence and its usage statistics have not reached Rocket.Chat "
    "for 10 days. Let the server reach collector.rocket.chat with Statistics_reporting on, or register a (free) licence; "
    "until then nobody can post by API",
    "error-unauthorized": "the admin account lacks a permission for this: Administration > Permissions",
    "not-authorized": "permission missing: give create-personal-access-tokens to the role bot, Administration > Permissions",
    "error-invalid-user": "the account it names does not exist there",
    "error-avatar-invalid-url": "pictures can't be set",
}


def wait(*, base_url: str, ca_file: str, limit_s: float, sleep: Callable[[float], None]) -> Step:
    """Until the server answers, at most `limit_s`."""
    subject = f"server {base_url}"
    waited_s = 0.0
    while True:
        try:
            with Caller(base_url=base_url, ca_file=ca_file) as anybody:
                return _version_step(subject, anybody.version())
        except (UnreachableError, RateLimitedError) as error:
            if waited_s >= limit_s:
                text = f"no answer within {limit_s:.0f} s ({error}); is it running, and is NEXUS_ROCKETCHAT_URL right?"
                return failed(subject, text)
        except RestError as error:
            return failed(subject, f"this is not Rocket.Chat ({error}); set NEXUS_ROCKETCHAT_URL")
        sleep(LOOK_EVERY_S)
        waited_s += LOOK_EVERY_S


def _version_step(subject: str, version: str) -> Step:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers and numbers < OLDEST:
        return note(subject, f"Rocket.Chat {version} answers; Nexus is made for 8, the oldest it tolerates is 7.10")
    return same(subject, f"Rocket.Chat {version or 'of unknown version'} answers")


def login_cure(error: RestError) -> str:
    match error:
        case UnauthorizedError():
            return (
                "the chat refuses the admin's name or password: NEXUS_ROCKETCHAT_ADMIN, "
                "NEXUS_ROCKETCHAT_ADMIN_PASSWORD (five minutes' pause after ten wrong ones)"
            )
        case RefusedError() if "totp-required" in error.codes:
            return f"admin login: {cure(error)}"
        case RateLimitedError():
            return f"the chat limits logins ({error}); run again later"
    return f"admin login: {error}"


def cure(error: RefusedError) -> str:
    """What the refusal means and what to do; the chat's own words where nothing better is known."""
    for code in sorted(error.codes & CURES.keys()):
        return f"{CURES[code].format(method=error.details.get('method', 'unknown'))} [{code}]"
    return str(error)


def check(admin: Login, *, wants_hook: bool) -> Iterator[Step]:
    yield same("admin", f"logged in as @{admin.username}")
    try:
        grants = admin.grants()
    except RefusedError as error:
        yield note("permissions", f"can't be read: {cure(error)}")
    else:
        yield from _check_admin(admin, grants, wants_hook=wants_hook)
        yield from _check_bots(admin, grants)
    yield from _check_settings(admin.settings(names=SETTINGS))


def _check_admin(admin: Login, grants: dict[str, set[str]], *, wants_hook: bool) -> Iterator[Step]:
    needed = NEEDED | (NEEDED_FOR_HOOK if wants_hook else {})
    missing = [name for name in needed if not grants.get(name, set()) & set(admin.roles)]
    for name in missing:
        roles = ", ".join(admin.roles) or "none"
        yield failed(
            f"permission {name}",
            f"@{admin.username} (roles: {roles}) lacks it, and it {needed[name]}; Administration > Permissions",
        )
    if not missing:
        yield same("permissions", "the admin account has what it needs")


def _check_bots(admin: Login, grants: dict[str, set[str]]) -> Iterator[Step]:
    """Roles of ours are `bot` and `user`; stock servers grant tokens to `user`."""
    if not grants.get(TOKENS, set()) & {"bot", "user"}:
        try:
            admin.allow(grants={TOKENS: tuple(sorted(grants.get(TOKENS, set()) | {"bot"}))})
            yield done(f"permission {TOKENS}", "given to the role bot, so that bots make their own access tokens")
        except RefusedError as error:
            yield failed(f"permission {TOKENS}", f"the role bot needs it: {cure(error)}")
    for name, price in BOT_NEEDS.items():
        if "bot" not in grants.get(name, set()):
            yield note(f"permission {name}", f"the role bot has lost it: {price}. Give it back for smooth streaming")


def _check_settings(found: dict[str, object]) -> Iterator[Step]:
    size = found.get("Message_MaxAllowedSize")
    if isinstance(size, int) and size < SMALLEST_MESSAGE:
        yield failed(
            "setting Message_MaxAllowedSize", f"is {size}: answers are cut at 4500, so set it to 5000 or more"
        )
    if found.get("Message_AllowEditing") is False:
        yield failed("setting Message_AllowEditing", "is off: answers stream by editing their message; turn it on")
    if found.get("UI_Use_Real_Name") is True:
        yield note("setting UI_Use_Real_Name", "is on: typing signs of agents are not shown")


def probe(admin: Login, *, bot: Bot, tell: Say) -> None:
    """A bot can post: one message to the admin, once; afterwards it is only edited to what it says already."""
    with Caller(base_url=admin.base_url, user_id=bot.user_id, token=bot.token, ca_file=admin.ca_file) as caller:
        rid = str(caller.open_direct(username=admin.username)["_id"])
        rc_id = chat_message_id(f"bootstrap:{rid}")
        try:
            caller.call(calls.get(rc_id=rc_id))
        except RefusedError:
            caller.call(calls.send(rid=rid, rc_id=rc_id, text=PROBE_TEXT))
            tell(done("posting", f"@{bot.username} wrote to @{admin.username}"))
            return
        caller.call(calls.update(rid=rid, rc_id=rc_id, text=PROBE_TEXT))
        tell(same("posting", f"@{bot.username} can post"))
