"""A gateway as its own process on the tests' database, and a raw bridge that says exactly what a test wants."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
from django.db import connection
from websockets.asyncio.client import ClientConnection, connect

from docker.ports import free_ports

CHECKOUT = Path(__file__).resolve().parent.parent.parent
WAIT_S = 8.0
NAME = "nexus-gateway-of-tests"
JOURNAL = "0" * 31 + "1"


def database_url() -> str:
    """The tests' database, as a process outside reaches it."""
    given = connection.settings_dict
    password = quote(given["PASSWORD"], safe="")
    return f"postgres://{given['USER']}:{password}@{given['HOST']}:{given['PORT']}/{given['NAME']}"


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "NEXUS_DATABASE_URL": database_url(), "NEXUS_LOG_LEVEL": "INFO", "PGAPPNAME": NAME, **more}


@dataclass(slots=True)
class Gateway:
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hub_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/bridge/"


@contextlib.contextmanager
def running_gateway(
    directory: Path, *, server: str = "daphne", port: int | None = None, **more: str
) -> Iterator[Gateway]:
    port = port or free_ports(1)[0]
    log = directory / f"gateway-{port}.log"
    daphne = ["daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(port)]
    uvicorn = ["uvicorn", "--host", "127.0.0.1", "--port", str(port), "--ws", "websockets-sansio"]
    uvicorn += ["--ws-max-size", "65536", "--log-level", "warning"]
    argv = [sys.executable, "-m", *(daphne if server == "daphne" else uvicorn), "nexus_project.asgi:application"]
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=CHECKOUT, env=environment(**more), stdout=out, stderr=out)
        try:
            _wait_until_answers(port, process, log)
            yield Gateway(port=port, process=process, log=log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _wait_until_answers(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2)
            return
        time.sleep(0.05)
    raise AssertionError(f"the gateway did not start:\n{log.read_text()[-3000:]}")


@dataclass(slots=True)
class RawBridge:
    """A socket and what came over it; `until` waits for a frame of a type."""

    socket: ClientConnection
    session: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
        self.seen.append(frame)
        return frame

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        while True:
            frame = await self.next()
            if frame["type"] == kind and all(frame.get(key) == value for key, value in fields.items()):
                return frame

    async def close_code(self) -> int | None:
        async with asyncio.timeout(WAIT_S):
            await self.socket.wait_closed()
        return self.socket.close_code


def hello(*agents: Any, journal: str = JOURNAL, runs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "type": "hello",
        "versions": [1],
        "client_version": "test",
        "agents": [{"slug": agent.slug, "cli_kind": agent.cli_kind} for agent in agents],
        "journal": journal,
        "runs": runs or [],
    }


@contextlib.asynccontextmanager
async def raw_socket(gateway: Gateway, token: str, **options: Any):
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(
        gateway.hub_url, additional_headers=headers, compression=None, max_size=None, close_timeout=2, **options
    ) as socket:
        yield RawBridge(socket=socket)


@contextlib.asynccontextmanager
async def raw_bridge(gateway: Gateway, token: str, *agents: Any, **options: Any):
    """Connected and welcomed."""
    async with raw_socket(gateway, token) as bridge:
        await bridge.send(**hello(*agents, **options))
        welcome = await bridge.until("welcome")
        bridge.session = welcome["session"]
        yield bridge


def kick_gateways_out() -> None:
    """As a restart of Postgres does: every connection of gateways to the tests' database ends at once."""
    with psycopg.connect(database_url(), autocommit=True) as outside:
        outside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", [NAME])
