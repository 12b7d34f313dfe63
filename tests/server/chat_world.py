"""A chat process in the test's own loop against a devchat of its own, with the usual people and agents."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from django.db.models import QuerySet

from gateway.chat.process import ChatProcess
from gateway.models import Agent, BotAccount, User
from gateway.rocketchat import calls
from gateway.rocketchat.admin import Login
from gateway.secrets import seal

ADMIN_PASSWORD = "the admin's password"
PASSWORD = "a person's password"
PATIENCE_S = 20.0


@contextmanager
def devchat_process(folder: Path) -> Iterator[str]:
    """Yields its URL."""
    port_file = folder / "port"
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.devchat", "--port", "0", "--port-file", str(port_file), "--no-limits"],
        env={**os.environ, "ADMIN_PASS": ADMIN_PASSWORD},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{_wait_for_port(port_file)}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_port(port_file: Path) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        text = port_file.read_text() if port_file.exists() else ""
        if text.endswith("\n"):
            try:
                httpx.get(f"http://127.0.0.1:{int(text)}/api/info")
                return int(text)
            except httpx.TransportError:
                pass
        time.sleep(0.02)
    raise TimeoutError("devchat did not start")


class Person:
    """Somebody with a login. What he does goes by REST."""

    def __init__(self, *, url: str, username: str, password: str = PASSWORD) -> None:
        self.login = Login(base_url=url, user=username, password=password).__enter__()
        self.username = username
        self.id = self.login.user_id

    def say(self, rid: str, text: str, **more: Any) -> dict[str, Any]:
        message = {"rid": rid, "msg": text} | more
        return self.login.call(calls.Call("POST", "chat.sendMessage", body={"message": message}))["message"]

    def edit(self, rid: str, rc_id: str, text: str) -> None:
        self.login.call(calls.update(rid=rid, rc_id=rc_id, text=text))

    def delete(self, rid: str, rc_id: str) -> None:
        self.login.call(calls.delete(rid=rid, rc_id=rc_id))

    def react(self, rc_id: str, emoji: str) -> None:
        self.login.call(calls.react(rc_id=rc_id, emoji=emoji, is_on=True))


class Chat:
    """A fresh workspace of a running devchat."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.control("reset")
        self.admin = Person(url=url, username="admin", password=ADMIN_PASSWORD)

    def control(self, door: str, body: Any = None, *, method: str = "POST") -> Any:
        response = httpx.request(method, f"{self.url}/devchat/{door}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def fault(self, action: str, match: dict[str, str], **options: Any) -> None:
        self.control("faults", {"action": action, "match": match, **options})

    def person(self, username: str, *, roles: tuple[str, ...] = ("user",)) -> Person:
        self.admin.login.create_user(
            username=username, name=username.title(), email=f"{username}@x.org", password=PASSWORD, roles=roles
        )
        return Person(url=self.url, username=username)

    def agent(self, slug: str, *, owner: User | None = None, **values: Any) -> Agent:
        """An agent whose bot account exists on both sides."""
        bot = self.person(slug, roles=("user", "bot"))
        token = bot.login.personal_token(name="nexus")
        values = {"cli_kind": "echo", "who_may_ask": "room"} | values
        agent = Agent.objects.create(slug=slug, owner=owner, **values)
        BotAccount.objects.create(agent=agent, rocketchat_id=bot.id, username=slug, access_token=seal(token))
        return agent

    def room(self, name: str, *members: str, kind: str = "p") -> str:
        return str(self.admin.login.create_room(kind=kind, name=name, members=members)["_id"])

    def invite(self, rid: str, username: str, *, kind: str = "p") -> None:
        user = self.admin.login.find_user(username=username)
        assert user is not None
        self.admin.login.invite(rid=rid, kind=kind, user_id=user["_id"])


@asynccontextmanager
async def chat_process(url: str, **values: Any) -> AsyncIterator[ChatProcess]:
    process = ChatProcess(base_url=url, **values)
    stop = asyncio.Event()
    task = asyncio.create_task(process.run(stop))
    try:
        yield process
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


async def until(look: Callable[[], Any], *, what: str) -> Any:
    """What `look` finds in the database, once it finds something."""
    found: Any = None

    def read() -> Any:
        seen = look()
        return list(seen) if isinstance(seen, QuerySet) else seen

    async def wait() -> None:
        nonlocal found
        while not found:
            found = await sync_to_async(read)()
            if not found:
                await asyncio.sleep(0.02)

    try:
        await asyncio.wait_for(wait(), PATIENCE_S)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None
    return found


async def online(process: ChatProcess, count: int = 1) -> None:
    """So many accounts are connected and know their rooms."""

    async def wait() -> None:
        while sum(one.is_online and bool(one.rooms) for one in process.accounts.values()) < count:
            await asyncio.sleep(0.02)

    await asyncio.wait_for(wait(), PATIENCE_S)
