"""Recordings of CLIs that speak JSON-RPC, played through an adapter: our frames stand in for the ones recorded.

The ids of what was asked then are put to the ids the adapter uses now, method by method and in order.
"""

import itertools
import json
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any

from nexus_bridge.adapters.base import Adapter, Turn
from nexus_bridge.events import AnyEvent

PROMPTS = {"session/prompt", "turn/start"}
INTERRUPTS = {"session/cancel", "turn/interrupt"}
YES = {"accept", "proceed_once", "allow_once", "allow", "approved"}


def play_rpc(
    adapter: Adapter, recorded: Sequence[dict[str, Any]], *, sizes: Iterator[int] | None = None
) -> list[AnyEvent]:
    """All events of a recording; `sizes` cuts what the CLI wrote into pieces of so many bytes."""
    player = _Player(adapter, sizes)
    player.begin(recorded)
    for row in recorded:
        if row["dir"] == "send":
            player.send(row["msg"])
        else:
            player.hear(row["msg"])
    return player.said + adapter.exited(code=143, stderr_tail="")


class _Player:
    def __init__(self, adapter: Adapter, sizes: Iterator[int] | None) -> None:
        self.said: list[AnyEvent] = []
        self._adapter = adapter
        self._sizes = sizes or itertools.repeat(10**9)
        self._ours: dict[str, deque[int]] = defaultdict(deque)
        self._methods: dict[int, str] = {}

    def begin(self, recorded: Sequence[dict[str, Any]]) -> None:
        """As the pool does: the first prompt is given at once, the handshake comes before it by itself."""
        self.wrote(self._adapter.start())
        self._prompts = deque(_prompts(recorded) or ["x"])
        self.wrote(self._adapter.turn(Turn(text=self._prompts.popleft())))
        self._is_first = True

    def send(self, frame: dict[str, Any]) -> None:
        method = frame.get("method", "")
        if method in PROMPTS:
            if not self._is_first:
                self.wrote(self._adapter.turn(Turn(text=self._prompts.popleft())))
            self._is_first = False
        elif method in INTERRUPTS:
            self.wrote(self._adapter.interrupt())
        elif "result" in frame:
            self._answer(frame)
        if "id" in frame and method:
            self._methods[frame["id"]] = method

    def _answer(self, frame: dict[str, Any]) -> None:
        result = frame["result"]
        said = result.get("decision") or result.get("action") or result["outcome"].get("optionId", "")
        self.wrote(self._adapter.answer(str(frame["id"]), allow=said in YES, note=""))

    def wrote(self, data: bytes) -> None:
        for line in data.splitlines():
            frame = json.loads(line)
            if "method" in frame and "id" in frame:
                self._ours[frame["method"]].append(frame["id"])

    def hear(self, frame: dict[str, Any]) -> None:
        if "method" not in frame and "id" in frame:
            waiting = self._ours[self._methods[frame["id"]]]
            if not waiting:
                return  # the adapter had no reason to ask this
            frame = {**frame, "id": waiting.popleft()}
        written = json.dumps(frame).encode() + b"\n"
        while written:
            size = next(self._sizes)
            self.said += self._adapter.feed(written[:size])
            written = written[size:]
            self.wrote(self._adapter.outgoing())


def _prompts(recorded: Sequence[dict[str, Any]]) -> list[str]:
    sent = [row["msg"]["params"] for row in recorded if row["dir"] == "send" and row["msg"].get("method") in PROMPTS]
    return [(params.get("prompt") or params["input"])[0]["text"] for params in sent]
