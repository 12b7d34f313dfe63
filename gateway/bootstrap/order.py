"""The order of the steps. A step that fails does not keep the later ones from being done; a second run goes on from there."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from django.conf import settings
from django.db import connection

from gateway.bootstrap import bots, hook, places, server
from gateway.bootstrap.steps import Say, Step, Verdict, failed
from gateway.bridges.accounts import admin_login
from gateway.bridges.errors import BridgeError
from gateway.models import Agent
from gateway.rocketchat.admin import Login, Patience
from gateway.rocketchat.calls import RefusedError, RestError

T = TypeVar("T")
LOCK: Final = 0x6E7862
"""Advisory lock: two runs at once would renew each other's tokens."""

PATIENCE_S: Final = 900.0
"""Rocket.Chat allows ten logins a minute from one address, so a run with fifty new accounts waits minutes."""


class BootstrapError(Exception):
    """Nothing more can be done before a person acts; the text says what."""


@dataclass(frozen=True, slots=True)
class Options:
    """`rooms`: where every agent and `nexus` are invited. `code`: a second factor's. `hook_url`: empty: no webhook."""

    rooms: tuple[str, ...] = ()
    code: str = ""
    hook_url: str = ""
    wait_s: float = 180.0


def run(*, options: Options, say: Say, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Do what is missing, one step a line. Whether all is as it should be. Raises BootstrapError."""
    verdicts: list[Verdict] = []

    def tell(step: Step) -> None:
        verdicts.append(step.verdict)
        say(step)

    with _alone():
        url, ca_file = settings.NEXUS_ROCKETCHAT_URL, settings.NEXUS_ROCKETCHAT_CA
        tell(server.wait(base_url=url, ca_file=ca_file, limit_s=options.wait_s, sleep=sleep))
        if Verdict.FAILED in verdicts:
            return False
        try:
            with admin_login(code=options.code, patience=Patience(limit_s=PATIENCE_S, sleep=sleep)) as admin:
                _steps(admin, options=options, tell=tell)
        except RestError as error:
            raise BootstrapError(server.login_cure(error)) from error
    return Verdict.FAILED not in verdicts


def _steps(admin: Login, *, options: Options, tell: Say) -> None:
    for step in server.check(admin, wants_hook=bool(options.hook_url)):
        tell(step)
    nexus = _guarded("bot account @nexus", tell, partial(bots.ensure_service, admin, tell=tell))
    agents = Agent.objects.filter(is_enabled=True).select_related("owner", "bot_account").order_by("slug")
    members = [nexus] if nexus else []
    for agent in agents:
        bot = _guarded(f"bot account @{agent.slug}", tell, partial(bots.ensure_agent, admin, agent, tell=tell))
        members += [bot] if bot else []
    for name in options.rooms:
        _guarded(f"room {name}", tell, partial(places.ensure, admin, name=name, bots=members, tell=tell))
    if options.hook_url:
        _guarded("webhook", tell, partial(hook.ensure, admin, url=options.hook_url, tell=tell))
    if nexus:
        _guarded("posting", tell, partial(server.probe, admin, bot=nexus, tell=tell))


def _guarded(subject: str, tell: Say, step: Callable[[], T]) -> T | None:
    """A step that can't be done is told with its cure, and the next ones are tried."""
    try:
        return step()
    except RefusedError as error:
        tell(failed(subject, server.cure(error)))
    except (RestError, BridgeError) as error:
        tell(failed(subject, str(error)))
    return None


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            raise BootstrapError("another bootstrap is at work; wait until it is done")
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
