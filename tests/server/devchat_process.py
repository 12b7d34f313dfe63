"""A devchat of its own, with Alice, Bob and a room in it."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from docker.ports import free_ports
from gateway.rocketchat.admin import Login

CHECKOUT = Path(__file__).resolve().parent.parent.parent
ADMIN, PASSWORD = "admin", "an-admin-of-tests-7"


@dataclass(frozen=True, slots=True)
class Devchat:
    url: str
    process: "subprocess.Popen[bytes]"

    def admin(self) -> Login:
        return Login(base_url=self.url, user=ADMIN, password=PASSWORD)


@contextlib.contextmanager
def running_devchat(directory: Path) -> Iterator[Devchat]:
    [port] = free_ports(1)
    env = {**os.environ, "ADMIN_PASS": PASSWORD, "ADMIN_USERNAME": ADMIN}
    argv = [sys.executable, "-m", "gateway.devchat", "--port", str(port), "--no-limits"]
    with (directory / f"devchat-{port}.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=CHECKOUT, env=env, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_answers(url)
        yield Devchat(url=url, process=process)
    finally:
        process.terminate()
        process.wait(10)


def people_and_rooms(chat: Devchat) -> None:
    """Alice and Bob; #backend, which is theirs."""
    with chat.admin() as admin:
        for name in ("alice", "bob"):
            if admin.find_user(username=name) is None:
                admin.create_user(
                    username=name,
                    name=name.title(),
                    email=f"{name}@x.invalid",
                    password="a-long-word-8",
                    roles=("user",),
                )
        if admin.find_room(name="backend") is None:
            admin.create_room(kind="c", name="backend", members=("alice", "bob"))


def _wait_until_answers(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{url}/api/info", timeout=2)
            return
        time.sleep(0.05)
    raise AssertionError("devchat did not start")
