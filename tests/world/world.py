"""A whole Nexus as real processes, with people, rooms and bridges, for tests that look at it from outside."""

import json
import secrets
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import psycopg
import redis
from psycopg.rows import dict_row

from docker.programs import ALL
from docker.stack import Stack
from gateway.demo import chat
from gateway.demo.chat import Person
from gateway.rocketchat.admin import Login
from tests.world.leftovers import Mark

RECORDING_CLI = Path(__file__).resolve().parent.parent / "fakes" / "recording_cli.py"
PROGRAMS = tuple(name for name in ALL if name != "bridge")
LOOK_EVERY_S = 0.05
START_TIMEOUT_S = 120.0

T = TypeVar("T")


class WorldError(AssertionError):
    """Something did not happen in time; the text says what was there instead."""


@dataclass(frozen=True, slots=True)
class Room:
    rid: str
    name: str
    is_private: bool


@dataclass(frozen=True, slots=True)
class Bridged:
    """An agent of a person behind a bridge of its own."""

    slug: str
    owner: str
    bridge: str
    config_path: Path
    token: str = field(repr=False)


class World:
    """Order of calls: `start`, then anything, at last `stop`, which returns what is left running."""

    def __init__(
        self,
        *,
        directory: Path,
        settings: Mapping[str, str] | None = None,
        programs: Collection[str] = PROGRAMS,
        front_url: str = "",
        stack: Stack | None = None,
    ) -> None:
        """`front_url` is where bridges reach the hub, if not at the gateway itself; `stack` another way to run the programs."""
        self.directory = directory
        self.ledger_dir = directory / "ledger"
        self.mark = Mark()
        self.stack = stack or Stack(
            state_dir=directory / "state",
            programs=programs,
            settings=settings,
            is_durable=False,
            chat_arguments=("--no-limits",),
        )
        self._front_url = front_url
        self.people: dict[str, Person] = {}
        self.agents: dict[str, Bridged] = {}
        self.passwords: dict[str, str] = {}
        self._admin: Person | None = None

    # Coming up and going down

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ledger_dir.mkdir(exist_ok=True)
        self.mark.set()
        try:
            self.stack.start(timeout_s=START_TIMEOUT_S)
        except BaseException:
            self.mark.remove()
            raise
        password = self.stack.env["NEXUS_ROCKETCHAT_ADMIN_PASSWORD"]
        self._admin = chat.log_in(url=self.stack.chat_url, username="admin", password=password)
        self._webhook(password)

    def stop(self) -> list[str]:
        for person in [*self.people.values(), *([self._admin] if self._admin else [])]:
            person.session.close()
        self.stack.stop()
        self.mark.remove()
        return self.mark.wait_gone(timeout_s=10.0)

    @contextmanager
    def running(self) -> Iterator[Self]:
        """From start to stop; nothing of it may be left."""
        self.start()
        try:
            yield self
        finally:
            left = self.stop()
        assert not left, f"left running: {left}"

    def _webhook(self, password: str) -> None:
        """As `make bootstrap` makes it."""
        with Login(base_url=self.stack.chat_url, user="admin", password=password) as admin:
            url = self.stack.env.get("NEXUS_WEBHOOK_URL") or f"{self.stack.gateway_url}/rc/webhook"
            token = self.stack.env["NEXUS_WEBHOOK_TOKEN"]
            admin.create_webhook(name="nexus", url=url, token=token, username="rocket.cat")

    @property
    def admin(self) -> Person:
        if self._admin is None:
            raise RuntimeError("The world was not started.")
        return self._admin

    # People, rooms, agents

    def person(self, name: str) -> Person:
        """Logged in; made at the first call."""
        if name not in self.people:
            password = self.passwords[name] = secrets.token_urlsafe(12)
            chat.make_person(admin=self.admin, username=name, name=name.title(), password=password)
            self.people[name] = chat.log_in(url=self.stack.chat_url, username=name, password=password)
        return self.people[name]

    def room(self, name: str, *, owner: str, members: list[str], is_private: bool = False) -> Room:
        for member in members:
            self.person(member)
        rid = chat.make_room(owner=self.person(owner), name=name, members=members, is_private=is_private)
        return Room(rid, name, is_private)

    def agent(
        self, *, owner: str, role: str = "", parallel: int = 1, pace_ms: int = 2, is_started: bool = True
    ) -> Bridged:
        """An echo agent that everybody in its rooms may ask, made as an administrator would, and its bridge."""
        self.person(owner)
        words = ["create_bridge", owner, "echo", "--json", "--print-token", *(["--role", role] if role else [])]
        done = self.stack.manage(*words)
        if done.returncode != 0:
            raise WorldError(f"create_bridge failed:\n{done.stdout}\n{done.stderr}")
        made = json.loads(done.stdout.splitlines()[-1])
        slug = made["slug"]
        self.query(
            "UPDATE agents SET who_may_ask = 'room', parallel = %s WHERE slug = %s RETURNING id", parallel, slug
        )
        path = self._write_config(slug=slug, token=made["token"], parallel=parallel, pace_ms=pace_ms)
        bridged = Bridged(
            slug=slug,
            owner=owner,
            bridge=f"bridge-{slug}",
            config_path=path.with_name("bridge.toml"),
            token=made["token"],
        )
        self.agents[slug] = bridged
        self.stack.add_bridge(bridged.bridge, config_path=bridged.config_path)
        if is_started:
            self.start_bridge(bridged)
        return bridged

    def start_bridge(self, bridged: Bridged) -> None:
        """Its first start, until it is online."""
        self.release_bridge(bridged)
        self.wait_online(bridged.slug)

    def release_bridge(self, bridged: Bridged) -> None:
        """Its first start: the supervisor waits for the configuration."""
        bridged.config_path.with_name("bridge.draft").replace(bridged.config_path)

    def revoke(self, bridged: Bridged) -> None:
        """As the admin does."""
        (row,) = self.query("SELECT id FROM bridges WHERE name = %s", bridged.slug)
        words = f"from gateway import bridges; bridges.revoke(bridge_id={row['id']}, actor='test')"
        done = self.stack.manage("shell", "-v", "0", "-c", words)
        if done.returncode != 0:
            raise WorldError(f"the bridge was not revoked:\n{done.stderr}")

    def invite(self, room: Room, *, owner: str, slugs: list[str]) -> None:
        """The agents join, and Nexus knows it."""
        for slug in slugs:
            user = self.admin.get("users.info", username=slug)["user"]
            kind = "groups" if room.is_private else "channels"
            self.person(owner).post(f"{kind}.invite", roomId=room.rid, userId=user["_id"])
        self.wait_in_room(room, slugs)

    def wait_in_room(self, room: Room, slugs: list[str]) -> None:
        query = (
            "SELECT a.slug FROM room_members m JOIN rooms r ON r.id = m.room_id JOIN agents a ON a.id = m.agent_id"
            " WHERE r.rid = %s"
        )
        self.until(
            lambda: set(slugs) <= {row["slug"] for row in self.query(query, room.rid)},
            what=f"{slugs} are known to be in #{room.name}",
            timeout_s=60,
        )

    def wait_online(self, *slugs: str, timeout_s: float = 60) -> None:
        query = (
            "SELECT a.slug FROM agents a JOIN bridges b ON b.id = a.bridge_id"
            " WHERE b.lease_until > now() AND b.revoked_at IS NULL"
        )
        self.until(
            lambda: set(slugs) <= {row["slug"] for row in self.query(query)},
            what=f"{slugs} are online",
            timeout_s=timeout_s,
        )

    def _write_config(self, *, slug: str, token: str, parallel: int, pace_ms: int) -> Path:
        """As a draft beside the place where the bridge looks for it."""
        home = self.directory / "bridges" / slug
        (home / "work").mkdir(parents=True)
        command = [sys.executable, "-B", str(RECORDING_CLI), str(self.ledger_dir), slug, str(parallel)]
        text = f"""\
hub = {json.dumps((self._front_url or self.stack.gateway_url).replace("http", "ws", 1))}
token = {json.dumps(token)}
journal = {json.dumps(str(home / "journal"))}

[limits]
stop_grace_s = 1

[[agent]]
slug = {json.dumps(slug)}
cli = "echo"
command = {json.dumps(command)}
workdir = {json.dumps(str(home / "work"))}
parallel = {parallel}

[agent.options]
scripted = "true"
pace_ms = "{pace_ms}"
"""
        draft = home / "bridge.draft"
        draft.touch(mode=0o600)
        draft.write_text(text, encoding="utf-8")
        return draft

    # Looking

    def query(self, text: str, *values: Any) -> list[dict[str, Any]]:
        """Rows of Nexus's own database."""
        with psycopg.connect(
            self.stack.env["NEXUS_DATABASE_URL"], autocommit=True, row_factory=dict_row, connect_timeout=10
        ) as connection:
            cursor = connection.execute(text, values)
            return cursor.fetchall() if cursor.description else []

    def chat_state(self) -> dict[str, Any]:
        """Everything the chat holds, from its door for tests."""
        answer = self.admin.session.get(f"{self.stack.chat_url}/devchat/state", timeout=30)
        answer.raise_for_status()
        state: dict[str, Any] = answer.json()
        return state

    def tell_chat(self, word: str, body: Mapping[str, Any]) -> None:
        """At its door for tests: faults, restart_sockets, switches."""
        url = f"{self.stack.chat_url}/devchat/{word}"
        self.admin.session.post(url, json=dict(body), timeout=30).raise_for_status()

    def forget_chat_faults(self) -> None:
        self.admin.session.delete(f"{self.stack.chat_url}/devchat/faults", timeout=30).raise_for_status()

    def flush_redis(self) -> None:
        with redis.Redis.from_url(self.stack.env["NEXUS_REDIS_URL"], socket_timeout=5) as connection:
            connection.flushall()

    def until(self, look: Callable[[], T], *, what: str, timeout_s: float = 30.0) -> T:
        """The first true answer of `look`. Raises WorldError with the last other one."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > deadline:
                raise WorldError(f"not within {timeout_s:.0f} s: {what}; last seen: {found!r}")
            time.sleep(LOOK_EVERY_S)
