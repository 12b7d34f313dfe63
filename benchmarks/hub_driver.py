"""Bridges that only stream, in one process of their own: the real session and client, and a turn that never ends.

Reads a JSON object from stdin: hub, tokens by slug, mode, window, seconds. Prints one JSON object.
"""

import asyncio
import json
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from nexus_bridge import protocol
from nexus_bridge.client import Client
from nexus_bridge.journal import Journal
from nexus_bridge.orders import Order, Start
from nexus_bridge.protocol import AgentOffer
from nexus_bridge.session import Session
from nexus_bridge.settings import Hub

PAYLOAD = json.dumps({"kind": "text", "delta": ("The quick brown fox jumps over the lazy dog. " * 5)[:172]})
WARM_UP_S = 1.0


class Hands:
    """Starts the stream when its prompt comes; keeps `window` chunks unacked: an acked one is followed by a new one."""

    session_count = 1

    def __init__(self, *, window: int) -> None:
        self._window = window
        self.acked = 0
        self.client: Client | None = None

    def obey(self, order: Order) -> None:
        if isinstance(order, Start):
            self._spool(order.prompt.invocation, self._window)

    def on_ack(self, invocation: int, seq: int) -> None:
        more, self.acked = seq - self.acked, seq
        self._spool(invocation, more)

    def _spool(self, invocation: int, count: int) -> None:
        if self.client is not None:
            self.client.spool(invocation, [("text", PAYLOAD)] * count)


class Silent:
    """Nobody watches."""

    def connected(self, *, session: str) -> None: ...

    def disconnected(self, *, reason: str, retry_in_s: float) -> None:
        sys.stderr.write(f"{reason}\n")

    def ordered(self, order: Order) -> None: ...

    def said(self, *_what: object) -> None: ...

    def ended(self, *_what: object) -> None: ...

    def tell(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")


def make(*, hub: str, slug: str, token: str, window: int, most: int, directory: Path) -> tuple[Client, Hands]:
    hands = Hands(window=window)
    session = Session(
        journal=Journal.open(directory=directory, now=time.time()),
        agents=[AgentOffer(slug=slug, cli_kind="echo")],
        gate=lambda _prompt: None,
        client_version="bench",
        max_frame_chunks=most,
        on_ack=hands.on_ack,
    )
    client = Client(hub=Hub(url=hub), token=token, session=session, watcher=Silent())
    hands.client = client
    client.use(hands)
    return client, hands


async def stream(order: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="nexus-bench-") as scratch:
        pairs = [
            make(
                hub=order["hub"],
                slug=slug,
                token=token,
                window=order["window"],
                most=order["most"],
                directory=Path(scratch) / slug,
            )
            for slug, token in order["tokens"].items()
        ]
        running = [asyncio.create_task(client.run()) for client, _ in pairs]
        while any(hands.acked == 0 for _, hands in pairs):
            await asyncio.sleep(0.05)
            for task in running:
                if task.done():
                    task.result()
        await asyncio.sleep(WARM_UP_S)
        sys.stdout.write("MARK\n")
        sys.stdout.flush()
        before, began = sum(hands.acked for _, hands in pairs), time.perf_counter()
        cpu = time.process_time()
        await asyncio.sleep(order["seconds"])
        count, seconds = sum(hands.acked for _, hands in pairs) - before, time.perf_counter() - began
        cpu = time.process_time() - cpu
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return {"chunks": count, "rate": count / seconds, "cpu": cpu / seconds}


async def idle(order: dict[str, Any]) -> dict[str, Any]:
    """Connect and greet, then only be there until stdin ends."""
    async with AsyncExitStack() as stack:
        began = time.perf_counter()
        gate = asyncio.Semaphore(20)

        async def one(slug: str, token: str) -> None:
            async with gate:
                headers = {"Authorization": f"Bearer {token}"}
                socket = await stack.enter_async_context(
                    connect(
                        f"{order['hub']}/ws/bridge/", additional_headers=headers, compression=None, ping_interval=None
                    )
                )
                hello = protocol.Hello(
                    versions=[1],
                    client_version="bench",
                    agents=[AgentOffer(slug=slug, cli_kind="echo")] if slug[0] != "-" else [],
                    journal="0" * 32,
                )
                await socket.send(protocol.encode(hello))
                await socket.recv()

        await asyncio.gather(*(one(slug, token) for slug, token in order["tokens"].items()))
        sys.stdout.write(json.dumps({"open": len(order["tokens"]), "s": time.perf_counter() - began}) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    return {}


def main() -> None:
    order = json.loads(sys.stdin.readline())
    act = idle if order["mode"] == "idle" else stream
    sys.stdout.write(json.dumps(asyncio.run(act(order))) + "\n")


if __name__ == "__main__":
    main()
