"""H1's named peer: a hub of the same idea on Bun and BullMQ, from its webhook's request to the frame at its bridge.

It is kept outside this repository. PEER_HUB names a checkout of github.com/kurniarahmattt/nexus in whose `node_modules` are
hono, bullmq, ioredis, pg, pino and zod from npm, and its own packages/schema as @nexus/schema. It waits for nobody
(NEXUS_DEBOUNCE_MS=0), summarises nothing, and its chat and memory answer at once: its best case.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import websockets

from benchmarks import npm
from benchmarks.figures import median, percentile
from docker.ports import HOST, free_ports
from docker.stack import Stack

TOKEN = "bench-token-of-the-peer-hubs-bridge"
WARM_UP, TURNS = 40, 60
PAUSE_S = 0.5
"""Long enough that nothing of the turn before is still under way, as in our own measurement."""
SERVICES = ("gateway", "composer", "runtime")
P50_THERE_S, P99_THERE_S = 0.0154, 0.0235
"""Where the goals were set."""


def in_this_hour() -> tuple[float, float] | None:
    """Its p50 and p99 in seconds, measured now in a process of its own; None without a checkout or Bun."""
    if not os.environ.get("PEER_HUB") or npm.bun() is None:
        return None
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peer_hub"], capture_output=True, text=True, timeout=180, check=True
    )
    p50, p99 = json.loads(done.stdout.strip().splitlines()[-1])
    return p50, p99


@contextmanager
def running(checkout: Path) -> Iterator[int]:
    """Its three services on a durable Postgres and a Valkey of their own; the port of its gateway."""
    directory = Path(tempfile.mkdtemp(prefix="nexus-bench-"))
    programs: list[subprocess.Popen[bytes]] = []
    bun = str(npm.bun())
    try:
        with Stack(state_dir=directory, programs=[]) as stack:
            gateway, composer, runtime, chat = free_ports(4)
            ports = {"GATEWAY_PORT": str(gateway), "COMPOSER_PORT": str(composer), "RUNTIME_PORT": str(runtime)}
            _make_schema(stack.env["NEXUS_DATABASE_URL"], checkout)
            env = {**os.environ, **ports, **_settings(stack.env, gateway=gateway, chat=chat, directory=directory)}
            stand_in = str(Path(__file__).with_suffix(".cjs"))
            try:
                programs.append(_start([bun, stand_in, str(chat)], env=env, cwd=checkout))
                entries = [f"services/{name}/src/index.ts" for name in SERVICES]
                programs.extend(_start([bun, entry], env=env, cwd=checkout) for entry in entries)
                yield gateway
            finally:
                for program in programs:
                    program.kill()
                    program.wait(10)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _start(argv: list[str], *, env: dict[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, env=env, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _make_schema(url: str, checkout: Path) -> None:
    """Its own migrations; of two extensions it needs one function, which Postgres has under another name."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA peer")
        connection.execute("SET search_path = peer, public")
        connection.execute(
            "CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'"
        )
        for file in sorted((checkout / "db" / "migrations").glob("*.sql")):
            lines = file.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if not line.startswith("CREATE EXTENSION") or " vector" in line]
            connection.execute("\n".join(kept).encode())
        bridge = {"token": TOKEN, "cli_kind": "claude", "cwd": "/tmp"}  # noqa: S108 - only told
        config = {"system_prompt": "You are echo.", "auth_token": "t", "auth_user_id": "u", "bridge": bridge}
        connection.execute(
            "INSERT INTO agents (slug, display_name, cli_command, rocketchat_username, kind, config)"
            " VALUES ('echo', 'Echo', 'echo', 'echo', 'remote', %s)",
            [json.dumps(config)],
        )


def _settings(ours: dict[str, str], *, gateway: int, chat: int, directory: Path) -> dict[str, str]:
    neighbour = f"http://{HOST}:{chat}"
    return {
        "NODE_ENV": "production",
        "LOG_LEVEL": "warn",
        "DATABASE_URL": f"{ours['NEXUS_DATABASE_URL']}?options=-c%20search_path%3Dpeer%2Cpublic",
        "REDIS_URL": f"{ours['NEXUS_REDIS_URL']}/5",
        "NEXUS_WEBHOOK_TOKEN": TOKEN,
        "NEXUS_DEBOUNCE_MS": "0",
        "NEXUS_OLDER_WINDOW": "0",
        "NEXUS_WORKSPACE_ROOT": str(directory),
        "GATEWAY_URL": f"http://{HOST}:{gateway}",
        "ROCKETCHAT_URL": neighbour,
        "ROCKETCHAT_ADMIN_PASSWORD": TOKEN,
        "MEM0_API_URL": neighbour,
        "MEM0_LLM_BASE_URL": neighbour,
        "MEM0_LLM_MODEL": "none",
    }


async def waits_s(gateway: int) -> list[float]:
    """Seconds from a webhook's request to the prompt at the bridge, one question at a time."""
    arrived: dict[int, asyncio.Future[float]] = {}
    loop = asyncio.get_running_loop()
    waits: list[float] = []
    async with await _bridge(gateway) as socket, httpx.AsyncClient() as chat:
        answering = asyncio.create_task(_answer(socket, arrived))
        for number in range(WARM_UP + TURNS):
            arrived[number] = loop.create_future()
            asked_at = time.perf_counter()
            await chat.post(f"http://{HOST}:{gateway}/webhook", json=_event(number))
            waited = await asyncio.wait_for(arrived[number], 20) - asked_at
            if number >= WARM_UP:
                waits.append(waited)
            await asyncio.sleep(PAUSE_S)
        answering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answering
    return waits


async def _bridge(gateway: int) -> websockets.ClientConnection:
    for _ in range(100):
        with contextlib.suppress(OSError):
            socket = await websockets.connect(f"ws://{HOST}:{gateway}/bridge", proxy=None)
            await socket.send(json.dumps({"type": "hello", "token": TOKEN, "version": "0.1"}))
            await asyncio.wait_for(socket.recv(), 10)
            return socket
        await asyncio.sleep(0.2)
    raise TimeoutError("the peer's gateway did not start")


async def _answer(socket: websockets.ClientConnection, arrived: dict[int, "asyncio.Future[float]"]) -> None:
    async for text in socket:
        at, frame = time.perf_counter(), json.loads(text)
        if frame["type"] == "invoke":
            number = int("".join(sign for sign in frame["userPrompt"].rpartition("turn-")[2][:6] if sign.isdigit()))
            arrived[number].set_result(at)
            answer = {"type": "result", "jobId": frame["jobId"], "ok": True, "output": "done", "exitCode": 0}
            await socket.send(json.dumps(answer))


def _event(number: int) -> dict[str, str]:
    return {
        "token": TOKEN,
        "message_id": f"m{number}",
        "channel_id": "room1234567890123",
        "channel_name": "general",
        "user_id": "uid-bob",
        "user_name": "bob",
        "text": f"@echo why does the deploy of orders fail turn-{number} ?",
    }


def main() -> None:
    with running(Path(os.environ["PEER_HUB"])) as gateway:
        waits = asyncio.run(waits_s(gateway))
    sys.stdout.write(json.dumps([median(waits), percentile(waits, 0.99)]) + "\n")


if __name__ == "__main__":
    main()
