"""Which server is asked? The devchat, or a real Rocket.Chat that RC_URL names. The cases are the same.

Everything is made under names of this run and taken away at its end, so a server in use may be asked too.
"""

import contextlib
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.rocketchat.admin import Login, Patience
from gateway.rocketchat.calls import Call, RestError
from tests.contract.conftest import ADMIN_PASSWORD, Person, start_devchat
from tests.contract.ddp_client import DdpClient

PASSWORD = f"Conformance-{secrets.token_hex(8)}"
BOT_ROLES = ("user", "bot")
# A real server limits logins to ten a minute from one address.
PATIENCE_S = 120.0


@dataclass
class Target:
    """The server asked, its admin, and what was made there."""

    url: str
    http: httpx.Client
    admin: Login
    run: str = field(default_factory=lambda: secrets.token_hex(3))
    people: dict[str, Person] = field(default_factory=dict)
    rooms: list[tuple[str, str]] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)

    def person(self, name: str, *, roles: tuple[str, ...] = BOT_ROLES) -> Person:
        """An account of this run, with a personal access token: bots' rights spare the cases the limits for people."""
        if name in self.people:
            return self.people[name]
        username = f"{name}-{self.run}"
        made = self.admin.create_user(
            username=username,
            name=username,
            email=f"{username}@conformance.invalid",
            password=PASSWORD,
            roles=roles,
        )
        login = Login(base_url=self.url, user=username, password=PASSWORD, patience=Patience(limit_s=PATIENCE_S))
        with login as account:
            token = account.personal_token(name="conformance")
        self.people[name] = Person(username, str(made["_id"]), token, self.http)
        return self.people[name]

    def room(self, owner: Person, *members: Person, kind: str = "p", **more: Any) -> str:
        family, key = ("groups", "group") if kind == "p" else ("channels", "channel")
        name = f"room-{self.run}-{secrets.token_hex(3)}"
        answer = owner.ok_post(f"{family}.create", name=name, members=[who.username for who in members], **more)
        rid = str(answer[key]["_id"])
        self.rooms.append((family, rid))
        return rid

    def clean_up(self) -> None:
        """Best effort: a server that has gone away keeps what it has."""
        steps = [
            Call("POST", "integrations.remove", body={"type": "webhook-outgoing", "integrationId": one})
            for one in self.hooks
        ]
        steps += [Call("POST", f"{family}.delete", body={"roomId": rid}) for family, rid in self.rooms]
        for who in self.people.values():
            body = {"userId": who.id, "confirmRelinquish": True}
            steps.append(Call("POST", "users.delete", body=body))
        for step in steps:
            with contextlib.suppress(RestError):
                self.admin.call(step)

    @asynccontextmanager
    async def realtime(self, person: Person | None = None) -> AsyncIterator[DdpClient]:
        socket_url = "ws" + self.url.removeprefix("http") + "/websocket"
        async with DdpClient.connect(socket_url) as client:
            if person is not None:
                result = await client.call("login", {"resume": person.token})
                assert result["result"]["id"] == person.id
            yield client


@pytest.fixture(scope="session", params=["RC_URL"] if os.environ.get("RC_URL") else ["8.8.1", "9.0.0"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[tuple[str, str, str]]:
    """URL, admin's name, admin's password. The devchat is asked as it is, and as version 9 is announced to be."""
    url = os.environ.get("RC_URL", "").rstrip("/")
    if url:
        yield url, os.environ.get("RC_ADMIN") or "admin", os.environ["RC_ADMIN_PASSWORD"]
        return
    process, port = start_devchat(tmp_path_factory.mktemp("conformance"))
    httpx.post(f"http://127.0.0.1:{port}/devchat/switches", json={"version": request.param}).raise_for_status()
    yield f"http://127.0.0.1:{port}", "admin", ADMIN_PASSWORD
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="session")
def target(server: tuple[str, str, str]) -> Iterator[Target]:
    url, user, password = server
    admin = Login(
        base_url=url,
        user=user,
        password=password,
        code=os.environ.get("RC_CODE", ""),
        patience=Patience(limit_s=PATIENCE_S),
    )
    with admin, httpx.Client(base_url=url, timeout=15, trust_env=False) as http:
        found = Target(url=url, http=http, admin=admin)
        yield found
        found.clean_up()


@pytest.fixture(scope="session")
def alice(target: Target) -> Person:
    return target.person("alice")


@pytest.fixture(scope="session")
def bob(target: Target) -> Person:
    return target.person("bob")


@pytest.fixture(scope="session")
def claude(target: Target) -> Person:
    """A bot account as Nexus makes them."""
    return target.person("claude")


@pytest.fixture
def room(target: Target, alice: Person, bob: Person, claude: Person) -> str:
    """A private room of Alice, Bob and the bot."""
    return target.room(alice, bob, claude)


@dataclass
class Catcher:
    """A web server that keeps the bodies it is sent."""

    url: str
    bodies: list[bytes] = field(default_factory=list)


@pytest.fixture
def catcher() -> Iterator[Catcher]:
    """Where a webhook can be caught. A real server must reach this machine: RC_HOOK_HOST names it."""
    host = os.environ.get("RC_HOOK_HOST", "")
    if os.environ.get("RC_URL") and not host:
        pytest.skip("RC_HOOK_HOST is not set: the server needs a name of this machine to call")
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"ok": true}')

        def log_message(self, *_arguments: object) -> None:
            return

    web = ThreadingHTTPServer(("0.0.0.0" if host else "127.0.0.1", 0), Handler)  # noqa: S104 - asked for by name
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    yield Catcher(f"http://{host or '127.0.0.1'}:{web.server_port}/hook", bodies)
    web.shutdown()
    web.server_close()
    thread.join(5)


def eventually(look: Callable[[], Any], *, limit_s: float = 10.0) -> Any:
    """What `look` finds once it finds something."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("never happened")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(PATIENCE_S + 60 if os.environ.get("RC_URL") else 60))
