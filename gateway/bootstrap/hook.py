"""The outgoing webhook: there once, with our address and token, and switched on."""

import hmac
from typing import Final

from django.conf import settings

from gateway.bootstrap.steps import Say, Step, done, failed, same
from gateway.rocketchat.admin import Login
from gateway.rocketchat.events import Document

NAME: Final = "nexus"
USERNAME: Final = "rocket.cat"
"""Who would post an answer of the webhook's; Nexus never answers with one."""

_OTHER: Final = "an old one with another address, token, scope or occasion is removed"
_OFF: Final = "one that was switched off is removed (Rocket.Chat does that itself when an address answers 410, as a wrong proxy may)"

CHANNELS: Final = {"all_public_channels", "all_private_groups", "all_direct_messages"}


def ensure(admin: Login, *, url: str, tell: Say) -> None:
    """One integration of our name. One that differs or is switched off is made anew: the token in .env says it is wanted."""
    found = [one for one in admin.webhooks() if one.get("name") == NAME]
    right = [one for one in found if _is_right(one, url=url) and one.get("enabled") is True]
    for one in found:
        if not right or one is not right[0]:
            admin.remove_webhook(integration_id=str(one["_id"]))
            tell(done("webhook", _OFF if one.get("enabled") is not True else _OTHER))
    if right:
        tell(same("webhook", f"calls {url}"))
        return
    admin.create_webhook(name=NAME, url=url, token=settings.NEXUS_WEBHOOK_TOKEN, username=USERNAME)
    tell(done("webhook", f"made; it calls {url}"))


def look(admin: Login, *, url: str) -> list[Step]:
    """What `ensure` would find, without changing it."""
    found = [one for one in admin.webhooks() if one.get("name") == NAME and _is_right(one, url=url)]
    if not found:
        return [
            failed(
                "webhook",
                "there is none with our address, token and scope that calls again after a failure and not on edits",
            )
        ]
    if not any(one.get("enabled") is True for one in found):
        return [failed("webhook", "is switched off, so rooms that nobody listens in are looked at once a minute only")]
    return [same("webhook", f"calls {url}")]


def _is_right(one: Document, *, url: str) -> bool:
    token, channels = one.get("token"), one.get("channel")
    is_ours = isinstance(token, str) and hmac.compare_digest(token.encode(), settings.NEXUS_WEBHOOK_TOKEN.encode())
    is_everywhere = isinstance(channels, list) and set(channels) >= CHANNELS
    # A call that is not repeated is lost while the gateway restarts; edits come by the live connection and by catch-up.
    is_on_time = one.get("retryFailedCalls") is not False and not one.get("runOnEdits")
    is_called = one.get("urls") == [url] and one.get("event") == "sendMessage"
    return is_ours and is_everywhere and is_on_time and is_called
