"""Plays the demo: people, rooms, agents, a conversation that ends in a mention, and where to click."""

import os
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from gateway import bridges
from gateway.bootstrap import hook
from gateway.bridges.accounts import admin_login
from gateway.demo import chat, story
from gateway.models import Agent, Message
from gateway.rocketchat.calls import RestError
from nexus_bridge.programs import found_programs

PEOPLE = {"alice": "Alice", "bob": "Bob", "charlie": "Charlie"}
ADMIN_NAME = "demo"
OWNER = "alice"
ROOMS = (("backend", ("bob", "charlie"), False), ("leads", ("bob",), True))
GENERAL = "GENERAL"


class Command(BaseCommand):
    help = "Sets up the demo's people, rooms and agents, plays a conversation and shows what happens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="check the round trip and exit 0 or 1")

    def handle(self, *args: Any, **options: Any) -> None:
        started_at = time.monotonic()

        def say(text: str) -> None:
            self.stdout.write(f"[{time.monotonic() - started_at:5.1f} s] {text}")
            self.stdout.flush()

        try:
            admin, people = self._people(say)
            rooms = _rooms(people)
            _webhook(say)
            self._agents(admin, people, rooms, say)
            self._play(admin, people, rooms, say)
        except (story.StoryFailedError, chat.ChatRefusedError, bridges.BridgeError, RestError) as error:
            raise CommandError(f"the demo stopped: {error}") from error
        if not options["once"]:
            self._where_to_click(people)

    def _people(self, say: story.Say) -> tuple[chat.Person, dict[str, chat.Person]]:
        url = settings.NEXUS_ROCKETCHAT_URL
        admin = chat.log_in(
            url=url, username=settings.NEXUS_ROCKETCHAT_ADMIN, password=settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD
        )
        for username, name in PEOPLE.items():
            chat.make_person(admin=admin, username=username, name=name, password=_password(username))
        say(f"people in the chat: {', '.join(PEOPLE.values())}")
        return admin, {name: chat.log_in(url=url, username=name, password=_password(name)) for name in PEOPLE}

    def _agents(
        self, admin: chat.Person, people: dict[str, chat.Person], rooms: dict[str, str], say: story.Say
    ) -> None:
        made = bridges.create(
            user=OWNER, cli="echo", slug="echo", rooms=(), who_may_ask="room", parallel=1, actor="demo"
        )
        path = settings.NEXUS_STATE_DIR / "bridge" / "bridge.toml"
        if made.token or not path.exists():
            token = made.token or bridges.rotate(bridge_id=made.bridge_id, actor="demo", overlap_s=0)
            _write_bridge_config(path=path, token=token)
        slugs = ["echo", "shell-echo"]
        story.wait_online(slugs=slugs, say=say)
        if settings.NEXUS_HOST_CLIS:
            slugs += self._real_clis(say)
        for slug in slugs:
            _invite(admin=admin, owner=people[OWNER], rooms=rooms, slug=slug)

    def _real_clis(self, say: story.Say) -> list[str]:
        """Agents that runtime_host made for the real CLIs it found. What that means was said before anything started."""
        found = [kind for kind, _ in found_programs(os.environ)]
        if found:
            say(f"real CLIs join: {', '.join(found)}")
            story.wait_online(slugs=found, say=say)
        return found

    def _play(self, admin: chat.Person, people: dict[str, chat.Person], rooms: dict[str, str], say: story.Say) -> None:
        room_id = rooms["backend"]
        if not Message.objects.filter(room__rid=room_id, text=story.CONVERSATION[-1][1]).exists():
            say("the team talks in #backend:")
            story.talk(people=people, room_id=room_id, say=say)
        say("and asks:")
        turn = story.ask(
            person=people["bob"], watcher=admin, room_id=room_id, slug="echo", question=story.QUESTION, say=say
        )
        story.check(turn=turn)
        self.stdout.write("\n" + "\n".join(f"    | {line}" for line in turn.text.splitlines()) + "\n")

    def _where_to_click(self, people: dict[str, chat.Person]) -> None:
        password = _password(ADMIN_NAME)
        _make_admin(password)
        rows = "\n".join(f"      {name:8} {_password(name)}" for name in people)
        self.stdout.write(f"""
    Chat   {settings.NEXUS_ROCKETCHAT_URL}   (a stand-in for Rocket.Chat)
{rows}
    Admin  {settings.NEXUS_PUBLIC_URL}/admin/
      {ADMIN_NAME:8} {password}

    Try in #backend: @echo who wants to run MongoDB?   or   @shell-echo hello
    Or write @echo a direct message. Logs are in {_short(settings.NEXUS_STATE_DIR / "log")}.
    Ctrl-C stops everything.
""")
        self.stdout.flush()


def _webhook(say: story.Say) -> None:
    """As `make bootstrap` makes it on a team's host; without it the admin page would say that it is silent."""
    with admin_login() as admin:
        hook.ensure(admin, url=settings.NEXUS_WEBHOOK_URL, tell=lambda step: say(f"{step.subject}: {step.text}"))


def _rooms(people: dict[str, chat.Person]) -> dict[str, str]:
    made = {
        name: chat.make_room(owner=people[OWNER], name=name, members=list(members), is_private=is_private)
        for name, members, is_private in ROOMS
    }
    return {"general": GENERAL, **made}


def _invite(*, admin: chat.Person, owner: chat.Person, rooms: dict[str, str], slug: str) -> None:
    """Whoever owns a room invites the agent to it; where it already is, nothing changes."""
    bot = Agent.objects.select_related("bot_account").get(slug=slug).bot_account
    for name, room_id in rooms.items():
        kind = "groups" if name == "leads" else "channels"
        inviter = admin if room_id == GENERAL else owner
        inviter.post(f"{kind}.invite", roomId=room_id, userId=bot.rocketchat_id)


def _write_bridge_config(*, path: Path, token: str) -> None:
    """As `create_bridge` prints it, with the echo CLI for a command."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    workdir = path.parent / "work"
    workdir.mkdir(mode=0o700, exist_ok=True)
    body = bridges.config_text(
        hub=settings.NEXUS_PUBLIC_URL,
        token=token,
        slug="echo",
        cli="echo",
        command=[sys.executable, "-m", "nexus_bridge.echo_cli"],
        workdir=str(workdir),
        # Ids begin anew with each demo; the journal of a bridge of yours, or of another demo, has seen them.
        journal=str(path.parent / "journal"),
    )
    # The supervisor starts the bridge as soon as the file is there, so it appears whole.
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(body, encoding="utf-8")
    draft.replace(path)


def _make_admin(password: str) -> None:
    account, _ = get_user_model().objects.get_or_create(
        username=ADMIN_NAME, defaults={"is_staff": True, "is_superuser": True}
    )
    account.set_password(password)
    account.save()


def _password(username: str) -> str:
    return chat.demo_password(secret=settings.SECRET_KEY, username=username)


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
