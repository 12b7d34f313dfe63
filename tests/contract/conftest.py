"""Who is in the room, and how do they talk to the devchat? Alice and Bob are in it, Charlie is not."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.ddp_client import DdpClient

ROOT = Path(__file__).parents[2]
ADMIN_PASSWORD = "admin's password"
PASSWORD = "a password"
START_LIMIT_S = 20
# Tests of a real process on a busy machine; those that need longer say so themselves.
PROCESS_TIMEOUT_S = 30


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "devchat_port" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PROCESS_TIMEOUT_S))


def start_devchat(folder: Path, *flags: str, **environment: str) -> tuple[subprocess.Popen[bytes], int]:
    """Starts the stand-in on a free port and waits until it listens."""
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.devchat", "--port", "0", "--port-file", str(port_file), *flags],
        cwd=ROOT,
        env={**os.environ, "ADMIN_PASS": ADMIN_PASSWORD, **environment},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        text = port_file.read_text() if port_file.exists() else ""
        if text.endswith("\n") and _answers(int(text)):
            return process, int(text)
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise TimeoutError("devchat did not start")


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/info").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def devchat_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    process, port = start_devchat(
        tmp_path_factory.mktemp("devchat"), "--no-limits", CREATE_TOKENS_FOR_USERS_SECRET="token secret"
    )
    yield port
    process.terminate()
    process.wait(10)


class Clock:
    """A clock that stands until it is turned."""

    now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class Person:
    """One user's REST client. `ok` asserts success and gives the body."""

    username: str
    id: str
    token: str
    http: httpx.Client

    def post(self, route: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/api/v1/{route}", json=body, headers=self.headers)

    def get(self, route: str, **query: Any) -> httpx.Response:
        return self.http.get(f"/api/v1/{route}", params=query, headers=self.headers)

    def ok_post(self, route: str, **body: Any) -> dict[str, Any]:
        """Its answer, once the millisecond is over: what happens within one has no order in the chat."""
        answer = _ok(self.post(route, **body))
        time.sleep(0.001)
        return answer

    def ok_get(self, route: str, **query: Any) -> dict[str, Any]:
        return _ok(self.get(route, **query))

    def say(self, rid: str, text: str, **more: Any) -> dict[str, Any]:
        return dict(self.ok_post("chat.sendMessage", message={"rid": rid, "msg": text, **more})["message"])

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Auth-Token": self.token, "X-User-Id": self.id}


def _ok(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    body = response.json()
    assert body.get("success", True) is True
    return dict(body)


class Devchat:
    """A fresh workspace on the shared server."""

    def __init__(self, port: int, http: httpx.Client) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.http = http
        self.control("POST", "reset")
        self.admin = self.log_in("admin", ADMIN_PASSWORD)

    def control(self, method: str, door: str, body: Any = None, **query: str) -> dict[str, Any]:
        response = self.http.request(method, f"/devchat/{door}", json=body, params=query)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def switch(self, **changes: Any) -> None:
        self.control("POST", "switches", changes)

    def fault(self, action: str, match: dict[str, str], **options: Any) -> None:
        self.control("POST", "faults", {"action": action, "match": match, **options})

    def state(self, **query: str) -> dict[str, Any]:
        return self.control("GET", "state", **query)

    def log_in(self, username: str, password: str) -> Person:
        data = self.http.post("/api/v1/login", json={"user": username, "password": password}).json()["data"]
        return Person(username, data["userId"], data["authToken"], self.http)

    def add_user(self, username: str, *, roles: tuple[str, ...] = ("user",), **more: Any) -> Person:
        self.admin.ok_post(
            "users.create",
            username=username,
            name=username.title(),
            email=f"{username}@example.org",
            password=PASSWORD,
            roles=list(roles),
            **{"joinDefaultChannels": False, **more},
        )
        return self.log_in(username, PASSWORD)

    def add_room(self, name: str, *members: Person, family: str = "groups", owner: Person | None = None) -> str:
        body = (owner or self.admin).ok_post(f"{family}.create", name=name, members=[who.username for who in members])
        return str(body["group" if family == "groups" else "channel"]["_id"])

    @asynccontextmanager
    async def realtime(self, person: Person | None = None) -> AsyncIterator[DdpClient]:
        async with DdpClient.connect(f"ws://127.0.0.1:{self.port}/websocket") as client:
            if person is not None:
                await client.call("login", {"resume": person.token})
            yield client


@pytest.fixture
def devchat(devchat_port: int) -> Iterator[Devchat]:
    with httpx.Client(base_url=f"http://127.0.0.1:{devchat_port}", timeout=8) as http:
        yield Devchat(devchat_port, http)


@pytest.fixture
def alice(devchat: Devchat) -> Person:
    return devchat.add_user("alice")


@pytest.fixture
def bob(devchat: Devchat) -> Person:
    return devchat.add_user("bob")


@pytest.fixture
def charlie(devchat: Devchat) -> Person:
    return devchat.add_user("charlie")


@pytest.fixture
def claude(devchat: Devchat) -> Person:
    """A bot account as Nexus makes them."""
    return devchat.add_user("claude", roles=("user", "bot"))


@pytest.fixture
def room(devchat: Devchat, alice: Person, bob: Person) -> str:
    """A private room of Alice and Bob."""
    return devchat.add_room("backend", bob, owner=alice)
