"""B1 to B4: chunks through one hub process, durable and acked, beside a bare Bun relay and Channels' groups; idle bridges.

The bridges are the real session and client in a process of their own; Bun's relay stores nothing. Peer and hub run in turn.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django

from benchmarks import npm
from benchmarks.figures import Figure, median
from benchmarks.peers import cpu_seconds, pss_mib
from docker.ports import free_ports
from docker.stack import Stack

IDS = ("B1", "B2", "B3", "B4")

PAIRS, WINDOW = 20, 20
PACKED_WINDOW = 200
SECONDS = 3.0
ROUNDS = 3
IDLE = 5_000
CHECKOUT = Path(__file__).resolve().parent.parent
PEER = npm.SHARED / "hub"


def measure() -> Iterator[Figure]:
    servers = ("daphne", "uvicorn")
    rates: dict[str, list[float]] = {}
    for server in servers:
        with gateway(server) as hub:
            for _ in range(ROUNDS):
                for peer, found in (("bun", bun_rate()), (f"groups {server}", channels_rate(server, hub=hub))):
                    if found is not None:
                        rates.setdefault(peer, []).append(found)
                for name, most, window in (("B1", 1, WINDOW), ("B2", 512, PACKED_WINDOW)):
                    rates.setdefault(f"{name} {server}", []).append(hub.rate(most=most, window=window))
    bun = median(rates["bun"]) if "bun" in rates else None
    for name, goals in (("B1", {"daphne": 0.3, "uvicorn": 0.5}), ("B2", {"daphne": 1.5, "uvicorn": 3.0})):
        for server in servers:
            yield _rate_figure(
                name, server=server, rate=median(rates[f"{name} {server}"]), bun=bun, goal=goals[server]
            )
    for server in servers:
        yield _groups_figure(server=server, rates=rates)
    for server, goal in (("daphne", 35), ("uvicorn", 25)):
        yield _idle_figure(server=server, goal=goal)


def _rate_figure(name: str, *, server: str, rate: float, bun: float | None, goal: float) -> Figure:
    what = f"{'one per frame' if name == 'B1' else 'packed'}, acked and durable, {server}"
    if bun is None:
        return Figure(id=name, what=what, value=f"{rate:,.0f}/s", goal=f"{goal}x of Bun", note="npm's bun is not here")
    share = rate / bun
    value = f"{rate:,.0f}/s = {share:.2f}x of {bun:,.0f}/s"
    return Figure(id=name, what=what, value=value, goal=f"{goal}x", is_met=share >= goal)


def _groups_figure(*, server: str, rates: dict[str, list[float]]) -> Figure:
    what = f"packed, acked and durable, beside a group_send for each, {server}"
    ours = median(rates[f"B2 {server}"])
    if f"groups {server}" not in rates:
        return Figure(
            id="B3", what=what, value=f"{ours:,.0f}/s", goal="40x", note="npm's bun drives it and is not here"
        )
    groups = median(rates[f"groups {server}"])
    return Figure(
        id="B3",
        what=what,
        value=f"{ours / groups:.0f}x of {groups:,.0f}/s",
        goal="40x",
        is_met=ours / groups >= 40,
        note=f"one per frame {median(rates[f'B1 {server}']) / groups:.0f}x; the groups store nothing",
    )


def _idle_figure(*, server: str, goal: float) -> Figure:
    with gateway(server, bridges=IDLE, agents=0) as hub:
        before = hub.memory_mib()
        with hub.driver({"mode": "idle"}) as driver:
            opened = json.loads(driver.stdout.readline())
            kib = (hub.memory_mib() - before) * 1024 / opened["open"]
            driver.stdin.close()
    value = f"{kib:.1f} KiB, {opened['open'] / opened['s']:.0f} hello/s"
    return Figure(
        id="B4", what=f"per idle bridge of {IDLE}, {server}", value=value, goal=f"{goal} KiB", is_met=kib <= goal
    )


class Hub:
    """One gateway process on a durable Postgres, its bridges' tokens, and offers for each."""

    def __init__(self, *, stack: Stack, tokens: dict[str, str]) -> None:
        self._stack = stack
        self._tokens = tokens
        self.last_cpu: dict[str, float] = {}

    def rate(self, *, most: int, window: int) -> float:
        offer_again(list(self._tokens))
        pid = [self._stack.pids()["gateway"]]
        database = [self._stack.pids()["postgres"]]
        with self.driver({"mode": "stream", "most": most, "window": window, "seconds": SECONDS}) as driver:
            offer_when_online()
            driver.stdout.readline()
            cpu, theirs = cpu_seconds(pid), cpu_seconds(database)
            found = json.loads(driver.stdout.readline())
            used = (cpu_seconds(pid) - cpu, cpu_seconds(database) - theirs)
        per_chunk = [f"{1e6 * one / max(1, found['chunks']):.0f}" for one in used]
        sys.stderr.write(
            f"  most {most}: {found['rate']:,.0f}/s; us per chunk: hub {per_chunk[0]}, Postgres {per_chunk[1]};"
            f" the driver's core {found['cpu']:.0%}\n"
        )
        return float(found["rate"])

    @property
    def redis_url(self) -> str:
        return self._stack.env["NEXUS_REDIS_URL"]

    def memory_mib(self) -> float:
        return pss_mib([self._stack.pids()["gateway"]])

    @contextmanager
    def driver(self, order: dict[str, Any]) -> Iterator[Any]:
        argv = [sys.executable, "-m", "benchmarks.hub_driver"]
        driver = subprocess.Popen(argv, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            address = self._stack.gateway_url.replace("http", "ws", 1)
            driver.stdin.write(json.dumps(order | {"hub": address, "tokens": self._tokens}) + "\n")  # type: ignore[union-attr]
            driver.stdin.flush()  # type: ignore[union-attr]
            yield driver
            driver.wait(60)
        finally:
            driver.kill()
            driver.wait(10)


@contextmanager
def gateway(server: str, *, bridges: int = PAIRS, agents: int = 1) -> Iterator[Hub]:
    directory = Path(tempfile.mkdtemp(prefix="nexus-bench-"))
    settings = {"NEXUS_ASGI_SERVER": server}
    stack = Stack(state_dir=directory, programs=["gateway"], settings=settings)
    try:
        with stack:
            os.environ.update(stack.env)
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")
            django.setup()
            yield Hub(
                stack=stack, tokens=populate(bridges=bridges, agents=agents, url=stack.env["NEXUS_DATABASE_URL"])
            )
    finally:
        from django.db import connection

        connection.close()
        shutil.rmtree(directory, ignore_errors=True)


def populate(*, bridges: int, agents: int, url: str) -> dict[str, str]:
    """Rows as create_bridge leaves them, without a chat."""
    from urllib.parse import unquote, urlsplit

    from django.db import connection

    from gateway import bridge_auth
    from gateway.models import Agent, Bridge, Room, RoomMember, User

    parts = urlsplit(url)
    connection.settings_dict.update(
        NAME=parts.path.lstrip("/"), PORT=str(parts.port), PASSWORD=unquote(parts.password or "")
    )
    bob = User.objects.create(rocketchat_id="bob", username="bob")
    room = Room.objects.create(rid="bench", kind="channel", name="bench")
    RoomMember.objects.create(room=room, user=bob)
    tokens = {f"{'echo' if agents else '-'}-{number}": bridge_auth.new_bridge_token() for number in range(bridges)}
    made = Bridge.objects.bulk_create(
        [
            Bridge(name=slug, owner=bob, token_digest=bridge_auth.digest_of(token), journal="", session="")
            for slug, token in tokens.items()
        ]
    )
    if agents:
        Agent.objects.bulk_create(
            [Agent(slug=bridge.name, cli_kind="echo", owner=bob, bridge=bridge, parallel=32) for bridge in made]
        )
    return tokens


def offer_again(slugs: list[str]) -> None:
    """One composed row per agent, which is offered as soon as its bridge is there."""
    from django.db.models.functions import Now
    from django.utils import timezone

    from composer.models import Prompt
    from gateway.invocations import claim_next, composed
    from gateway.models import Agent, Bridge, Invocation, Message, Room, State, User

    Invocation.objects.filter(state__in=(State.OFFERED, State.RUNNING)).update(
        state=State.INTERRUPTED, reason="bench", ended_at=Now(), lane=None
    )
    Bridge.objects.update(lease_until="2999-01-01T00:00Z")
    room, bob, now = Room.objects.get(), User.objects.get(), timezone.now()
    count = Message.objects.count()
    for number, agent in enumerate(Agent.objects.filter(slug__in=slugs)):
        message = Message.objects.create(
            rc_id=f"bench{count + number}", room=room, user=bob, text="go", ts=now, rc_updated_at=now
        )
        row = Invocation.objects.create(
            message=message,
            agent=agent,
            room=room,
            session_key=f"bench{count + number}",
            asker_user=bob,
            root_asker=bob,
            wait_until="2999-01-01T00:00Z",
        )
        claim = claim_next(invocation_id=row.pk)
        if claim is None:
            raise RuntimeError("the bench's row was not claimed")
        Prompt.objects.create(invocation=row, fence=claim.fence, text="go", token_count=1, budget=8000)
        composed(invocation_id=row.pk, fence=claim.fence)
    Bridge.objects.update(lease_until=None, session="", journal="")


def offer_when_online() -> None:
    from gateway.invocations import offer
    from gateway.models import Agent, Invocation, State

    while Agent.objects.online().count() < PAIRS:
        time.sleep(0.05)
    for pk in Invocation.objects.filter(state=State.COMPOSED).values_list("pk", flat=True):
        offer(invocation_id=pk)


def bun_rate() -> float | None:
    """Chunks per second through the bare relay, with the same pairs and window; None without Bun."""
    bun = npm.bun()
    if bun is None:
        return None
    [port] = free_ports(1)
    return _rate_through([str(bun), str(PEER / "hub_bun.cjs")], port=port, env={"PORT": str(port)})


def channels_rate(server: str, *, hub: Hub) -> float | None:
    """The same through Channels' groups on this server; the load comes from Bun, as for the bare relay."""
    [port] = free_ports(1)
    words = {
        "daphne": f"-m daphne -v 0 -b 127.0.0.1 -p {port}",
        "uvicorn": f"-m uvicorn --log-level error --ws websockets-sansio --port {port}",
    }[server]
    argv = [*words.split(), "benchmarks.hub_channels:application"]
    return _rate_through([sys.executable, *argv], port=port, env={"CHANNELS_REDIS_URL": f"{hub.redis_url}/9"})


def _rate_through(argv: list[str], *, port: int, env: dict[str, str]) -> float | None:
    bun = npm.bun()
    if bun is None:
        return None
    relay = subprocess.Popen(argv, env={**os.environ, **env}, cwd=CHECKOUT)
    try:
        wait_for_port(port)
        load = [str(bun), str(PEER / "load.cjs"), "sat", f"ws://127.0.0.1:{port}"]
        done = subprocess.run(
            [*load, str(PAIRS), str(WINDOW), str(SECONDS)], capture_output=True, text=True, timeout=60, check=False
        )
        last = json.loads(done.stdout.strip().splitlines()[-1])
        return float(last["rate"]) if "rate" in last else None
    finally:
        relay.kill()
        relay.wait(10)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on port {port}")
